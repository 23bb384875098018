//! Starts that wait behind one that is under way.

use jiff::SignedDuration;

use super::world::World;
use super::{Phase, Step, Verdict, ready};
use crate::config::{NetworkPlugin, RuntimeKind};
use crate::desired::{cni, paths, units};
use crate::observe::runtime;
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

fn put(world: &mut World, unit: &str, active: &str) {
    active.clone_into(&mut world.unit(unit).unwrap().active);
}

fn queued(behind: &'static str, unit: &'static str) -> Verdict {
    Verdict::Act(vec![Step::AwaitUnit(behind), Step::StartUnit(unit)])
}

fn verdict(world: &World, phase: Phase) -> Verdict {
    world.plan().verdicts[&phase].clone()
}

/// docker is on its way, and nothing that stands on it runs.
fn docker_starts() -> World {
    let mut world = ready();
    put(&mut world, units::DOCKER, "activating");
    put(&mut world, units::CRI_DOCKERD, "inactive");
    put(&mut world, units::KUBELET, "inactive");
    world.observed.engine = runtime::inactive(RuntimeKind::Docker);
    world
}

/// docker runs, and its shim is on its way.
fn shim_starts() -> World {
    let mut world = ready();
    put(&mut world, units::CRI_DOCKERD, "activating");
    put(&mut world, units::KUBELET, "inactive");
    world
}

#[test]
fn each_unit_of_the_chain_is_queued_behind_the_one_before_it_and_none_behind_two() {
    let world = docker_starts();
    assert_eq!(verdict(&world, Phase::Runtime), queued(units::DOCKER, units::CRI_DOCKERD));
    assert_eq!(verdict(&world, Phase::Kubelet), Verdict::Held);
    let world = shim_starts();
    assert_eq!(verdict(&world, Phase::Kubelet), queued(units::CRI_DOCKERD, units::KUBELET));
}

#[test]
fn nothing_is_queued_behind_what_fails_or_where_more_is_missing() {
    let not_queued = |mut world: World, phase, what: &str, change: fn(&mut World)| {
        assert!(matches!(verdict(&world, phase), Verdict::Act(_)), "the control");
        change(&mut world);
        assert_eq!(verdict(&world, phase), Verdict::Held, "{what}");
    };
    not_queued(docker_starts(), Phase::Runtime, "docker fails over and over", |world| {
        world.unit(units::DOCKER).unwrap().restarts = 1;
    });
    not_queued(docker_starts(), Phase::Runtime, "docker has failed", |world| {
        put(world, units::DOCKER, "failed");
    });
    not_queued(docker_starts(), Phase::Runtime, "the shim would not see the configuration", |world| {
        let path = cni::bridge_path(&world.config);
        world.forget(&path);
    });
    not_queued(docker_starts(), Phase::Runtime, "the shim's unit is not written", |world| {
        world.forget(&paths::units().join(units::CRI_DOCKERD));
    });
    not_queued(docker_starts(), Phase::Runtime, "an earlier try failed", |world| {
        world.fail("start cri-docker.service", Failure::new(Reason::UnitFailed, "no"));
    });
    not_queued(shim_starts(), Phase::Kubelet, "the sandbox image is missing", |world| {
        world.observed.engine.has_sandbox_image = false;
    });
    not_queued(shim_starts(), Phase::Kubelet, "docker has not said what it is", |world| {
        world.observed.engine.info = runtime::inactive(RuntimeKind::Docker).info;
    });
    not_queued(shim_starts(), Phase::Kubelet, "the kubelet has no certificate", |world| {
        world.observed.client_certificate = Ok(None);
    });
}

#[test]
fn what_ready_does_not_need_comes_after_the_kubelet_on_a_machine_that_is_yet_to_join() {
    const LATER: [Phase; 3] = [Phase::ProxyIdentity, Phase::Proxy, Phase::Network];
    let without = |joined: bool, kubelet: &str| {
        let mut world = ready();
        world.observed.proxy_certificate = Ok(None);
        put(&mut world, units::KUBE_PROXY, "inactive");
        put(&mut world, units::FORWARD, "inactive");
        put(&mut world, units::KUBELET, kubelet);
        if !joined {
            world.forget(paths::joined());
        }
        LATER.map(|phase| matches!(verdict(&world, phase), Verdict::Act(_)))
    };
    // kube-proxy itself stands on its certificate.
    let begun = [true, false, true];
    assert_eq!(without(false, "inactive"), [false; 3]);
    assert_eq!(without(false, "activating"), [false; 3]);
    assert_eq!(without(false, "active"), begun);
    assert_eq!(without(true, "inactive"), begun);
    let proxy = |kubelet: &str| {
        let mut world = ready();
        put(&mut world, units::KUBE_PROXY, "inactive");
        put(&mut world, units::KUBELET, kubelet);
        world.forget(paths::joined());
        verdict(&world, Phase::Proxy)
    };
    assert!(matches!(proxy("inactive"), Verdict::Unmet { reason: Reason::UnitStarting, .. }));
    assert_eq!(proxy("active"), Verdict::Act(vec![Step::StartUnit(units::KUBE_PROXY)]));
}

#[test]
fn it_waits_for_ready_where_the_network_is_ours_and_not_for_long() {
    let until = |plugin: NetworkPlugin, is_ready: bool, after_seconds: i64| {
        let mut world = ready();
        put(&mut world, units::KUBE_PROXY, "inactive");
        world.forget(paths::joined());
        // Another plugin has other files, which are written first.
        let begins = match plugin {
            NetworkPlugin::Bridge => Verdict::Act(vec![Step::StartUnit(units::KUBE_PROXY)]),
            _ => Verdict::Held,
        };
        world.config.network.plugin = plugin;
        let started = world.now.checked_sub(SignedDuration::from_secs(after_seconds)).unwrap();
        world.unit(units::KUBELET).unwrap().active_since_usec = started.as_microsecond().try_into().unwrap();
        if !is_ready && let Some(Ok(Seen::Present(node))) = &mut world.observed.watched.node {
            "False".clone_into(&mut node.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status);
        }
        match verdict(&world, Phase::Proxy) {
            Verdict::Unmet { reason: Reason::UnitStarting, until, .. } => {
                Some(until.unwrap().as_microsecond() - started.as_microsecond())
            }
            other => {
                assert_eq!(other, begins);
                None
            }
        }
    };
    assert_eq!(until(NetworkPlugin::Bridge, false, 1), Some(2_000_000));
    assert_eq!(until(NetworkPlugin::Bridge, true, 1), None);
    assert_eq!(until(NetworkPlugin::Bridge, false, 2), None);
    assert_eq!(until(NetworkPlugin::None, false, 1), None);
    // A clock that was set back an hour.
    assert_eq!(until(NetworkPlugin::Bridge, false, -900), None);
}
