//! kube-proxy's modes: what is missing is said and nothing is written, and what an old mode left is taken away once.

use super::messages::{fresh, joined, preflight};
use super::world::World;
use super::{Phase, Step, Verdict, ready, settle, steps};
use crate::config::{Config, ProxyMode};
use crate::desired::modes::Module;
use crate::desired::{paths, units};
use crate::observe::Observed;
use crate::ports::Failure;
use crate::reason::Reason;

const ALL: [ProxyMode; 3] = [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs];

impl World {
    /// As the unit does, and systemd for it: kube-proxy is stopped first.
    pub(super) fn clean_up_after_proxy(&mut self) {
        self.observed.facts.modes.has_ipvs_device = false;
        self.observed.proxy_health = Err("not active".to_owned());
        if let Some(state) = self.unit(units::KUBE_PROXY) {
            "inactive".clone_into(&mut state.active);
        }
    }
}

fn without_ip_vs(config: &mut Config, observed: &mut Observed) {
    config.proxy.mode = ProxyMode::Ipvs;
    observed.facts.modes.kernel = "6.18.44".to_owned();
    observed.facts.modes.ipvs = Module::Absent;
}

#[test]
fn a_mode_that_this_machine_has_not_what_for_is_refused_before_anything_is_written() {
    let lacks = "ProxyModeUnsupported: check proxy-mode: ipvs needs the kernel's `ip_vs`, and Linux 6.18.44 has it neither built \
                 in nor in /lib/modules/6.18.44";
    assert_eq!(preflight(without_ip_vs), lacks);
    // On a joined node the files stay, and kube-proxy goes on as it is.
    assert_eq!(joined(Phase::Preflight, without_ip_vs), "ok: 17 checks");
    assert_eq!(joined(Phase::Host, without_ip_vs), lacks);
    assert_eq!(
        preflight(|config, observed| {
            config.proxy.mode = ProxyMode::Nftables;
            observed.facts.modes.missing = vec!["nft"];
        }),
        "ProxyModeUnsupported: check proxy-mode: nftables needs the program `nft`; install it (Debian: nftables)"
    );
    let ignored = preflight(|config, observed| {
        without_ip_vs(config, observed);
        assert!(config.preflight.ignore.insert("proxy-mode".to_owned()));
    });
    assert_eq!(ignored, "ok: 17 checks, ignored: proxy-mode");
    let not_ours = preflight(|config, observed| {
        without_ip_vs(config, observed);
        config.proxy.enabled = false;
    });
    assert_eq!(not_ours, "ok: 13 checks");
    assert_eq!(fresh(Phase::Preflight, |config, _| config.proxy.mode = ProxyMode::Ipvs), "ok: 17 checks");
}

#[test]
fn a_kube_proxy_that_stopped_is_not_started_in_a_mode_that_can_not_work() {
    let mut world = ready();
    world.edit(|config, _| config.proxy.mode = ProxyMode::Ipvs);
    assert!(settle(&mut world).is_ready());
    // The next kernel has no such module.
    world.edit(without_ip_vs);
    assert!(world.plan().is_ready(), "one that runs is left alone");
    "inactive".clone_into(&mut world.unit(units::KUBE_PROXY).unwrap().active);
    let Verdict::Unmet { reason, .. } = world.plan().verdicts[&Phase::Proxy].clone() else { panic!() };
    assert_eq!(reason, Reason::ProxyModeUnsupported);
    assert!(reason.needs_operator(), "status tells it as blocked");
}

#[test]
fn ipvs_has_its_modules_loaded_before_anything_that_works_is_taken_away() {
    let mut world = ready();
    world.edit(|config, _| config.proxy.mode = ProxyMode::Ipvs);
    let mut done = Vec::new();
    for _ in 0..10 {
        let planned = steps(&world.plan());
        for step in &planned {
            world.apply(step);
        }
        done.extend(planned.iter().map(Step::key));
    }
    let at =
        |key: &str| done.iter().position(|done| done == key).unwrap_or_else(|| panic!("no {key}: {done:#?}"));
    let order = [
        at("write /var/lib/kn-agent/proxy-left"),
        at("write /etc/kubernetes/kube-proxy.yaml"),
        at("start kn-agent-modules.service"),
        at("start kn-agent-proxy-cleanup.service"),
        at("remove /var/lib/kn-agent/proxy-left"),
        at("start kube-proxy.service"),
    ];
    assert!(order.is_sorted(), "{done:#?}");
    assert!(world.plan().is_ready());
    let conf = &world.observed.files[std::path::Path::new("/etc/modules-load.d/95-kn-agent.conf")];
    let conf = String::from_utf8(conf.clone().unwrap().unwrap().content).unwrap();
    assert!(conf.contains("\nip_vs\n") && conf.contains("\nip_vs_rr\n"), "{conf}");
}

