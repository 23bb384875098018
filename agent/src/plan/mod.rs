//! Every decision: desired × observed × now → plan. Pure and total.

mod engine;
mod firewall;
mod host;
pub mod identity;
mod images;
mod known;
mod kubelet;
mod modes;
mod network;
mod node;
mod overrides;
mod phase;
pub mod preflight;
mod programs;
mod proxy;
mod queue;
mod runtime;
mod settings;
mod step;
mod supplied;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the model makes files and starts at the present")]
mod tests;
mod trust;
mod upkeep;

use std::collections::BTreeMap;

use jiff::Timestamp;
pub use phase::Phase;
pub use step::Step;

use crate::config::Config;
use crate::desired::{Desired, Interface, paths, units};
use crate::observe::{Attempt, Observed};
use crate::ports::Failure;
use crate::ports::systemd::UnitState;
use crate::reason::Reason;

/// What the planner concludes for one phase.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing to do; a word on what was found.
    Satisfied(String),
    /// We can move it ourselves; never empty. In order, a failed step ends the rest.
    Act(Vec<Step>),
    /// Somebody or something else must move: an operator where [`Reason::needs_operator`] says so, otherwise time.
    Unmet {
        /// Why.
        reason: Reason,
        /// What was found.
        message: String,
        /// When to look again although nothing signals.
        until: Option<Timestamp>,
    },
    /// A required phase is not satisfied. Where that is a unit on its way up, the start of the next is [`Verdict::Act`]:
    /// it waits for that.
    Held,
}

impl Verdict {
    pub(crate) fn from_failure(failure: &Failure, until: Option<Timestamp>) -> Self {
        Self::Unmet { reason: failure.reason, message: failure.message.clone(), until }
    }

    pub(crate) fn unmet(reason: Reason, message: impl Into<String>) -> Self {
        Self::Unmet { reason, message: message.into(), until: None }
    }

    /// Whether nothing is to do.
    pub fn is_satisfied(&self) -> bool {
        matches!(self, Self::Satisfied(_))
    }
}

/// What one pass concluded.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// A verdict a phase.
    pub verdicts: BTreeMap<Phase, Verdict>,
    /// The next instant at which something that is in order comes due.
    pub next: Option<Timestamp>,
}

impl Plan {
    /// Whether the node is Ready.
    pub fn is_ready(&self) -> bool {
        self.verdicts.get(&Phase::Ready).is_some_and(Verdict::is_satisfied)
    }

    /// The next instant at which something is to be looked at again.
    pub fn requeue(&self) -> Option<Timestamp> {
        self.verdicts
            .values()
            .filter_map(|v| if let Verdict::Unmet { until, .. } = v { *until } else { None })
            .chain(self.next)
            .min()
    }

    /// Every step, in reading order of the phases.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.verdicts.values().flat_map(|v| if let Verdict::Act(steps) = v { steps.as_slice() } else { &[] })
    }
}

/// What every planner looks at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// What the operator wrote.
    pub config: &'a Config,
    /// What must be true; `None` until the kubelet has told its version.
    pub desired: Option<&'a Desired>,
    /// What is true.
    pub observed: &'a Observed,
    /// The time.
    pub now: Timestamp,
}

impl View<'_> {
    fn may_have_pods(&self) -> bool {
        may_have_pods(self.observed)
    }

    /// Whether the Node was Ready once.
    fn is_joined(&self) -> bool {
        matches!(self.observed.files.get(paths::joined()), Some(Ok(Some(_))))
    }
}

/// Whether pods may run here that a restart of docker would stop.
pub fn may_have_pods(observed: &Observed) -> bool {
    let joined = observed.files.get(paths::joined());
    let kubelet = observed.units.get(units::KUBELET);
    matches!(joined, Some(Ok(Some(_)) | Err(_)))
        || kubelet.is_some_and(|state| state.as_ref().is_ok_and(UnitState::is_active))
}

