//! What every planner must promise, in every world. Each promise is a function, so that a planner that breaks it can be
//! shown to be caught.

use proptest::prelude::*;

use super::world::World;
use super::{Phase, Plan, Step, Verdict, arbitrary, steps};
use crate::desired::paths;

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

/// No phase acts or is judged before what it requires.
pub(super) fn ordered(world: &World) -> Result<(), TestCaseError> {
    let plan = world.plan();
    for (phase, verdict) in &plan.verdicts {
        let ready = phase.requires().iter().all(|required| plan.verdicts[required].is_satisfied());
        prop_assert_eq!(!ready, matches!(verdict, Verdict::Held), "{}", phase);
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
    let joined = matches!(world.observed.files.get(paths::joined()), Some(Ok(Some(_))));
    for step in plan.steps() {
        match step {
            Step::MakeKey { path, .. } if path == paths::pending_client_key() => prop_assert!(!usable),
            Step::RestartUnit { unit, .. } => prop_assert!(world.newest_input(unit) > world.started(unit)),
            Step::RemoveFile(path) => prop_assert!(path.starts_with("/var/lib/kn-agent")),
            Step::CreateNode(_) => prop_assert!(!joined),
            _ => {}
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
