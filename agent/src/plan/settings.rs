//! Settings: what the operator wrote into kubelet's and kube-proxy's own configuration, against the versions that are
//! installed. It is refused before anything is written: both programs would take a mistyped field with a line in a log.

use std::borrow::Cow;

use super::preflight::{self, Outcome};
use super::{Verdict, View, later, modes};
use crate::desired::Program;
use crate::desired::versions::check::{Check, Finding, State};
use crate::reason::Reason;

/// What a check of a version's settings lacks.
const NOT_YET: Outcome = Outcome::NotYet(Cow::Borrowed("the kubelet has not told its version"));

/// A check each for fields and flags, of kube-proxy and for its mode where it is ours.
pub(super) fn checks(view: View<'_>) -> Vec<(&'static str, Outcome)> {
    let (kubelet, proxy) = (&view.observed.facts.kubelet, &view.observed.facts.proxy);
    let mut outcomes = Vec::new();
    let check = kubelet.version.map(Check::kubelet);
    outcomes.push(("kubelet-config", fields(view, check)));
    outcomes.push(("kubelet-flags", flags(view, check, kubelet)));
    if view.config.proxy.enabled {
        // It is asked late, since nobody waits for it; nearly everywhere it comes with its kubelet.
        let check = proxy.version.or(kubelet.version).map(Check::proxy);
        outcomes.push(("kube-proxy-config", fields(view, check)));
        outcomes.push(("kube-proxy-flags", flags(view, check, proxy)));
        outcomes.push((modes::CHECK, modes::check(view).into()));
    }
    outcomes
}

/// The first of these checks that is in the way of writing.
pub(super) fn refusal(view: View<'_>) -> Option<Verdict> {
    let mut failed = checks(view).into_iter().filter(|(name, _)| !preflight::is_ignored(view, name));
    failed.find_map(|(name, outcome)| {
        let Outcome::Failed(reason, found) = outcome else { return None };
        let message = format!("check {name}: {found}");
        // What it takes can be installed, which gives no signal; a setting is written, which does.
        Some(match name {
            modes::CHECK => Verdict::Unmet { reason, message, until: Some(later(view.now)) },
            _ => Verdict::unmet(reason, message),
        })
    })
}

fn fields(view: View<'_>, check: Option<Check>) -> Outcome {
    let Some(check) = check else { return NOT_YET };
    told(check, check.fields(view.config), "field", Reason::FieldRefused)
}

/// A flag that the program itself lists is known, whatever the data says; one that it keeps from its list may be in the data.
fn flags(view: View<'_>, check: Option<Check>, program: &Program) -> Outcome {
    let Some(check) = check else { return NOT_YET };
    let mut findings = check.flags(view.config);
    findings.retain(|finding| {
        let flag = finding.path.rsplit('.').next().unwrap_or_default().replace('_', "-");
        finding.state == State::Mistyped || !program.flags.contains(&flag)
    });
    told(check, findings, "flag", Reason::UnknownFlag)
}

fn told(check: Check, mut findings: Vec<Finding>, sort: &str, reason: Reason) -> Outcome {
    findings.retain(|finding| finding.state.refuses());
    if findings.is_empty() {
        let program = check.component.program();
        return Outcome::Passed(format!("every {sort} is known to {program} {}", check.version));
    }
    Outcome::Failed(reason, findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
