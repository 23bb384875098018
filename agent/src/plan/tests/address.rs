//! Which address the node gets, from what, and what is said where none can be told.

use super::messages::{check_said, joined, preflight, text};
use super::world::World;
use super::{Phase, Verdict, settle};
use crate::config::Config;
use crate::desired::address::{ByName, Found, Joined};
use crate::desired::{Facts, address, kubelet};
use crate::observe::{Observed, facts};
use crate::ports::addresses::LocalAddress;
use crate::reason::Reason;

/// Two NICs, the addresses of all that a node has beside them, and of both families.
const MACHINE: [(&str, &str); 11] = [
    ("br-0a1b2c3d4e5f", "10.9.0.1"),
    ("cali0a1b2c3d4e5", "10.9.0.2"),
    ("cni0", "10.9.0.3"),
    ("docker0", "10.9.0.4"),
    ("eth0", "10.0.0.2"),
    ("eth1", "10.9.0.77"),
    ("eth1", "fd00::77"),
    ("flannel.1", "10.9.0.5"),
    ("kn0", "10.9.0.6"),
    ("kube-ipvs0", "10.9.0.7"),
    ("nodelocaldns", "10.9.0.8"),
];

fn has(addresses: &[(&str, &str)]) -> Found {
    let local = |&(interface, address): &(&str, &str)| LocalAddress {
        interface: interface.to_owned(),
        address: address.parse().unwrap(),
    };
    Found::Known(addresses.iter().map(local).collect())
}

/// A machine with these networks asked for.
fn asked(networks: &'static [&str]) -> impl FnOnce(&mut Config, &mut Observed) {
    |config, observed| {
        config.node.address_from = networks.iter().map(|text| text.parse().unwrap()).collect();
        observed.facts.addresses = has(&MACHINE);
    }
}

/// What the check `address` says before the node has joined.
fn check(change: impl FnOnce(&mut Config, &mut Observed)) -> String {
    let mut world = World::fresh();
    world.edit(change);
    check_said(&world, "address")
}

#[test]
fn each_address_is_told_with_what_it_is_from() {
    assert_eq!(check(|_, _| {}), "ok: 10.0.0.2, from the route to the API server");
    assert_eq!(check(asked(&["10.9.0.0/16"])), "ok: 10.9.0.77 of eth1, in 10.9.0.0/16 (node.addressFrom)");
    // The first network that has any, in their order.
    assert_eq!(
        check(asked(&["172.16.0.0/12", "fd00::/8", "10.0.0.0/24"])),
        "ok: fd00::77 of eth1, in fd00::/8 (node.addressFrom)"
    );
    assert_eq!(
        check(|config, observed| {
            config.node.address = "10.9.0.77".parse().ok();
            observed.facts.addresses = has(&MACHINE);
        }),
        "ok: 10.9.0.77, as node.address says"
    );
    let host = joined(Phase::Host, |_, _| {});
    assert!(host.ends_with("; address 10.0.0.2, from the route to the API server"), "{host}");
}

#[test]
fn none_or_two_addresses_in_a_network_are_told_with_what_there_is() {
    assert_eq!(
        preflight(asked(&["172.16.0.0/12", "192.168.0.0/16"])),
        "NodeAddress: check address: no address is in 172.16.0.0/12, 192.168.0.0/16 (node.addressFrom); there are \
         eth0 10.0.0.2, eth1 10.9.0.77, eth1 fd00::77"
    );
    assert_eq!(
        preflight(|config, observed| {
            asked(&["10.0.0.0/8"])(config, observed);
            observed.facts.route_address = None;
        }),
        "NodeAddress: check address: 2 addresses are in 10.0.0.0/8 (node.addressFrom): eth0 10.0.0.2, eth1 10.9.0.77; \
         a node has one"
    );
    assert_eq!(
        preflight(|config, observed| {
            config.node.address_from = vec!["10.9.0.0/29".parse().unwrap()];
            observed.facts.addresses =
                has(&[("docker0", "10.9.0.4"), ("br-lan", "10.0.0.2"), ("lo", "10.8.0.1")]);
        }),
        "NodeAddress: check address: no address is in 10.9.0.0/29 (node.addressFrom); there are br-lan 10.0.0.2, \
         lo 10.8.0.1; of a runtime or the pods' network, and not counted: docker0 10.9.0.4"
    );
    // One address on two interfaces is one.
    assert_eq!(
        check(|config, observed| {
            config.node.address_from = vec!["10.0.0.0/8".parse().unwrap()];
            observed.facts.addresses = has(&[("eth0", "10.0.0.2"), ("eth1", "10.0.0.2")]);
        }),
        "ok: 10.0.0.2 of eth0, in 10.0.0.0/8 (node.addressFrom)"
    );
    assert_eq!(
        check(|config, observed| {
            config.node.address_from = vec!["10.0.0.0/8".parse().unwrap()];
            observed.facts.addresses = Found::Unknown("the kernel does not answer".to_owned());
        }),
        "NodeAddress: node.addressFrom: the kernel does not answer"
    );
    // The kubelet says of such a one: not found in the host's network interfaces.
    assert_eq!(
        preflight(|config, observed| {
            config.node.address = "10.0.0.3".parse().ok();
            observed.facts.addresses = has(&[("eth0", "10.0.0.2")]);
        }),
        "NodeAddress: check address: no interface has 10.0.0.3 (node.address), which the kubelet would refuse; there \
         are eth0 10.0.0.2"
    );
}

