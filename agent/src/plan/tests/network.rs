//! The pod network: ours, and what is known of others'.

use super::messages::{check_said, fresh, joined, preflight, text};
use super::parts::conf;
use super::settle;
use super::world::World;
use crate::config::{Config, NetworkPlugin};
use crate::desired::flannel::Subnet;
use crate::desired::{paths, units};
use crate::observe::Observed;
use crate::observe::cni::{Calico, Conf, Missing};
use crate::plan::{Phase, Step, Verdict};
use crate::ports::cluster::Seen;

/// As the role of 2019 wrote it.
const PLACEHOLDER: &str =
    r#"{"name": "mynet", "type": "bridge", "ipam": {"type": "host-local", "subnet": "10.244.0.0/16"}}"#;

const FLANNEL: &str = r#"{"name": "cbr0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}"#;

fn flannel() -> Conf {
    conf("10-flannel.conflist", FLANNEL)
}

fn subnet(block: &str) -> Subnet {
    Subnet { subnet: block.to_owned(), network: "10.244.0.0/16".to_owned() }
}

fn without_pod_cidr(observed: &mut Observed) {
    let Some(Ok(Seen::Present(node))) = &mut observed.watched.node else { panic!("there is no Node") };
    node.spec = None;
}

/// What the phase says of a node whose network is flannel's, with these configurations.
fn with(confs: Vec<Conf>, change: impl FnOnce(&mut Observed)) -> String {
    let mut world = World::fresh();
    world.edit(|config, _| config.network.plugin = NetworkPlugin::Flannel);
    settle(&mut world);
    world.edit(|_, observed| {
        observed.cni.confs = Ok(confs);
        observed.cni.subnet = Ok(Some(subnet("10.244.0.1/24")));
        change(observed);
    });
    text(&world.plan().verdicts[&Phase::Network])
}

#[test]
fn a_pod_network_that_would_not_be_ours() {
    let other = |_: &mut Config, observed: &mut Observed| {
        let ours = conf(
            "10-kn-agent-bridge.conflist",
            r#"{"name": "kn-agent-bridge", "plugins": [{"type": "bridge"}]}"#,
        );
        observed.cni.confs = Ok(vec![conf("00-other.conf", PLACEHOLDER), ours]);
    };
    let why = "`/etc/cni/net.d/00-other.conf` sorts before `10-kn-agent-bridge.conflist` and would win";
    assert_eq!(preflight(other), format!("CniConflict: check cni-conf: {why}"));
    assert_eq!(joined(Phase::Network, other), format!("CniConflict: {why}"));
    let lacking = |_: &mut Config, observed: &mut Observed| observed.cni.missing = vec!["bridge", "portmap"];
    let why = "`/opt/cni/bin` lacks bridge, portmap";
    assert_eq!(preflight(lacking), format!("CniPluginMissing: check cni-plugins: {why}"));
    assert_eq!(joined(Phase::Network, lacking), format!("CniPluginMissing: {why}"));
    assert_eq!(
        joined(Phase::Network, |_, observed| without_pod_cidr(observed)),
        "PodCidrMissing: the Node has no podCIDR yet"
    );
}

#[test]
fn the_kubelet_starts_without_the_network_of_others_and_the_wait_for_it_is_told() {
    let mut world = World::fresh();
    world.edit(|config, _| config.network.plugin = NetworkPlugin::Flannel);
    settle(&mut world);
    let verdicts = world.plan().verdicts;
    let missing = "CniMissing: no CNI configuration in `/etc/cni/net.d` yet";
    assert_eq!(text(&verdicts[&Phase::Network]), missing);
    assert!(matches!(verdicts[&Phase::Kubelet], Verdict::Satisfied(_)), "{:?}", verdicts[&Phase::Kubelet]);
    assert_eq!(with(vec![flannel()], |_| ()), "ok: flannel, pods from 10.244.0.0/24");
}

#[test]
fn what_flannel_waits_for_has_a_name() {
    let pending = "FlannelPending: flanneld has not written `/run/flannel/subnet.env` yet";
    assert_eq!(with(vec![flannel()], |observed| observed.cni.subnet = Ok(None)), pending);
    let other = with(vec![flannel()], |observed| observed.cni.subnet = Ok(Some(subnet("10.244.7.1/24"))));
    assert_eq!(
        other,
        "FlannelPending: `/run/flannel/subnet.env` is of another life: 10.244.7.1/24, and the Node's podCIDR is \
         10.244.0.0/24"
    );
    let none = "PodCidrMissing: the Node has no podCIDR yet, and flanneld ends without";
    assert_eq!(with(Vec::new(), without_pod_cidr), none);
    let lacking = |config: &mut Config, observed: &mut Observed| {
        config.network.plugin = NetworkPlugin::Flannel;
        observed.cni.missing = vec!["host-local"];
    };
    let why = "CniPluginMissing: check cni-plugins: `/opt/cni/bin` lacks host-local";
    assert_eq!(fresh(Phase::Preflight, lacking), why);
    let plain = with(vec![conf("20-other.conf", PLACEHOLDER)], |_| ());
    assert_eq!(
        plain,
        "CniMissing: no CNI configuration in `/etc/cni/net.d` yet that is flannel's; there is 20-other.conf"
    );
}

