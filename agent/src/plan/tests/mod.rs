//! Properties of the planner, over arbitrary worlds: it converges, repeats itself, keeps the order, does no harm,
//! and never panics.

mod address;
mod arbitrary;
mod containerd;
mod firewall;
mod fixture;
mod known;
mod kubeconfig;
mod kubelet;
mod life;
mod messages;
mod modes;
mod network;
mod parts;
mod pods;
mod properties;
mod queue;
mod requests;
mod seeded;
mod settings;
mod signer;
mod supplied;
mod systemd;
mod trust;
mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;

use proptest::strategy::{Strategy, ValueTree};

use super::{Phase, Plan, Step, Verdict, plan};
use crate::desired::{paths, units};
use crate::ports::root::FileOnDisk;
use crate::reason::Reason;
use properties::PASSES;
use world::World;

fn steps(plan: &Plan) -> Vec<Step> {
    plan.steps().cloned().collect()
}

/// Does what the plan says, and what others do of their own accord, until nothing is left to do.
fn settle(world: &mut World) -> Plan {
    properties::settled(world).unwrap_or_else(|| panic!("not settled: {:?}", world.plan()))
}

fn ready() -> World {
    let mut world = World::fresh();
    assert!(settle(&mut world).is_ready());
    world
}

fn reason(world: &World, phase: Phase) -> Option<Reason> {
    match &world.plan().verdicts[&phase] {
        Verdict::Unmet { reason, .. } => Some(*reason),
        _ => None,
    }
}

fn message(world: &World, phase: Phase) -> String {
    match &world.plan().verdicts[&phase] {
        Verdict::Unmet { message, .. } | Verdict::Satisfied(message) => message.clone(),
        other => panic!("{other:?}"),
    }
}

/// A certificate of this life, begun five minutes before zero as signers do.
static COUNTS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Steps are counted on the way of joins, verdicts in arbitrary worlds: where each is at home.
fn count_steps(plan: &Plan) {
    let mut counts = COUNTS.lock().unwrap();
    for step in plan.steps() {
        *counts.entry(format!("step {}", kind(step))).or_default() += 1;
    }
}

/// A new step has to be named here, and to be met.
fn kind(step: &Step) -> &'static str {
    match step {
        Step::WriteFile(_) => "write",
        Step::MakeDirectory { .. } => "make",
        Step::RemoveFile(_) => "remove",
        Step::DiscoverCa { .. } => "discover",
        Step::EnableUnits(_) => "enable",
        Step::ReloadSystemd => "reload",
        Step::RetireUnit(_) => "retire",
        Step::AwaitUnit(_) => "await",
        Step::StartUnit(_) => "start",
        Step::RestartUnit { .. } => "restart",
        Step::MakeKey { .. } => "make key",
        Step::KeepToken => "keep token",
        Step::SubmitRequest { .. } => "submit",
        Step::InstallCertificate { .. } => "install",
        Step::CreateNode(_) => "create",
    }
}

const KINDS: [&str; 20] = [
    "step write",
    "step make",
    "step remove",
    "step discover",
    "step enable",
    "step reload",
    "step retire",
    "step await",
    "step start",
    "step restart",
    "step make key",
    "step keep token",
    "step submit",
    "step install",
    "step create",
    "verdict satisfied",
    "verdict act",
    "verdict blocked",
    "verdict waiting",
    "verdict held",
];

fn count_verdicts(plan: &Plan) {
    let mut counts = COUNTS.lock().unwrap();
    for verdict in plan.verdicts.values() {
        let kind = match verdict {
            Verdict::Satisfied(_) => "verdict satisfied",
            Verdict::Act(_) => "verdict act",
            Verdict::Unmet { reason, .. } if reason.needs_operator() => "verdict blocked",
            Verdict::Unmet { .. } => "verdict waiting",
            Verdict::Held => "verdict held",
        };
        *counts.entry(kind.to_owned()).or_default() += 1;
    }
}

#[test]
fn the_generated_worlds_meet_every_verdict_and_step() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for round in 0..1500 {
        let world = arbitrary::any().new_tree(&mut runner).unwrap().current();
        count_verdicts(&world.plan());
        if round % 25 != 0 {
            continue;
        }
        let mut world = if round % 2 == 0 {
            World::slow().pinned().with_fleeting_token()
        } else {
            arbitrary::mendable().new_tree(&mut runner).unwrap().current()
        };
        for pass in 0..26 {
            // Somebody edits what a running kubelet has read.
            if pass == 22 {
                arbitrary::edit(&mut world, paths::kubelet_config());
            }
            let plan = world.plan();
            count_steps(&plan);
            plan.steps().cloned().collect::<Vec<_>>().iter().for_each(|step| world.apply(step));
            world.others_move();
        }
    }
    let counts = COUNTS.lock().unwrap();
    for what in ["verdict", "step"] {
        let of_kind: Vec<_> = counts.iter().filter(|(name, _)| name.starts_with(what)).collect();
        let total: u32 = of_kind.iter().map(|(_, n)| **n).sum();
        for (name, n) in &of_kind {
            let percent = f64::from(**n) * 100.0 / f64::from(total);
            writeln!(std::io::stdout(), "{percent:5.1} % {name}").unwrap();
            assert!(percent >= 1.0, "{name} is too rare to be tested: {percent:.1} %");
        }
    }
    for kind in KINDS {
        assert!(counts.contains_key(kind), "no world met `{kind}`");
    }
    assert_eq!(counts.len(), KINDS.len(), "one that was met is not listed: {:?}", counts.keys());
}

#[test]
fn requirements_come_before_what_requires_them() {
    for phase in Phase::ALL {
        for required in phase.requires() {
            assert!(required < &phase, "{phase} requires {required}, which is decided later");
        }
    }
}

