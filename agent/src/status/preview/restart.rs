//! Which units start anew because of what would be done, and whether pods are hit.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::desired::{DaemonJson, modes, paths, units};
use crate::observe::{Fact, Observed};
use crate::plan::{Plan, Step, may_have_pods};
use crate::ports::systemd::UnitState;

/// A unit that starts anew, and what that means for what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// The unit.
    pub unit: &'static str,
    /// Why.
    pub because: String,
    /// Whether pods on this machine are stopped.
    pub stops_pods: bool,
    /// What it means for what runs.
    pub consequence: &'static str,
}

/// The units that start anew where a file of theirs changes.
const STARTED_ANEW: [&str; 6] = [
    units::DOCKER,
    units::CONTAINERD,
    units::CRI_DOCKERD,
    units::KUBELET,
    units::KUBE_PROXY,
    units::FIREWALL,
];

/// The restarts of `plan`: those that are steps of it, and those that follow because a running unit's files change.
pub(super) fn restarts(observed: &Observed, plan: &Plan) -> Vec<Restart> {
    let mut restarts = Vec::new();
    for step in plan.steps() {
        match step {
            Step::RestartUnit { unit, because } => restarts.push(restart(observed, unit, because.clone())),
            Step::StartUnit(units::PROXY_CLEANUP) => {
                let because = "what its mode before left is taken away";
                restarts.push(restart(observed, units::KUBE_PROXY, because.to_owned()));
            }
            _ => {}
        }
    }
    for unit in STARTED_ANEW {
        let known = restarts.iter().any(|restart| restart.unit == unit);
        let changed = if known || !runs(observed, unit) { Vec::new() } else { changed_inputs(plan, unit) };
        if changed.is_empty() || is_left_running(observed, unit) {
            continue;
        }
        let verb = if changed.len() == 1 { "changes" } else { "change" };
        restarts.push(restart(observed, unit, format!("{} {verb}", changed.join(", "))));
    }
    if changes_mode(observed, plan) {
        let of_proxy = restarts.iter_mut().filter(|restart| restart.unit == units::KUBE_PROXY);
        of_proxy.for_each(|restart| restart.consequence = MODE_CHANGES);
    }
    restarts
}

/// Of kube-proxy, where its mode changes.
const MODE_CHANGES: &str = "pods keep running; Services do not answer for a moment: the rules of the old mode go before those of the new one come";

/// Whether kube-proxy's rules are to be of another kind.
fn changes_mode(observed: &Observed, plan: &Plan) -> bool {
    let found = observed.files.get(paths::proxy_config()).and_then(|found| found.as_ref().ok()?.as_ref());
    let before = found.map(|found| modes::mode_in(&found.content));
    plan.steps().any(|step| match step {
        Step::StartUnit(units::PROXY_CLEANUP) => true,
        Step::WriteFile(file) if file.path == paths::proxy_config() => {
            before.is_some_and(|before| before != modes::mode_in(&file.content))
        }
        _ => false,
    })
}

/// docker is not restarted for its configuration on a machine that is a node: that would hit pods.
pub(super) fn is_left_running(observed: &Observed, unit: &str) -> bool {
    unit == units::DOCKER && may_have_pods(observed) && runs(observed, unit)
}

fn changed_inputs(plan: &Plan, unit: &str) -> Vec<String> {
    let inputs = units::inputs(unit);
    let written = plan.steps().filter_map(|step| match step {
        Step::WriteFile(file) if inputs.contains(&file.path) => Some(file.path.display().to_string()),
        _ => None,
    });
    written.collect()
}

fn restart(observed: &Observed, unit: &'static str, because: String) -> Restart {
    let stops_pods = unit == units::DOCKER && !keeps_containers(observed);
    let consequence = match unit {
        units::DOCKER if stops_pods => {
            "every container on this machine stops, pods included; the kubelet starts pods again"
        }
        units::DOCKER => "containers keep running (live-restore)",
        units::KUBE_PROXY => "pods keep running, and the rules of Services stay meanwhile",
        units::FIREWALL => "pods keep running; nothing is dropped for some milliseconds",
        _ => "pods keep running; none starts or stops meanwhile",
    };
    Restart { unit, because, stops_pods, consequence }
}

fn state<'a>(observed: &'a Observed, unit: &str) -> Option<&'a UnitState> {
    observed.units.get(unit).and_then(|state: &Fact<UnitState>| state.as_ref().ok())
}

fn runs(observed: &Observed, unit: &str) -> bool {
    state(observed, unit).is_some_and(UnitState::is_active)
}

/// Whether the docker that runs lets containers live on: `live-restore` stands in its configuration, and stood there
/// when it started.
fn keeps_containers(observed: &Observed) -> bool {
    let DaemonJson::Keys(keys) = &observed.facts.daemon_json else { return false };
    let asked = keys.get("live-restore").and_then(serde_json::Value::as_bool) == Some(true);
    let started = state(observed, units::DOCKER).map_or(0, |state| state.active_since_usec);
    let written = written_usec(observed, paths::daemon_json());
    asked && written.is_some_and(|written| written < i64::try_from(started).unwrap_or(i64::MAX))
}

fn written_usec(observed: &Observed, path: &Path) -> Option<i64> {
    Some(observed.files.get(path)?.as_ref().ok()?.as_ref()?.mtime_usec)
}