#[test]
fn of_several_addresses_it_is_the_one_in_use_then_the_one_on_the_way() {
    assert_eq!(
        check(asked(&["10.0.0.0/8"])),
        "ok: 10.0.0.2 of eth0, in 10.0.0.0/8 (node.addressFrom), the one on the way to the API server"
    );
    let in_use = |address: &'static str| {
        check(move |config, observed| {
            asked(&["10.0.0.0/8"])(config, observed);
            observed.facts.written_address = address.parse().ok();
        })
    };
    assert_eq!(
        in_use("10.9.0.77"),
        "ok: 10.9.0.77 of eth1, in 10.0.0.0/8 (node.addressFrom), the one it has been"
    );
    // One that no interface has any more is none.
    assert!(in_use("10.9.0.99").ends_with("the one on the way to the API server"));

    // A floating address comes to a node, on the interface of its own: nothing is restarted, nothing waits.
    let mut world = World::fresh();
    world.edit(asked(&["10.9.0.0/16"]));
    assert!(settle(&mut world).is_ready());
    world.observed.facts.written_address = "10.9.0.77".parse().ok();
    let mut addresses = MACHINE.to_vec();
    addresses.push(("eth1", "10.9.0.50"));
    world.observed.facts.addresses = has(&addresses);
    let plan = world.plan();
    assert!(plan.is_ready() && plan.steps().next().is_none());
}

#[test]
fn the_kubelet_gets_the_address_that_was_chosen() {
    let unit = |change: fn(&mut Config, &mut Observed)| {
        let mut world = World::fresh();
        world.edit(change);
        let facts: &Facts = &world.observed.facts;
        kubelet::unit(&world.config, facts, facts.kubelet.version.unwrap(), "systemd").unwrap().content
    };
    let node_ip = |change| {
        let text = String::from_utf8(unit(change)).unwrap();
        text.split("--node-ip=").nth(1).map(|rest| rest.split(['"', ' ', '\n']).next().unwrap().to_owned())
    };
    assert_eq!(node_ip(|_, _| {}).as_deref(), Some("10.0.0.2"));
    // What a later start reads of it.
    assert_eq!(address::written(&unit(|_, _| {})), "10.0.0.2".parse().ok());
    assert_eq!(address::written(&unit(|_, observed| observed.facts.route_address = None)), None);
    assert_eq!(
        node_ip(|config, observed| asked(&["10.9.0.0/16"])(config, observed)).as_deref(),
        Some("10.9.0.77")
    );
}

#[test]
fn an_interface_that_goes_down_under_a_node_restarts_nothing() {
    let mut world = World::fresh();
    world.edit(asked(&["10.9.0.0/16"]));
    assert!(settle(&mut world).is_ready());
    world.observed.facts.addresses = has(&[("eth0", "10.0.0.2")]);
    let plan = world.plan();
    let host = &plan.verdicts[&Phase::Host];
    assert!(matches!(host, Verdict::Unmet { reason: Reason::NodeAddress, .. }), "{}", text(host));
    assert!(plan.steps().next().is_none());
}

#[test]
fn what_is_missing_for_a_moment_changes_nothing_and_what_a_program_said_lasts_as_long_as_it() {
    let mut before = World::fresh().observed.facts;
    before.supplied_serves = Some(true);
    assert!(before.route_address.is_some() && before.kubelet.version.is_some());
    let mut fresh = before.clone();
    (fresh.route_address, fresh.supplied_serves, fresh.kubelet.version) = (None, None, None);
    let after = facts::after(&before, fresh.clone(), Some("systemd".to_owned()));
    assert_eq!(
        (after.route_address, after.supplied_serves, after.kubelet.version),
        (before.route_address, before.supplied_serves, before.kubelet.version)
    );
    assert_eq!(after.engine_cgroup_driver.as_deref(), Some("systemd"));
    fresh.route_address = "10.0.0.3".parse().ok();
    fresh.kubelet.path = None;
    let after = facts::after(&before, fresh.clone(), None);
    assert_eq!((after.route_address, after.kubelet.version), (fresh.route_address, None));
}

