//! The document for a person.

use std::fmt::Write;

use jiff::Timestamp;

use super::{Document, PhaseStatus, State};

/// Seconds as a person reads them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// Seconds from `earlier` to `later`, at least 0.
pub fn seconds(earlier: Timestamp, later: Timestamp) -> f64 {
    (later.duration_since(earlier).as_secs_f64()).max(0.0)
}

/// The whole document, as the daemon published it.
pub fn render(document: &Document, now: Timestamp) -> String {
    headed(document, &head(document, now), now)
}

fn head(document: &Document, now: Timestamp) -> String {
    let took = document.ready_at.map(|at| duration(seconds(document.started_at, at)));
    match (document.ready, took) {
        (true, Some(took)) => format!("Ready, {took} after the start"),
        (true, None) => "Ready".to_owned(),
        (false, _) => format!("joining for {}", duration(seconds(document.started_at, now))),
    }
}

/// The whole document, made by a look of one's own: how long it has been joining is not known. `runs`: there is a daemon
/// that has said nothing yet.
pub fn render_look(document: &Document, runs: bool) -> String {
    let head = if document.ready { "Ready" } else { "not Ready" };
    let daemon = if runs { "starts" } else { "is not running" };
    headed(document, &format!("{head}; kn-agent {daemon}"), document.published_at)
}

/// What is new in `document` against `before`, a line a phase that stands otherwise: how long after the daemon's start that
/// was, then the phase. Empty where nothing is. A phase that is held back by another is not told, and what helps only
/// where somebody must act: most waits are over at once.
pub fn render_changes(before: &Document, document: &Document) -> String {
    let mut text = String::new();
    let at = duration(seconds(document.started_at, document.published_at));
    for phase in &document.phases {
        let known = before.phases.iter().find(|other| other.phase == phase.phase);
        if phase.state == State::Held || known.is_some_and(|known| is_told(known, phase)) {
            continue;
        }
        let mut told = phase.clone();
        if phase.state != State::Blocked {
            told.hint = None;
        }
        if phase.state == State::Acting {
            told.message = shortened(&phase.steps).unwrap_or_else(|| phase.message.clone());
        }
        let _ = write!(text, "{at:>9}");
        line(&mut text, &told, "");
    }
    if document.ready && !before.ready {
        text += &title(document, &head(document, document.published_at));
    }
    text
}

fn title(document: &Document, head: &str) -> String {
    format!("{} · {head} · {}\n", document.node, document.server)
}

/// Whether nothing of `phase` is worth a line after `known`: the same, or the same steps without those that are done.
fn is_told(known: &PhaseStatus, phase: &PhaseStatus) -> bool {
    let is_told = if phase.steps.is_empty() {
        known.reason == phase.reason && known.message == phase.message
    } else {
        phase.steps.iter().all(|step| known.steps.contains(step))
    };
    known.state == phase.state && is_told
}

/// The first two steps of several, and how many more there are.
///
/// `None` where there is none: an older daemon lists none.
fn shortened(steps: &[String]) -> Option<String> {
    match steps {
        [] => None,
        [first, second, more @ ..] if more.len() > 1 => {
            Some(format!("{first}, {second} and {} more", more.len()))
        }
        _ => Some(steps.join(", ")),
    }
}

/// What a document that has not changed for a while waits for, and what helps. Empty where it waits for nothing.
pub fn render_waits(document: &Document, now: Timestamp) -> String {
    let mut text = String::new();
    let waits = |phase: &&PhaseStatus| matches!(phase.state, State::Waiting | State::Blocked);
    for phase in document.phases.iter().filter(waits) {
        let since = format!("  (for {})", duration(seconds(phase.since, now)));
        let _ = write!(text, "{:>9}", "");
        line(&mut text, phase, &since);
    }
    text
}

fn headed(document: &Document, head: &str, now: Timestamp) -> String {
    let mut text = title(document, head);
    for phase in &document.phases {
        let since = match phase.state {
            State::Waiting | State::Blocked if phase.since < now => {
                format!("  (for {})", duration(seconds(phase.since, now)))
            }
            _ => String::new(),
        };
        line(&mut text, phase, &since);
    }
    text
}