/// Whether the kubelet that is installed reaches docker through cri-dockerd.
pub(crate) fn needs_cri_dockerd(view: View<'_>) -> bool {
    let of = |version| Interface::of(view.config.runtime.kind, version) == Interface::CriDockerd;
    view.observed.facts.kubelet.version.is_some_and(of)
}

/// What must be true is not known before the kubelet has told its version, nor while a program is missing that a unit
/// is to start: on a joined node no check holds that back.
fn version_unknown(view: View<'_>) -> Verdict {
    let facts = &view.observed.facts;
    if let Some(Err(failure)) = view.observed.supplied.as_ref().filter(|_| facts.supplied_serves.is_none()) {
        return Verdict::from_failure(failure, None);
    }
    if let Some(error) = &facts.kubelet.error {
        return Verdict::unmet(Reason::BinaryMissing, error.clone());
    }
    let missing = [
        (needs_cri_dockerd(view) && facts.cri_dockerd.is_none(), "cri-dockerd"),
        (
            facts.kubelet.version.is_some() && view.config.proxy.enabled && facts.proxy.path.is_none(),
            "kube-proxy",
        ),
    ];
    match missing.into_iter().find_map(|(is_missing, name)| is_missing.then_some(name)) {
        Some(name) => Verdict::Unmet {
            reason: Reason::BinaryMissing,
            message: format!("{name} is not there; `kn-agent check` says where it was looked for"),
            until: Some(later(view.now)),
        },
        None => Verdict::unmet(Reason::Unobservable, "asking the kubelet for its version"),
    }
}

/// Decides. Phases are asked in reading order, which is an order of their requirements except that the runtime's CRI
/// shim waits for the network configuration; that is read from the observation, not from the verdict.
pub fn plan(view: View<'_>) -> Plan {
    let mut verdicts: BTreeMap<Phase, Verdict> = BTreeMap::new();
    for phase in Phase::ALL {
        let held = phase
            .requires()
            .iter()
            .any(|required| !verdicts.get(required).is_some_and(Verdict::is_satisfied));
        let verdict = if held {
            queue::ahead(phase, view, &verdicts).unwrap_or(Verdict::Held)
        } else {
            gate(decide(phase, view), view)
        };
        verdicts.insert(phase, verdict);
    }
    Plan { verdicts, next: identity::next_instant(view) }
}

fn decide(phase: Phase, view: View<'_>) -> Verdict {
    match phase {
        Phase::Preflight => preflight::verdict(view),
        Phase::Programs => programs::verdict(view),
        Phase::Trust => trust::verdict(view),
        Phase::Identity => identity::client(view),
        Phase::Host => host::host(view),
        Phase::Engine => engine::verdict(view),
        Phase::Runtime => runtime::verdict(view),
        Phase::Registered => node::registered(view),
        Phase::Network => network::verdict(view),
        Phase::Kubelet => overrides::told(view, units::KUBELET, kubelet::verdict(view)),
        Phase::ProxyIdentity => identity::proxy(view),
        Phase::Proxy => overrides::told(view, units::KUBE_PROXY, proxy::verdict(view)),
        Phase::ServingCert => identity::serving(view),
        Phase::Ready => node::ready(view),
        Phase::Upkeep => upkeep::verdict(view),
        Phase::Renewal => identity::renewal(view),
    }
}

/// A step that failed is not tried again before its time; until then the phase waits, with the failure as the reason.
fn gate(verdict: Verdict, view: View<'_>) -> Verdict {
    let Verdict::Act(steps) = &verdict else { return verdict };
    match steps.iter().find_map(|step| held_back(view, step)) {
        Some(attempt) => Verdict::from_failure(&attempt.failure, Some(attempt.retry_at)),
        None => verdict,
    }
}

/// The failed attempt that keeps a step from being tried now.
pub(crate) fn held_back<'a>(view: View<'a>, step: &Step) -> Option<&'a Attempt> {
    view.observed.attempts.get(&step.key()).filter(|attempt| view.now < attempt.retry_at)
}

