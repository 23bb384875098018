//! What the lab tells the person in front of it.

use std::{
    fmt::Display,
    io::Write as _,
    time::{Duration, Instant},
};

/// One line on standard output, at once.
pub fn say(line: impl Display) {
    // A reader that went away (`lab up | head`) is no reason to fail.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Numbered, timed steps.
#[derive(Debug)]
pub(crate) struct Steps {
    start: Instant,
    number: u32,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), number: 0 }
    }

    /// Announces the next step.
    pub(crate) fn step(&mut self, title: impl Display) {
        self.number += 1;
        say(format_args!("\n[{:>6.1} s] {}. {title}", self.start.elapsed().as_secs_f64(), self.number));
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Detail under a step.
pub(crate) fn detail(text: impl Display) {
    for line in text.to_string().lines() {
        say(format_args!("             {line}"));
    }
}
