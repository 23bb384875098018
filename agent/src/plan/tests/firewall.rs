//! Who reaches this node's ports: closed before anything listens, and open again when nothing is restricted any more.

use super::arbitrary::restricted;
use super::messages::{check_said, preflight, text};
use super::world::World;
use super::{Phase, Step, Verdict, settle, steps};
use crate::desired::{paths, units};
use crate::ports::root::FileOnDisk;

impl World {
    /// A unit of ours from a configuration before.
    pub(super) fn has_old_unit(&mut self, name: &'static str) {
        let mtime_usec = self.tick();
        let found = FileOnDisk { content: b"[Unit]\n".to_vec(), mode: 0o644, mtime_usec };
        self.observed.files.insert(paths::units().join(name), Ok(Some(found)));
        if let Some(state) = self.unit(name) {
            "loaded".clone_into(&mut state.load);
            "active".clone_into(&mut state.active);
        }
    }
}

#[test]
fn ports_are_closed_before_the_kubelet_starts_and_it_waits_for_that() {
    let mut world = World::fresh();
    world.edit(|config, _| config.firewall = restricted());
    let mut order = Vec::new();
    for _ in 0..40 {
        let planned = steps(&world.plan());
        order.extend(planned.iter().map(Step::key));
        for step in &planned {
            world.apply(step);
        }
        world.others_move();
    }
    let at =
        |key: &str| order.iter().position(|done| done == key).unwrap_or_else(|| panic!("{key}: {order:?}"));
    assert!(at("write /var/lib/kn-agent/firewall.nft") < at("start kn-agent-firewall.service"));
    assert!(at("start kn-agent-firewall.service") < at("start kubelet.service"));
    assert!(
        order.iter().any(|done| done.starts_with("enable ") && done.contains(units::FIREWALL)),
        "{order:?}"
    );
    assert!(world.plan().is_ready());

    // Another network is another table.
    world.edit(|config, _| config.firewall.restrict[0].allow = vec!["10.1.0.0/16".parse().unwrap()]);
    let write = steps(&world.plan());
    for step in &write {
        world.apply(step);
    }
    let restarted = steps(&world.plan());
    assert!(restarted.iter().any(|step| step.key() == "restart kn-agent-firewall.service"), "{restarted:?}");
}

#[test]
fn a_firewall_that_starts_after_ours_takes_it_away_and_it_is_loaded_again() {
    let mut world = World::fresh();
    world.edit(|config, _| config.firewall = restricted());
    assert!(settle(&mut world).is_ready());
    // The control: one that is off, or was there first, changes nothing.
    assert_eq!(steps(&world.plan()), []);
    let now = u64::try_from(world.tick()).unwrap();
    let nftables = world.unit(units::NFTABLES).unwrap();
    "loaded".clone_into(&mut nftables.load);
    "active".clone_into(&mut nftables.active);
    nftables.active_since_usec = 1;
    assert_eq!(steps(&world.plan()), []);
    world.unit(units::NFTABLES).unwrap().active_since_usec = now;
    let again = steps(&world.plan());
    assert!(matches!(&again[..], [Step::RestartUnit { unit: units::FIREWALL, .. }]), "{again:?}");
    for step in &again {
        world.apply(step);
    }
    assert!(settle(&mut world).is_ready());
    assert_eq!(steps(&world.plan()), []);
    // The clock was set back by two hours.
    world.unit(units::NFTABLES).unwrap().active_since_usec = now + 7_200_000_000;
    assert_eq!(steps(&world.plan()), []);
}

#[test]
fn it_is_told_where_the_api_server_is_shut_out() {
    let found = |network: &str| {
        let mut world = World::fresh();
        world.edit(|config, _| {
            config.firewall = restricted();
            config.firewall.restrict[0].port = 10_250;
            config.firewall.restrict[0].allow = vec![network.parse().unwrap()];
        });
        let said = check_said(&world, "firewall");
        assert!(said.starts_with("ok: "), "{said}");
        said
    };
    let server = World::fresh().config.cluster.server.host().to_owned();
    assert!(
        found("192.0.2.0/24")
            .contains(&format!("the API server's {server} is not among those who reach 10250")),
        "{}",
        found("192.0.2.0/24")
    );
    assert!(!found(&format!("{server}/32")).contains("not among"));
}

#[test]
fn without_the_program_that_closes_them_nothing_is_started() {
    let lacks = "BinaryMissing: check firewall: firewall.restrict needs the program `nft`, which is in none of \
                 /usr/local/bin, /usr/bin, /opt/kube/bin, /opt/bin, /usr/sbin, /usr/local/sbin; install it (Debian: nftables)";
    let said = preflight(|config, observed| {
        config.firewall = restricted();
        observed.facts.nft = None;
    });
    assert_eq!(said, lacks);
    assert_eq!(preflight(|config, _| config.firewall = restricted()), "ok: 18 checks");
    // A node that has joined says so, and starts nothing that would listen.
    let mut world = World::fresh();
    settle(&mut world);
    world.edit(|config, observed| {
        config.firewall = restricted();
        observed.facts.nft = None;
    });
    assert_eq!(text(&world.plan().verdicts[&Phase::Host]), lacks.replace("check firewall: ", ""));
}

#[test]
fn a_unit_that_is_not_wanted_any_more_goes_with_what_it_left() {
    let mut world = World::fresh();
    world.has_old_unit(units::FIREWALL);
    world.has_old_unit(units::IMAGES);
    settle(&mut world);
    for unit in [units::FIREWALL, units::IMAGES] {
        assert!(!world.observed.files.contains_key(&paths::units().join(unit)), "{unit}");
    }
    // What is wanted stays.
    assert!(world.observed.files.contains_key(&paths::units().join(units::FORWARD)));
}

#[test]
fn rules_for_port_4194_are_looked_for_once_and_when_the_node_is_ready() {
    let mut world = World::fresh();
    let start = Step::StartUnit(units::PORT_4194);
    let mut looked = 0;
    for _ in 0..60 {
        let plan = world.plan();
        let planned = steps(&plan);
        if planned.contains(&start) {
            looked += 1;
            assert!(matches!(&plan.verdicts[&Phase::Upkeep], Verdict::Act(steps) if steps.contains(&start)));
        }
        for step in &planned {
            world.apply(step);
        }
        world.others_move();
    }
    assert!(looked == 1 && world.plan().is_ready(), "{looked} times");
    assert!(!world.observed.files.contains_key(&paths::units().join(units::PORT_4194)));
    world.forget(paths::port_4194());
    assert!(steps(&world.plan()).contains(&start));
    world.edit(|_, observed| observed.facts.iptables = None);
    assert!(!steps(&world.plan()).contains(&start));
}
