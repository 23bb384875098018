//! systemd is told: ready, what we are at, and that we live.

use sd_notify::NotifyState;

/// `READY=1`: configuration valid, bus connected, first pass published.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// `STATUS=`: one line.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// `WATCHDOG=1`.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often `WATCHDOG=1` is due: two fifths of what the unit allows, 24 s of the minute in ours, so that what gives no
/// signal, as an engine that hangs, is seen within half a minute. `None` outside such a unit.
pub fn watchdog_interval() -> Option<std::time::Duration> {
    sd_notify::watchdog_enabled().map(|allowed| allowed * 2 / 5)
}

fn send(state: &[NotifyState<'_>]) {
    // Without a notify socket this does nothing; one that fails will be seen by the watchdog.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
