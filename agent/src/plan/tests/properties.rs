//! What every planner must promise, in every world. Each promise is a function, so that a planner that breaks it can be
//! shown to be caught.

use proptest::prelude::*;

use super::world::World;
use super::{Phase, Plan, Step, Verdict, arbitrary, steps};
use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::desired::{paths, units};
use crate::observe::certificates;
use crate::plan::identity::window;

/// More passes than a join from nothing needs (21); a planner that goes round in circles needs more.
pub(super) const PASSES: usize = 60;

/// A promise, about one world.
pub(super) type Property = fn(&World) -> Result<(), TestCaseError>;

/// The last plan, when nothing is left to do; `None` where that never comes.
pub(super) fn settled(world: &mut World) -> Option<Plan> {
    for _ in 0..PASSES {
        let plan = world.plan();
        let steps = steps(&plan);
        if steps.is_empty() && !world.others_move() {
            return Some(plan);
        }
        for step in &steps {
            world.apply(step);
        }
    }
    None
}

/// Every phase has a verdict, and the same world the same plan.
pub(super) fn total(world: &World) -> Result<(), TestCaseError> {
    let first = world.plan();
    prop_assert_eq!(first.verdicts.len(), Phase::ALL.len());
    prop_assert_eq!(&first, &world.plan());
    Ok(())
}

/// Whether nothing is done but to wait for a unit on its way up, of what is required, and to start the one behind it.
fn is_queued(world: &World, steps: &[Step]) -> bool {
    let [Step::AwaitUnit(behind), Step::StartUnit(unit)] = steps else { return false };
    let state = |name: &str| world.observed.units.get(name).and_then(|state| state.as_ref().ok());
    let is_coming = state(behind).is_some_and(|state| state.active == "activating" && !state.is_failing());
    let chain = [units::DOCKER, units::CRI_DOCKERD, units::KUBELET];
    is_coming
        && chain.windows(2).any(|pair| pair == [*behind, *unit])
        && state(unit).is_some_and(|state| !state.is_active())
}

/// No phase acts or is judged before what it requires.
pub(super) fn ordered(world: &World) -> Result<(), TestCaseError> {
    let plan = world.plan();
    for (phase, verdict) in &plan.verdicts {
        let ready = phase.requires().iter().all(|required| plan.verdicts[required].is_satisfied());
        let queued = matches!(verdict, Verdict::Act(steps) if is_queued(world, steps));
        prop_assert_eq!(!ready, matches!(verdict, Verdict::Held) || queued, "{}", phase);
        if let Verdict::Act(steps) = verdict {
            prop_assert!(!steps.is_empty());
        }
    }
    Ok(())
}

/// A mendable world becomes Ready, and then nothing is done.
pub(super) fn converges(world: &World) -> Result<(), TestCaseError> {
    let mut world = world.clone();
    let Some(last) = settled(&mut world) else {
        return Err(TestCaseError::fail("it never comes to rest"));
    };
    prop_assert!(last.is_ready(), "{:#?}", last.verdicts);
    prop_assert!(steps(&world.plan()).is_empty());
    Ok(())
}

/// No new key while a usable certificate exists, no restart without a change, nothing removed that is not ours, no Node
/// made again that was Ready and is gone.
pub(super) fn harmless(world: &World) -> Result<(), TestCaseError> {
    let plan = world.plan();
    let usable = plan.verdicts[&Phase::Identity].is_satisfied();
    economical(world, &plan)?;
    let joined = matches!(world.observed.files.get(paths::joined()), Some(Ok(Some(_))));
    for step in plan.steps() {
        match step {
            Step::MakeKey { path, .. } if path == paths::pending_client_key() => prop_assert!(!usable),
            Step::RestartUnit { unit: units::KUBE_PROXY, .. } if installs_for_proxy(&plan) => {
                let used = world.observed.proxy_certificate.as_ref().ok().and_then(Option::as_ref);
                let left = used.map(|used| used.not_after - world.now.as_second());
                let usable = plan.verdicts[&Phase::ProxyIdentity].is_satisfied();
                let changed = world.newest_input(units::KUBE_PROXY) > world.started(units::KUBE_PROXY);
                prop_assert!(changed || !usable || left.is_none_or(|left| left <= 330));
            }
            Step::RestartUnit { unit, .. } => prop_assert!(world.newest_input(unit) > world.started(unit)),
            Step::RemoveFile(path) if path == paths::proxy_kubeconfig() => {
                prop_assert!(!plan.verdicts[&Phase::ProxyIdentity].is_satisfied());
            }
            Step::RemoveFile(path)
                if [paths::kubelet_kubeconfig(), paths::kubelet_server()].contains(&path.as_path()) =>
            {
                prop_assert!(!usable);
            }
            Step::RemoveFile(path) => {
                let passing = [units::PROXY_CLEANUP, units::PORT_4194].map(|unit| paths::units().join(unit));
                prop_assert!(path.starts_with("/var/lib/kn-agent") || passing.contains(path));
            }
            Step::RetireUnit(unit) => {
                let path = paths::units().join(unit);
                let is_there = matches!(world.observed.files.get(&path), Some(Ok(Some(_))));
                prop_assert!(is_there && units::OPTIONAL.contains(unit));
            }
            // It takes the rules of Services away, all of them.
            Step::StartUnit(units::PROXY_CLEANUP) => {
                let is_noted = matches!(world.observed.files.get(paths::proxy_left()), Some(Ok(Some(_))));
                prop_assert!(is_noted || world.observed.facts.modes.has_ipvs_device);
            }
            Step::CreateNode(_) => prop_assert!(!joined),
            _ => {}
        }
    }
    Ok(())
}

