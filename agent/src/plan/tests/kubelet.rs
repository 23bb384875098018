//! What pods resolve with, and whom the kubelet lets in.

use super::messages::text;
use super::world::World;
use super::{Phase, Step, Verdict, settle};
use crate::desired::dns::ClusterDns;
use crate::desired::{paths, units};
use crate::observe::access::Access;

#[test]
fn a_kubelet_that_lets_strangers_in_is_told_and_holds_nothing_back() {
    let mut world = World::fresh();
    settle(&mut world);
    let mut told = |access| {
        world.edit(|_, observed| observed.access = Some(access));
        let plan = world.plan();
        assert!(plan.is_ready());
        text(&plan.verdicts[&Phase::Upkeep])
    };
    let access = |status, has_read_only_port| {
        Ok(Access { at: "10.0.0.2:10250".parse().unwrap(), status, has_read_only_port })
    };
    assert!(told(access(401, false)).ends_with("; the kubelet at 10.0.0.2:10250 turns strangers away"));
    let unknown = told(Err("no answer within 2s".to_owned()));
    assert!(unknown.ends_with("strangers away is not known: no answer within 2s"), "{unknown}");
    assert_eq!(
        told(access(200, true)),
        "KubeletOpen: the kubelet at 10.0.0.2:10250 answers strangers (HTTP 200 without credentials, expected 401); \
         something listens at 10.0.0.2:10255, the kubelet's port without authentication"
    );
    assert_eq!(
        told(access(403, false)),
        "KubeletOpen: the kubelet at 10.0.0.2:10250 lets strangers in and only then looks at what they may \
         (HTTP 403 without credentials, expected 401)"
    );
}

#[test]
fn the_kubelet_waits_for_the_clusters_dns_once_and_says_where_there_is_none() {
    let mut world = World::fresh();
    settle(&mut world);
    let config = |world: &World| {
        let file = world.observed.files[paths::kubelet_config()].clone().unwrap().unwrap();
        String::from_utf8(file.content).unwrap()
    };
    assert!(config(&world).contains("clusterDNS:\n- \"10.96.0.10\"\n"), "{}", config(&world));
    // One that has joined starts with what it has, also while nobody answers; another waits.
    world.edit(|_, observed| {
        observed.facts.cluster_dns = ClusterDns::Unknown;
        if let Some(Ok(kubelet)) = observed.units.get_mut(units::KUBELET) {
            "inactive".clone_into(&mut kubelet.active);
        }
    });
    let host: Vec<_> = world.plan().steps().cloned().collect();
    for step in &host {
        world.apply(step);
    }
    assert_eq!(world.plan().verdicts[&Phase::Kubelet], Verdict::Act(vec![Step::StartUnit(units::KUBELET)]));
    world.forget(paths::joined());
    let kubelet = text(&world.plan().verdicts[&Phase::Kubelet]);
    assert_eq!(kubelet, "Unobservable: asking the API server for the Service kube-system/kube-dns");
    // Told by the operator, nobody is asked.
    world.edit(|config, _| config.cluster.dns.address = "10.96.0.11".parse().ok());
    let host: Vec<_> = world.plan().steps().cloned().collect();
    for step in &host {
        world.apply(step);
    }
    assert_eq!(world.plan().verdicts[&Phase::Kubelet], Verdict::Act(vec![Step::StartUnit(units::KUBELET)]));

    let mut world = World::fresh();
    world.edit(|_, observed| observed.facts.cluster_dns = ClusterDns::Absent);
    settle(&mut world);
    assert_eq!(
        text(&world.plan().verdicts[&Phase::Kubelet]),
        "ok: kubelet 1.36.3; pods resolve as the node does: no Service kube-system/kube-dns, no cluster.dns.address"
    );
    assert!(!config(&world).contains("clusterD"), "{}", config(&world));
}
