//! SIGINT and SIGTERM end a run the way an error does: every wait of the lab returns one, and drops clean up.

use std::{
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WATCH: Once = Once::new();

/// Starts listening for SIGINT and SIGTERM, once a process. A second signal ends the process at once; parent-death
/// signals then end its children.
pub fn watch_signals() {
    WATCH.call_once(|| {
        thread::spawn(|| {
            if let Err(error) = listen() {
                crate::say(format_args!("warning: interrupts will not clean up: {error:#}"));
            }
        });
    });
}

fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        for _ in 0..2 {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                #[expect(clippy::exit, reason = "the person asked twice")]
                std::process::exit(130);
            }
        }
        Ok(())
    })
}

/// Whether SIGINT or SIGTERM came.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// An error once the run has been interrupted.
pub(crate) fn check() -> Result<()> {
    ensure!(!interrupted(), "interrupted");
    Ok(())
}