#[test]
fn a_node_that_was_ready_and_is_gone_is_not_made_again() {
    let mut world = World::fresh();
    settle(&mut world);
    world.delete_node();
    let verdicts = world.plan().verdicts;
    let Verdict::Unmet { reason, .. } = &verdicts[&Phase::Registered] else { panic!("{verdicts:?}") };
    assert_eq!(*reason, crate::reason::Reason::NodeDeleted);
    // The control: without the note that it was Ready it is made.
    world.forget(paths::joined());
    assert!(matches!(world.plan().verdicts[&Phase::Registered], Verdict::Act(_)));
}

#[test]
fn a_key_that_waits_no_more_is_taken_away() {
    for path in [paths::pending_client_key(), paths::pending_proxy_key()] {
        let mut world = World::fresh();
        settle(&mut world);
        world.apply(&Step::MakeKey { path: path.to_owned(), refusals: 0 });
        assert_eq!(steps(&world.plan()), [Step::RemoveFile(path.to_owned())]);
        assert!(settle(&mut world).is_ready());
    }
}

#[test]
fn the_shim_of_docker_waits_for_the_bridge_configuration() {
    let mut world = World::fresh();
    for _ in 0..PASSES {
        let plan = world.plan();
        let started = plan
            .steps()
            .any(|s| matches!(s, Step::StartUnit(unit) if *unit == crate::desired::units::CRI_DOCKERD));
        assert!(!started || world.has_bridge_conf());
        plan.steps().cloned().collect::<Vec<_>>().iter().for_each(|step| world.apply(step));
        world.others_move();
    }
    assert!(world.has_bridge_conf() && world.plan().is_ready());
}

#[test]
fn a_certificate_for_another_key_or_name_or_from_another_ca_is_not_installed() {
    for wrong in [
        fixture::Issued::OtherKey,
        fixture::Issued::OtherName,
        fixture::Issued::OtherCa,
        fixture::Issued::Garbage,
    ] {
        let mut world = World::fresh();
        world.issue_as(wrong);
        let last = settle(&mut world);
        let Verdict::Unmet { reason, .. } = &last.verdicts[&Phase::Identity] else {
            panic!("{wrong:?}: {last:?}")
        };
        assert_eq!(*reason, crate::reason::Reason::CertificateRejected, "{wrong:?}");
        assert_eq!(world.observed.client_certificate, Ok(None), "{wrong:?}");
    }
    let mut world = World::fresh();
    world.issue_as(fixture::Issued::Right);
    assert!(settle(&mut world).is_ready());
}

#[test]
fn a_file_from_the_future_restarts_nothing() {
    let mut world = World::fresh();
    settle(&mut world);
    let restarts = |world: &World| world.plan().steps().any(|step| matches!(step, Step::RestartUnit { .. }));
    let written = |world: &mut World, offset_usec: i64| {
        let at = world.tick() + offset_usec;
        if let Some(Ok(Some(file))) = world.observed.files.get_mut(paths::kubelet_config()) {
            file.mtime_usec = at;
        }
        world.tick();
    };
    written(&mut world, 3_600_000_000);
    assert!(!restarts(&world));
    // The control: a file that was written after the unit's start restarts it.
    written(&mut world, 0);
    assert!(restarts(&world));
}

#[test]
fn docker_is_not_restarted_for_its_configuration_under_a_kubelet_that_runs() {
    let mut world = World::fresh();
    settle(&mut world);
    world.forget(paths::joined());
    let at = world.tick();
    let json = FileOnDisk { content: b"{}".to_vec(), mode: 0o644, mtime_usec: at };
    world.observed.files.insert(paths::daemon_json().to_owned(), Ok(Some(json)));
    world.tick();
    let engine = |world: &World| world.plan().verdicts[&Phase::Engine].clone();
    assert!(engine(&world).is_satisfied(), "{:?}", engine(&world));
    // The control: while no kubelet runs it is.
    "inactive".clone_into(&mut world.unit(units::KUBELET).unwrap().active);
    let because = "its files changed after it started".to_owned();
    assert_eq!(engine(&world), Verdict::Act(vec![Step::RestartUnit { unit: units::DOCKER, because }]));
}

#[test]
fn a_setting_that_the_kernel_does_not_have_is_told_with_the_unit_that_tried() {
    let mut world = World::fresh();
    settle(&mut world);
    assert!(world.plan().verdicts[&Phase::Host].is_satisfied());
    world.observed.sysctls.insert("net/bridge/bridge-nf-call-iptables", None);
    let host = |world: &World| world.plan().verdicts[&Phase::Host].clone();
    // What has not run yet is run.
    assert_eq!(host(&world), Verdict::Act(vec![Step::StartUnit(units::MODULES)]));
    "active".clone_into(&mut world.unit(units::MODULES).unwrap().active);
    let Verdict::Unmet { reason, message, .. } = host(&world) else { panic!("{:?}", host(&world)) };
    assert_eq!(reason, crate::reason::Reason::KernelSetting);
    let named = ["no setting `net/bridge/bridge-nf-call-iptables`", units::MODULES];
    assert!(named.iter().all(|mark| message.contains(mark)), "{message}");
}

#[test]
fn without_a_route_the_kubelets_unit_stays_as_it_is() {
    let mut world = World::fresh();
    settle(&mut world);
    world.observed.facts.route_address = None;
    let host = world.plan().verdicts[&Phase::Host].clone();
    let Verdict::Unmet { reason, message, .. } = &host else { panic!("{host:?}") };
    assert_eq!(*reason, crate::reason::Reason::ApiUnreachable);
    assert!(message.contains("no route to `https://10.0.0.1:6443`"), "{message}");
    assert!(world.plan().steps().next().is_none());
}