/// A machine whose API server goes by a name: whether it has joined, what the unit has, and what is found of the name.
fn by_name(joined: Joined, written: Option<&str>, found: ByName) -> impl FnOnce(&mut Config, &mut Observed) {
    let written = written.map(|address| address.parse().unwrap());
    move |config, observed| {
        config.cluster.server = "https://api.example.com:6443".parse().unwrap();
        let facts = &mut observed.facts;
        (facts.route_address, facts.addresses) = (None, has(&MACHINE));
        (facts.joined, facts.written_address, facts.by_name) = (joined, written, found);
    }
}

#[test]
fn name_of_the_api_server_is_looked_up_to_join_and_the_address_stays() {
    let told = |joined, written, found: &ByName| {
        let mut world = World::fresh();
        world.edit(by_name(joined, written, found.clone()));
        let facts = &world.observed.facts;
        let remembered = address::to_remember(&world.config, facts).map(|address| address.to_string());
        (address::is_looked_up(&world.config, facts), check_said(&world, "address"), remembered)
    };
    let ok = |looked_up, said: &str, remembered: Option<&str>| {
        (looked_up, format!("ok: {said}"), remembered.map(str::to_owned))
    };
    let route = ByName::Route("10.9.0.77".parse().unwrap());
    let by_route = ok(true, "10.9.0.77, from the route to the API server", Some("10.9.0.77"));
    let kubelets = |why: &str| format!("the kubelet's own choice: {why}");
    // The unit of an earlier life has no say.
    for written in [None, Some("10.0.0.2")] {
        assert_eq!(told(Joined::No, written, &route), by_route);
        assert_eq!(
            told(Joined::No, written, &ByName::Here),
            ok(true, &kubelets("https://api.example.com:6443 is on this machine"), None)
        );
    }
    // Whatever the name leads to once it has joined, and whoever edits the unit.
    let (own, gone) = ("10.0.0.2".parse().unwrap(), "10.9.0.99".parse().unwrap());
    let stays = ok(false, "10.0.0.2, the one it has been", Some("10.0.0.2"));
    for found in [route, ByName::Here, ByName::Unknown, ByName::Failed("no such name".to_owned())] {
        assert_eq!(told(Joined::As(Some(own)), Some("10.9.0.77"), &found), stays);
        // It joined when this was not remembered yet.
        assert_eq!(told(Joined::As(None), Some("10.0.0.2"), &found), stays);
        assert_eq!(told(Joined::As(None), None, &found), ok(false, &kubelets("as when it joined"), None));
        let (_, said, remembered) = told(Joined::As(Some(gone)), None, &found);
        let why = "NodeAddress: no interface has 10.9.0.99, with which this node joined";
        assert!(said.starts_with(why) && remembered.as_deref() == Some("10.9.0.99"), "{said} {remembered:?}");
    }
    // The address has left this machine since it was looked up.
    let outdated = ByName::Route(gone);
    assert_eq!(told(Joined::No, None, &outdated).1, "not yet: looking up `api.example.com`");
}

#[test]
fn nothing_is_written_or_restarted_while_the_way_to_a_named_api_server_is_not_known() {
    let failed = ByName::Failed("no such name".to_owned());
    for (found, why) in [
        (ByName::Unknown, "ApiUnreachable: looking up `api.example.com`"),
        (failed.clone(), "ApiUnreachable: cannot look up `api.example.com`: no such name"),
    ] {
        let mut world = World::fresh();
        world.edit(by_name(Joined::No, None, found));
        settle(&mut world);
        assert_eq!(text(&world.plan().verdicts[&Phase::Host]), why);
    }
    // A node that runs, whose interface has lost its address for a while, as before DHCP.
    let own = Joined::As("10.0.0.2".parse().ok());
    let mut world = World::fresh();
    world.edit(by_name(own, None, failed));
    assert!(settle(&mut world).is_ready());
    world.observed.facts.addresses = has(&[("eth1", "10.9.0.77")]);
    let plan = world.plan();
    let host = text(&plan.verdicts[&Phase::Host]);
    assert!(
        host.starts_with("NodeAddress: no interface has 10.0.0.2, with which this node joined"),
        "{host}"
    );
    assert!(plan.steps().next().is_none());
}