#[test]
fn a_placeholder_that_sorts_before_the_networks_own_is_named_before_joining() {
    let wrong = |config: &mut Config, observed: &mut Observed| {
        config.network.plugin = NetworkPlugin::Flannel;
        observed.cni.confs = Ok(vec![conf("10-default.conf", PLACEHOLDER)]);
    };
    let why = "CniConflict: check cni-conf: `/etc/cni/net.d/10-default.conf` sorts before `10-flannel.conflist` and would win";
    assert_eq!(fresh(Phase::Preflight, wrong), why);
    // calico's sorts before it, and needs nothing on the node before it comes.
    let calico = |config: &mut Config, observed: &mut Observed| {
        wrong(config, observed);
        config.network.plugin = NetworkPlugin::Calico;
    };
    assert_eq!(fresh(Phase::Preflight, calico), "ok: 17 checks");
    let multus = conf("00-multus.conf", r#"{"name": "m", "type": "multus"}"#);
    assert_eq!(with(vec![multus, flannel()], |_| ()), "ok: flannel, pods from 10.244.0.0/24");
}

#[test]
fn a_configuration_that_no_runtime_can_work_with_is_named_with_what_it_lacks() {
    let lacking = Missing { program: "flannel".to_owned(), elsewhere: Some("/usr/lib/cni") };
    let other = Missing { program: "portmap".to_owned(), elsewhere: None };
    let conf = Conf { missing: vec![lacking, other], ..flannel() };
    let why =
        "`10-flannel.conflist` needs what `/opt/cni/bin` lacks: flannel (it is in `/usr/lib/cni`), portmap";
    assert_eq!(with(vec![conf.clone()], |_| ()), format!("CniPluginMissing: {why}"));
    let broken = |_: &mut Config, observed: &mut Observed| {
        observed.cni.confs = Ok(vec![super::parts::conf("10-a.conf", "{}")]);
    };
    let none = |config: &mut Config, observed: &mut Observed| {
        config.network.plugin = NetworkPlugin::None;
        broken(config, observed);
    };
    assert_eq!(joined(Phase::Network, none), "CniConfUnusable: `/etc/cni/net.d/10-a.conf` has no `name`");
    // It holds no join back: a DaemonSet may write another.
    assert_eq!(fresh(Phase::Preflight, none), "ok: 15 checks");
    let ignored = |config: &mut Config, observed: &mut Observed| {
        none(config, observed);
        config.preflight.ignore.insert("cni-programs".to_owned());
    };
    assert_eq!(joined(Phase::Network, ignored), "ok: CNI configuration 10-a.conf");
}

/// The bridge was wanted before; its configuration stands in until the real one is there.
#[test]
fn our_own_configuration_leaves_when_the_networks_own_is_there() {
    for plugin in [NetworkPlugin::Flannel, NetworkPlugin::None] {
        let mut world = World::fresh();
        assert!(settle(&mut world).is_ready() && world.has_bridge_conf());
        world.edit(|config, observed| {
            config.network.plugin = plugin;
            observed.cni.subnet = Ok(Some(subnet("10.244.0.1/24")));
        });
        settle(&mut world);
        assert!(world.has_bridge_conf(), "{plugin:?}: it went too early");
        world.edit(|_, observed| {
            let Ok(confs) = &mut observed.cni.confs else { panic!("there are none") };
            confs.insert(0, flannel());
        });
        let ours = "/etc/cni/net.d/10-kn-agent-bridge.conflist".into();
        assert_eq!(world.plan().verdicts[&Phase::Network], Verdict::Act(vec![Step::RemoveFile(ours)]));
        assert!(settle(&mut world).is_ready() && !world.has_bridge_conf(), "{plugin:?}: it stays");
    }
}

/// A file of that name which somebody else wrote is theirs.
#[test]
fn a_file_of_our_name_with_another_network_in_it_stays() {
    let theirs =
        conf("10-kn-agent-bridge.conflist", r#"{"name": "theirs", "plugins": [{"type": "bridge"}]}"#);
    assert_eq!(with(vec![flannel(), theirs], |_| ()), "ok: flannel, pods from 10.244.0.0/24");
}

/// docker drops what is forwarded: a unit of ours has rules for it, where the network has none of its own.
#[test]
fn pod_traffic_passes_docker_where_the_network_has_no_rules_of_its_own() {
    let unit = |plugin, pod_cidr: Option<&str>| {
        let mut world = World::fresh();
        world.edit(|config, observed| {
            config.network.plugin = plugin;
            config.cluster.pod_cidr = pod_cidr.map(|block| block.parse().unwrap());
            observed.cni.confs = Ok(vec![conf("10-other.conflist", FLANNEL)]);
            observed.cni.subnet = Ok(Some(subnet("10.244.0.1/24")));
            if plugin == NetworkPlugin::Bridge {
                observed.cni.confs = Ok(Vec::new());
            }
        });
        assert!(settle(&mut world).is_ready(), "{plugin:?}");
        let found = world.observed.files.get(&paths::units().join(units::FORWARD)).cloned();
        let text = found.map(|found| String::from_utf8(found.unwrap().unwrap().content).unwrap());
        let active = world.unit(units::FORWARD).unwrap().active == "active";
        assert_eq!(text.is_some(), active, "{plugin:?}");
        text
    };
    let bridge = unit(NetworkPlugin::Bridge, None).unwrap();
    let append =
        "ExecStart=/usr/sbin/iptables --wait --append FORWARD -i kn0 -j ACCEPT -m comment --comment kn-agent";
    assert!(bridge.contains(append), "{bridge}");
    assert!(bridge.contains("ExecStart=-/usr/sbin/ip6tables --wait --append FORWARD -o kn0"), "{bridge}");
    let none = unit(NetworkPlugin::None, Some("10.244.0.0/16")).unwrap();
    assert!(
        none.contains("iptables --wait --append FORWARD -s 10.244.0.0/16") && !none.contains("ip6tables"),
        "{none}"
    );
    assert_eq!(unit(NetworkPlugin::None, None), None);
    assert_eq!(unit(NetworkPlugin::Flannel, Some("10.244.0.0/16")), None);
}

/// What the phase says of a joined node whose network is calico's.
fn with_calico(change: impl FnOnce(&mut Calico)) -> String {
    joined(Phase::Network, |config, observed| {
        config.network.plugin = NetworkPlugin::Calico;
        let text = r#"{"name": "k8s-pod-network", "plugins": [{"type": "calico"}]}"#;
        observed.cni.confs = Ok(vec![conf("10-calico.conflist", text)]);
        observed.cni.calico.nodename = Ok(Some("n1".to_owned()));
        change(&mut observed.cni.calico);
    })
}

#[test]
fn what_calico_waits_for_has_a_name() {
    assert_eq!(with_calico(|_| ()), "ok: calico, without a tunnel");
    assert_eq!(with_calico(|calico| calico.tunnel = Some("vxlan.calico")), "ok: calico, over vxlan.calico");
    assert_eq!(
        with_calico(|calico| calico.nodename = Ok(None)),
        "CalicoPending: calico-node has not written `/var/lib/calico/nodename` yet"
    );
    assert_eq!(
        with_calico(|calico| calico.nodename = Ok(Some("n2".to_owned()))),
        "CalicoPending: `/var/lib/calico/nodename` is of another node: n2, and this one is n1"
    );
    assert_eq!(
        with_calico(|calico| calico.missing_kubeconfig = Some("/etc/cni/net.d/calico-kubeconfig".into())),
        "CalicoPending: calico's configuration names `/etc/cni/net.d/calico-kubeconfig`, which is not there"
    );
}

#[test]
fn tunnels_that_this_kernel_can_make_are_a_finding_of_check() {
    let told = |kernel: Option<&[&'static str]>| {
        let mut world = World::fresh();
        world.edit(|config, observed| {
            config.network.plugin = NetworkPlugin::Calico;
            observed.cni.calico.kernel = kernel.map(<[_]>::to_vec);
        });
        check_said(&world, "cni-tunnels")
    };
    assert_eq!(told(Some(&["ipip", "vxlan"])), "ok: ipip and vxlan");
    let found = told(Some(&["vxlan"]));
    assert!(found.starts_with("ok: ") && found.contains("CALICO_IPV4POOL_IPIP"), "{found}");
    let found = told(Some(&[]));
    assert!(!found.starts_with("ok: ") && found.contains("neither ipip nor vxlan"), "{found}");
    assert_eq!(told(None), "ok: not told: modules are hidden here");
}
