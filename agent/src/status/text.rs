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

/// The timeline: what was done when, a bar for each, up to Ready.
pub fn timeline(document: &Document) -> String {
    const WIDTH: f64 = 40.0;
    let mut text = String::new();
    let ready_ms = document.ready_at.map(|at| seconds(document.started_at, at) * 1000.0);
    let last = document.timeline.iter().map(|d| d.to_ms).max().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a join are far below 2^52")]
    let total = ready_ms.unwrap_or(last as f64).max(1.0);
    for done in &document.timeline {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "columns of a terminal"
        )]
        let (from, to) = {
            let column = |ms: i64| (ms as f64 / total * WIDTH).clamp(0.0, WIDTH) as usize;
            (column(done.from_ms), column(done.to_ms))
        };
        let bar = format!("{}{}", " ".repeat(from), "█".repeat((to - from).max(1)));
        let _ = writeln!(
            text,
            "{:>7} ms {:>6} ms  {bar:<41} {:<13} {}",
            done.from_ms,
            done.to_ms - done.from_ms,
            done.phase.as_str(),
            done.what
        );
    }
    match ready_ms {
        Some(ms) => {
            let _ = writeln!(text, "{ms:>7.0} ms  Ready");
        }
        None => text.push_str("not Ready yet\n"),
    }
    text
}
