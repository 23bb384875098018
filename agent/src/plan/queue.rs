//! Which starts are queued behind one that is under way, and which come after the kubelet's.
//!
//! From a unit's end of starting to the begin of the next lie a signal, the questions of a pass and its plan: some 40 ms on
//! two busy processors, twice in a join. Where nothing else is missing, the step itself waits for that end.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Phase, Step, Verdict, View, held_back, kubelet, node, runtime, unit};
use crate::config::NetworkPlugin;
use crate::desired::{Interface, engine, units};
use crate::reason::Reason;

/// How long after the kubelet's start its Node is waited for, at most: two slow processors have it Ready in half of that.
const READY_PATIENCE: SignedDuration = SignedDuration::from_secs(2);

/// What keeps `what` from being begun on a machine that is yet to join: the kubelet is started first, and where the
/// network is our own bridge its Node is Ready. Ready does not need it, and until then it would take two processors from
/// what Ready does need, kube-proxy alone for half a second. A network plugin of somebody else's may need kube-proxy. Under
/// a clock that was set back nothing is waited for.
pub(super) fn after_the_kubelet(view: View<'_>, what: &str) -> Option<Verdict> {
    if view.is_joined() {
        return None;
    }
    let Some(kubelet) = unit(view, units::KUBELET).ok().filter(|state| state.is_active()) else {
        return Some(Verdict::unmet(Reason::UnitStarting, format!("{what} comes after the kubelet's start")));
    };
    let started = Timestamp::from_microsecond(i64::try_from(kubelet.active_since_usec).ok()?).ok()?;
    let until = started.checked_add(READY_PATIENCE).ok()?;
    let is_waited_for =
        view.config.network.plugin == NetworkPlugin::Bridge && (started..until).contains(&view.now);
    (is_waited_for && !node::is_ready(view)).then(|| Verdict::Unmet {
        reason: Reason::UnitStarting,
        message: format!("{what} comes when the Node is Ready"),
        until: Some(until),
    })
}

/// The start of `phase`'s unit, behind that of the one required phase that is not satisfied yet; `None` where it has to
/// wait for more than that.
pub(super) fn ahead(phase: Phase, view: View<'_>, verdicts: &BTreeMap<Phase, Verdict>) -> Option<Verdict> {
    if view.desired?.interface != Interface::CriDockerd {
        return None;
    }
    let (lacking, behind) = match phase {
        Phase::Runtime => (Phase::Engine, engine::unit(view.config.runtime.kind)),
        Phase::Kubelet => (Phase::Runtime, units::CRI_DOCKERD),
        _ => return None,
    };
    let is_satisfied = |required: &Phase| verdicts.get(required).is_some_and(Verdict::is_satisfied);
    let lacks_more = phase.requires().iter().any(|required| *required != lacking && !is_satisfied(required));
    if lacks_more || !is_coming(view, behind) {
        return None;
    }
    let start = match phase {
        Phase::Runtime => runtime::shim_to_start(view)?,
        _ => runtime::engine_fits(view).is_satisfied().then(|| kubelet::to_start(view))??,
    };
    let steps = vec![Step::AwaitUnit(behind), start];
    steps.iter().all(|step| held_back(view, step).is_none()).then_some(Verdict::Act(steps))
}

/// Whether a unit is being started and has not failed yet.
fn is_coming(view: View<'_>, name: &str) -> bool {
    unit(view, name)
        .is_ok_and(|state| state.load == "loaded" && state.active == "activating" && !state.is_failing())
}