fn line(text: &mut String, phase: &PhaseStatus, since: &str) {
    let sign = match phase.state {
        State::Satisfied => '✓',
        State::Acting => '▶',
        State::Waiting => '◐',
        State::Blocked => '✗',
        State::Held => '·',
    };
    let reason = phase.reason.map(|r| format!("{r}: ")).unwrap_or_default();
    let message = phase.message.replace('\n', "\n                     ");
    let _ = writeln!(text, "  {sign} {:<14} {reason}{message}{since}", phase.phase.as_str());
    if let Some(hint) = &phase.hint {
        let _ = writeln!(text, "                   → {hint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Phase;
    use crate::reason::Reason;

    fn document(ready: bool, phases: &[(Phase, State, Option<Reason>, &str)]) -> Document {
        let start = Timestamp::from_second(1_000).unwrap();
        let later = Timestamp::from_second(1_004).unwrap();
        let phases = phases.iter().map(|&(phase, state, reason, message)| PhaseStatus {
            phase,
            state,
            reason,
            message: message.to_owned(),
            steps: Vec::new(),
            hint: None,
            since: start,
        });
        Document {
            schema: super::super::SCHEMA.to_owned(),
            node: "worker-1".to_owned(),
            server: "https://10.0.0.10:6443".to_owned(),
            started_at: start,
            published_at: later,
            ready_at: ready.then_some(later),
            ready,
            phases: phases.collect(),
            timeline: Vec::new(),
        }
    }

    #[test]
    fn only_phases_that_stand_otherwise_are_told_again() {
        let waits = (Phase::Identity, State::Waiting, Some(Reason::CsrPending), "it waits");
        let held = (Phase::Ready, State::Held, None, "waits for kubelet");
        let before = document(false, &[waits, held]);
        assert_eq!(render_changes(&before, &before), "");
        assert!(render(&before, before.published_at).contains("CsrPending: it waits  (for 4.0 s)"));
        let after = document(
            true,
            &[
                (Phase::Identity, State::Satisfied, None, "certificate"),
                (Phase::Ready, State::Satisfied, None, "Ready"),
            ],
        );
        assert_eq!(
            render_changes(&before, &after),
            "    4.0 s  ✓ identity       certificate\n    4.0 s  ✓ ready          Ready\n\
             worker-1 · Ready, 4.0 s after the start · https://10.0.0.10:6443\n"
        );
        // Back again, the held phase is not worth a line.
        assert_eq!(render_changes(&after, &before), "    4.0 s  ◐ identity       CsrPending: it waits\n");
        assert_eq!(
            render_waits(&before, before.published_at),
            "           ◐ identity       CsrPending: it waits  (for 4.0 s)\n"
        );
        assert_eq!(render_waits(&after, after.published_at), "");
    }

    #[test]
    fn steps_are_told_once_and_not_at_length() {
        let host = |steps: &[&str]| {
            let mut document = document(false, &[(Phase::Host, State::Acting, None, "")]);
            document.phases[0].steps = steps.iter().map(|&step| step.to_owned()).collect();
            document
        };
        let before = document(false, &[(Phase::Host, State::Held, None, "")]);
        let all = host(&["make a", "make b", "write c, d", "start e"]);
        assert_eq!(render_changes(&before, &all), "    4.0 s  ▶ host           make a, make b and 2 more\n");
        assert_eq!(render_changes(&all, &host(&["write c, d", "start e"])), "");
        assert_eq!(render_changes(&all, &host(&["write f"])), "    4.0 s  ▶ host           write f\n");
        let older = document(false, &[(Phase::Host, State::Acting, None, "write g")]);
        assert_eq!(render_changes(&all, &older), "    4.0 s  ▶ host           write g\n");
    }

    #[test]
    fn a_look_without_the_daemon_claims_no_time() {
        let document =
            document(false, &[(Phase::Identity, State::Waiting, Some(Reason::CsrPending), "it waits")]);
        let mut look = document;
        look.published_at = look.started_at;
        assert!(render_look(&look, true).starts_with("worker-1 · not Ready; kn-agent starts · "));
        let text = render_look(&look, false);
        assert!(text.starts_with("worker-1 · not Ready; kn-agent is not running · https://"), "{text}");
        assert!(!text.contains("for 0.0 s"), "{text}");
    }
}
