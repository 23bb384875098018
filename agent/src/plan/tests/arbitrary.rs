//! Worlds as they may be found: at any point of a join, with things lost, changed and stopped; or beyond mending.

use std::path::Path;

use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;

use super::parts::{conf, engine_with};
use super::signer::Approver;
use super::world::World;
use crate::config::{Firewall, ProxyMode, Restriction};
use crate::desired::{Program, paths, units};
use crate::observe::Fact;
use crate::observe::certificates::Certificate;
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::ports::root::FileOnDisk;
use crate::ports::systemd::UnitState;
use crate::reason::Reason;

/// Worlds that were left at any point of a join, with things lost, changed and stopped since.
pub(super) fn mendable() -> impl Strategy<Value = World> {
    (
        0..25_usize,
        prop::collection::vec(0..40_usize, 0..6),
        prop::collection::vec(0..units::ALL.len(), 0..3),
        prop::collection::vec(0..3_usize, 0..4),
        prop::bool::ANY,
        (0..3_usize, prop::bool::ANY, 0..4_usize, prop::bool::ANY),
        (prop::bool::ANY, prop::bool::ANY),
    )
        .prop_map(
            |(
                passes,
                lost,
                stopped,
                changed,
                containerd,
                (mode, has_ipvs_device, firewall, is_slow),
                token_and_pin,
            )| {
                let mut world = left_after(passes, containerd, is_slow, token_and_pin);
                // Restricted now, or before, with images or without.
                world.config.firewall =
                    [restricted(), Firewall::default()][usize::from(firewall != 0)].clone();
                if firewall != 0 {
                    [units::FIREWALL, units::IMAGES]
                        .into_iter()
                        .take(firewall)
                        .for_each(|unit| world.has_old_unit(unit));
                }
                for index in lost {
                    // Where the note of the join is lost with the Node there, nothing is lost.
                    let path = world.observed.files.keys().nth(index).cloned();
                    if let Some(path) = path.filter(|path| path != paths::daemon_json()) {
                        world.forget(&path);
                    }
                }
                for index in stopped {
                    if let Some(state) = world.unit(units::ALL[index]) {
                        "inactive".clone_into(&mut state.active);
                    }
                }
                for index in changed {
                    let paths = [paths::kubelet_config(), paths::proxy_config(), paths::proxy_kubeconfig()];
                    edit(&mut world, paths[index]);
                }
                world.config.proxy.mode = [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs][mode];
                world.observed.facts.modes.has_ipvs_device = has_ipvs_device;
                world
            },
        )
}

/// A machine whose join was left after so many passes.
fn left_after(
    passes: usize,
    containerd: bool,
    is_slow: bool,
    (is_fleeting, is_pinned): (bool, bool),
) -> World {
    let mut world = if containerd { World::with_containerd() } else { World::fresh() };
    world = if is_fleeting { world.with_fleeting_token() } else { world };
    world = if is_pinned { world.pinned() } else { world };
    world.is_slow = is_slow;
    for _ in 0..passes {
        world.plan().steps().cloned().collect::<Vec<_>>().iter().for_each(|step| world.apply(step));
        world.others_move();
    }
    world
}

/// What somebody does to a file by hand.
pub(super) fn edit(world: &mut World, path: &Path) {
    let at = world.tick();
    if let Some(Ok(Some(file))) = world.observed.files.get_mut(path) {
        *file = FileOnDisk { content: b"edited".to_vec(), mode: 0o644, mtime_usec: at };
    }
}

pub(super) fn restricted() -> Firewall {
    let allow = vec!["10.0.0.0/8".parse().unwrap()];
    Firewall { restrict: vec![Restriction { port: 10_250, allow }] }
}

/// Any world at all: what is mendable, and facts unknown, refused, contradictory.
pub(super) fn any() -> impl Strategy<Value = World> {
    let trouble = prop::collection::vec((0..24_u8, 0..units::ALL.len()), 0..6);
    (mendable(), trouble).prop_map(|(mut world, troubles)| {
        for (kind, index) in troubles {
            spoil(&mut world, kind, index);
        }
        world
    })
}

/// What time, operators and other machines do to certificates.
fn age(world: &mut World, kind: u8, index: usize) {
    let now = world.now.as_second();
    let observed = &mut world.observed;
    let to_its_end = |found: &mut Fact<Option<Certificate>>, left: i64| {
        if let Ok(Some(certificate)) = found {
            (certificate.not_before, certificate.not_after) = (now - 10_000, now + left);
        }
    };
    match kind {
        15 => to_its_end(&mut observed.client_certificate, [-1, 500, 2000][index % 3]),
        16 => to_its_end(&mut observed.proxy_certificate, [-1, 500, 2000, 9000][index % 4]),
        17 => observed.renew_proxy = true,
        18 => observed.token = Ok(None),
        19 => {
            let certificate = observed.client_certificate.as_ref().ok().and_then(Option::as_ref);
            observed.watched.refused_key = certificate.map(|certificate| certificate.public_key_hash.clone());
        }
        20 => world.approver = if index.is_multiple_of(2) { Approver::Sleeps } else { Approver::Denies },
        21 => world.delete_requests(),
        _ => world.put_token(Some("fedcba")),
    }
    for _ in 0..index {
        world.plan().steps().cloned().collect::<Vec<_>>().iter().for_each(|step| world.apply(step));
        world.others_move();
    }
}

fn spoil(world: &mut World, kind: u8, index: usize) {
    if kind == 23 {
        world.observed.engine.answers = Err(Failure::new(Reason::RuntimeUnresponsive, "spoiled"));
        return;
    }
    if kind >= 15 {
        return age(world, kind, index);
    }
    let failure = Failure::new(Reason::ALL[index * 5 % Reason::ALL.len()], "spoiled");
    let observed = &mut world.observed;
    let unit = units::ALL[index];
    match kind {
        0 => {
            observed.units.insert(unit, Err(failure));
        }
        1 => {
            observed.units.insert(unit, Ok(UnitState { load: "masked".to_owned(), ..UnitState::default() }));
        }
        2 => {
            observed.units.insert(
                unit,
                Ok(UnitState {
                    load: "loaded".to_owned(),
                    active: "failed".to_owned(),
                    ..UnitState::default()
                }),
            );
        }
        3 => {
            observed.units.insert(
                unit,
                Ok(UnitState {
                    load: "loaded".to_owned(),
                    active: "activating".to_owned(),
                    sub: "auto-restart".to_owned(),
                    restarts: 9,
                    ..UnitState::default()
                }),
            );
        }
        4 => observed.watched.node = Some(Err(failure)),
        5 => observed.watched.node = Some(Ok(Seen::Present(Box::new(Node::default())))),
        6 => observed.client_certificate = Err(failure),
        7 => observed.configured_ca = Err(failure),
        8 => observed.facts.kubelet = Program::default(),
        9 => observed.facts.kubelet.version = "v1.20.2".parse().ok(),
        10 => observed.engine.info = engine_with("cgroupfs").info,
        11 => observed.cni.confs = Ok(vec![conf("00-other.conf", "{}")]),
        12 => observed.configured_ca = Ok(b"no certificate".to_vec()),
        13 => observed.watched.requests.values_mut().for_each(|request| *request = Err(failure.clone())),
        _ => observed.sysctls.values_mut().for_each(|value| *value = None),
    }
}