#[test]
fn a_module_that_can_not_be_loaded_leaves_kube_proxy_as_it_was() {
    let mut world = ready();
    world.edit(|config, _| config.proxy.mode = ProxyMode::Ipvs);
    for step in steps(&world.plan()) {
        world.apply(&step);
    }
    world.fail("start kn-agent-modules.service", Failure::new(Reason::UnitFailed, "no module `ip_vs`"));
    let Verdict::Unmet { reason, .. } = world.plan().verdicts[&Phase::Proxy].clone() else { panic!() };
    assert_eq!(reason, Reason::UnitFailed);
    assert!(steps(&world.plan()).is_empty(), "{:?}", steps(&world.plan()));
    assert!(world.observed.units[units::KUBE_PROXY].as_ref().unwrap().is_active());
}

/// Whether the unit ran that cleans up, on the way from one mode to the other.
fn cleans_up(version: &str, from: ProxyMode, to: ProxyMode) -> bool {
    let mut world = World::fresh();
    world.edit(|config, observed| {
        config.proxy.mode = from;
        observed.facts.proxy.version = version.parse().ok();
    });
    assert!(settle(&mut world).is_ready(), "{version} {from:?}");
    world.edit(|config, _| config.proxy.mode = to);
    let mut ran = 0;
    for _ in 0..10 {
        let planned = steps(&world.plan());
        ran += planned.iter().filter(|step| **step == Step::StartUnit(units::PROXY_CLEANUP)).count();
        for step in &planned {
            world.apply(step);
        }
    }
    assert!(world.plan().is_ready() && ran < 2, "{version} {from:?} {to:?}: {ran}");
    assert!(!world.observed.files.contains_key(paths::proxy_left()));
    assert!(!world.observed.files.contains_key(&paths::units().join(units::PROXY_CLEANUP)));
    ran == 1
}

#[test]
fn what_a_mode_left_is_taken_away_where_kube_proxy_does_not_do_it_itself() {
    for (version, minor) in [("v1.20.2", 20), ("v1.28.3", 28), ("v1.31.1", 31), ("v1.36.3", 36)] {
        for (from, to) in ALL.into_iter().flat_map(|from| ALL.map(|to| (from, to))) {
            if minor < 31 && (from == ProxyMode::Nftables || to == ProxyMode::Nftables) {
                continue;
            }
            let by_itself = minor >= 29 && (from == ProxyMode::Nftables) != (to == ProxyMode::Nftables);
            assert_eq!(cleans_up(version, from, to), from != to && !by_itself, "{version} {from:?} {to:?}");
        }
    }
}

#[test]
fn what_ipvs_left_before_kn_agent_came_is_taken_away_and_not_tried_for_ever() {
    let mut world = World::fresh();
    world.edit(|_, observed| observed.facts.modes.has_ipvs_device = true);
    let mut ran = 0;
    for _ in 0..40 {
        let planned = steps(&world.plan());
        for step in &planned {
            world.apply(step);
            if *step == Step::StartUnit(units::PROXY_CLEANUP) {
                ran += 1;
                // It stays, whatever is done: the loop says so of a step that had no effect.
                world.observed.facts.modes.has_ipvs_device = true;
                world.fail(&step.key(), Failure::new(Reason::NoEffect, "still there"));
            }
        }
        if planned.is_empty() && !world.others_move() {
            break;
        }
    }
    assert_eq!(ran, 1);
    assert!(world.plan().is_ready(), "{:?}", world.plan());
    // The control: in its own mode ipvs' interface is where it belongs.
    let mut world = World::fresh();
    world.edit(|config, observed| {
        config.proxy.mode = ProxyMode::Ipvs;
        observed.facts.modes.has_ipvs_device = true;
    });
    assert!(settle(&mut world).is_ready() && world.observed.facts.modes.has_ipvs_device);
}