fn installs_for_proxy(plan: &Plan) -> bool {
    plan.steps().any(|step| {
        matches!(step, Step::InstallCertificate { certificate, .. } if certificate.purpose == Purpose::KubeProxy)
    })
}

/// Nothing is asked for that is there and not due, nor twice; and what is in use is replaced by nothing worse.
fn economical(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let proxy_is_well = plan.verdicts[&Phase::ProxyIdentity].is_satisfied();
    let in_use = world.observed.proxy_certificate.as_ref().ok().and_then(Option::as_ref);
    let due = in_use.is_none_or(|certificate| {
        let at = window(world.config.node.name.as_str(), Purpose::KubeProxy, certificate).at;
        world.observed.renew_proxy || world.now.as_second() >= at
    });
    for step in plan.steps() {
        match step {
            Step::SubmitRequest { certificate, name } => {
                once(world, certificate, name)?;
                prop_assert!(certificate.purpose != Purpose::KubeProxy || !proxy_is_well || due);
            }
            Step::MakeKey { path, .. } if path == paths::pending_proxy_key() => {
                prop_assert!(!proxy_is_well || due);
            }
            Step::InstallCertificate { certificate, pem, .. } => {
                let new = certificates::parse(pem).map_err(TestCaseError::fail)?;
                let (key, used) = match certificate.purpose {
                    Purpose::KubeletClient => (&world.observed.pending_client_key, None),
                    Purpose::KubeProxy => {
                        (&world.observed.pending_proxy_key, in_use.filter(|_| proxy_is_well))
                    }
                };
                let key = key.as_ref().ok().and_then(Option::as_ref).map(|key| &key.public_key_hash);
                prop_assert_eq!(key, Some(&new.public_key_hash));
                prop_assert!(new.is_valid_at(world.now));
                prop_assert!(used.is_none_or(|used| new.not_before >= used.not_before));
            }
            _ => {}
        }
    }
    Ok(())
}

/// No other request for the same waits, unless it was made with a token that is not used any more.
fn once(world: &World, certificate: &CertificateSpec, name: &str) -> Result<(), TestCaseError> {
    let token = world.observed.token.as_ref().ok().and_then(Option::as_ref);
    let user = token.and_then(|token| Some(format!("system:bootstrap:{}", token.id.as_ref()?)));
    for other in world.undecided() {
        let other_name = other.metadata.name.as_deref().unwrap_or_default();
        if other_name != name && other_name.starts_with(&certificate.name_prefix()) {
            prop_assert!(certificate.purpose == Purpose::KubeletClient);
            prop_assert_ne!(&other.spec.username, &user);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn plan_is_total_and_a_function_of_its_inputs(world in arbitrary::any()) {
        total(&world)?;
    }

    #[test]
    fn no_phase_acts_or_is_judged_before_what_it_requires(world in arbitrary::any()) {
        ordered(&world)?;
    }

    #[test]
    fn a_mendable_world_becomes_ready_and_then_nothing_is_done(world in arbitrary::mendable()) {
        converges(&world)?;
    }

    #[test]
    fn nothing_is_planned_that_does_harm(world in arbitrary::any()) {
        harmless(&world)?;
    }
}
