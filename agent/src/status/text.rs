//! The document for a person.

use std::fmt::Write;

use jiff::Timestamp;

use super::{Document, State};

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

/// The whole document.
pub fn render(document: &Document, now: Timestamp) -> String {
    let mut text = String::new();
    let took = document.ready_at.map(|at| duration(seconds(document.started_at, at)));
    let head = match (document.ready, took) {
        (true, Some(took)) => format!("Ready, {took} after the start"),
        (true, None) => "Ready".to_owned(),
        (false, _) => format!("joining for {}", duration(seconds(document.started_at, now))),
    };
    let _ = writeln!(text, "{} · {head} · {}", document.node, document.server);
    for phase in &document.phases {
        let sign = match phase.state {
            State::Satisfied => '✓',
            State::Acting => '▶',
            State::Waiting => '◐',
            State::Blocked => '✗',
            State::Held => '·',
        };
        let reason = phase.reason.map(|r| format!("{r}: ")).unwrap_or_default();
        let since = match phase.state {
            State::Waiting | State::Blocked => format!("  (for {})", duration(seconds(phase.since, now))),
            _ => String::new(),
        };
        let message = phase.message.replace('\n', "\n                     ");
        let _ = writeln!(text, "  {sign} {:<14} {reason}{message}{since}", phase.phase.as_str());
        if let Some(hint) = &phase.hint {
            let _ = writeln!(text, "                   → {hint}");
        }
    }
    text
}