/// The state of a unit, or the verdict that it can't be known.
pub(crate) fn unit<'a>(view: View<'a>, name: &str) -> Result<&'a UnitState, Verdict> {
    match view.observed.units.get(name) {
        Some(Ok(state)) => Ok(state),
        Some(Err(failure)) => Err(Verdict::from_failure(failure, Some(soon(view.now)))),
        None => Err(Verdict::unmet(Reason::Unobservable, format!("`{name}` was not looked at"))),
    }
}

/// Brings a unit to active: what is in the way, the step, or `None` where it runs.
pub(crate) fn bring_up(view: View<'_>, name: &'static str, inputs_written_usec: i64) -> Option<Verdict> {
    let state = match unit(view, name) {
        Ok(state) => state,
        Err(verdict) => return Some(verdict),
    };
    let log = || if state.log.is_empty() { String::new() } else { format!("\n  {}", state.log.join("\n  ")) };
    match (state.load.as_str(), state.active.as_str()) {
        ("masked", _) => Some(Verdict::unmet(Reason::UnitMasked, format!("`{name}` is masked"))),
        ("loaded", "active" | "reloading") => {
            let started = i64::try_from(state.active_since_usec).unwrap_or(i64::MAX);
            // A file from the future says that the clock was set back, and would ask for a restart until it is reached.
            let newer = inputs_written_usec > started && inputs_written_usec <= view.now.as_microsecond();
            newer.then(|| {
                Verdict::Act(vec![Step::RestartUnit {
                    unit: name,
                    because: "its files changed after it started".to_owned(),
                }])
            })
        }
        ("loaded", "activating") if state.is_failing() => {
            // Once it is started anew, its exit status is that of a process that has not ended yet: 0.
            let how = match state.exit_status {
                0 => "and is being started".to_owned(),
                status => format!("last exit status {status}"),
            };
            let cause = known::explain(name, state).map_or_else(String::new, |cause| format!("; {cause}"));
            let message = format!("`{name}` was restarted {} times, {how}{cause}{}", state.restarts, log());
            let reason = match name {
                units::DOCKER | units::CRI_DOCKERD | units::CONTAINERD => Reason::RuntimeCrashLoop,
                _ => Reason::UnitCrashLoop,
            };
            Some(Verdict::unmet(reason, message))
        }
        ("loaded", "activating" | "deactivating") => {
            Some(Verdict::unmet(Reason::UnitStarting, format!("`{name}` is {}", state.active)))
        }
        ("loaded", _) => Some(Verdict::Act(vec![Step::StartUnit(name)])),
        (load, _) => Some(Verdict::unmet(Reason::SystemdTrouble, format!("systemd says `{name}` is {load}"))),
    }
}

/// When what nothing signals is looked at again.
pub(crate) fn soon(now: Timestamp) -> Timestamp {
    now.saturating_add(jiff::SignedDuration::from_millis(250)).unwrap_or(now)
}

/// When the health of a unit that is not well is looked at again: soon after its start, then ever later, since nobody
/// waits for it any more.
pub(crate) fn again(view: View<'_>, name: &str) -> Timestamp {
    let since = unit(view, name).map_or(0, |state| i64::try_from(state.active_since_usec).unwrap_or(0));
    let quarter = view.now.as_microsecond().saturating_sub(since).clamp(0, 20_000_000) / 4;
    let pause = jiff::SignedDuration::from_micros(quarter.max(250_000));
    view.now.saturating_add(pause).unwrap_or(view.now)
}

/// When what is slow and nothing signals is looked at again.
pub(crate) fn later(now: Timestamp) -> Timestamp {
    now.saturating_add(jiff::SignedDuration::from_secs(5)).unwrap_or(now)
}

/// The newest write to any of `files`, microseconds since 1970.
pub(crate) fn newest_write<'a>(view: View<'_>, files: impl IntoIterator<Item = &'a std::path::Path>) -> i64 {
    let mtime =
        |path: &std::path::Path| Some(view.observed.files.get(path)?.as_ref().ok()?.as_ref()?.mtime_usec);
    files.into_iter().filter_map(mtime).max().unwrap_or(0)
}
