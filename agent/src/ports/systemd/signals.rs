//! What systemd tells of units that change.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use zbus::{Connection, MatchRule, OwnedVariant};

use super::{UNIT, UnitState, stream};

/// Signals of changed units, kept until they are read.
#[derive(Debug)]
pub struct Signals {
    changes: UnboundedReceiver<(&'static str, Change)>,
    _task: JoinSet<()>,
}

impl Signals {
    /// Has the bus send them; those of other units than `units` are not looked into.
    pub(super) async fn subscribe(connection: &Connection, units: &[&'static str]) -> zbus::Result<Self> {
        let paths: BTreeMap<String, &'static str> =
            units.iter().map(|unit| (object_path(unit), *unit)).collect();
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender("org.freedesktop.systemd1")
            .interface("org.freedesktop.DBus.Properties")
            .path_namespace("/org/freedesktop/systemd1/unit")
            // Each change is signalled for the unit as such, too (`bus_unit_send_change_signal`): the rest, of all
            // services and mounts of the machine, stays on the bus.
            .arg(0, UNIT)
            .build()?;
        let (sender, changes) = unbounded_channel();
        let task = stream::drain(connection, rule, move |signal| {
            if let Some(unit) = signal.header().path().and_then(|path| paths.get(path.as_str()).copied()) {
                // Nobody may read them any more.
                let _ = sender.send((unit, Change::of(signal).unwrap_or_default()));
            }
        });
        Ok(Self { changes, _task: task.await? })
    }

    /// Calls `changed` with the name of each unit that changes, and to what; returns when the bus goes away.
    pub async fn follow(mut self, changed: impl Fn(&'static str, Change)) {
        while let Some((unit, change)) = self.changes.recv().await {
            changed(unit, change);
        }
    }
}

/// What a signal says that a unit is now. systemd sends all of it with each change, whatever has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    active: Option<String>,
    sub: Option<String>,
    active_since_usec: Option<u64>,
}

impl Change {
    #[cfg(test)]
    pub(crate) fn new(active: &str, sub: &str, since: u64) -> Self {
        let text = |text: &str| Some(text.to_owned());
        Self { active: text(active), sub: text(sub), active_since_usec: Some(since) }
    }

    fn of(signal: &zbus::Message) -> Option<Self> {
        type Body = (String, HashMap<String, OwnedVariant>, Vec<String>);
        let (_, mut values, _): Body = signal.body().deserialize().ok()?;
        let mut text = |name| values.remove(name).and_then(|value| String::try_from(value).ok());
        let (active, sub) = (text("ActiveState"), text("SubState"));
        let active_since_usec =
            values.remove("ActiveEnterTimestamp").and_then(|value| u64::try_from(value).ok());
        Some(Self { active, sub, active_since_usec })
    }

    /// Takes it over into what is known of the unit; `false` where systemd must be asked: of what is not up more is to be
    /// known (how it ended, whether it is there at all), and what was up before is no news.
    pub fn apply(&self, state: &mut UnitState) -> bool {
        let Self { active: Some(active), sub: Some(sub), active_since_usec: Some(since) } = self else {
            return false;
        };
        if state.load != "loaded" || active != "active" || *since < state.active_since_usec {
            return false;
        }
        *state = UnitState {
            load: std::mem::take(&mut state.load),
            active: active.clone(),
            sub: sub.clone(),
            enabled: std::mem::take(&mut state.enabled),
            needs_reload: state.needs_reload,
            active_since_usec: *since,
            ..UnitState::default()
        };
        true
    }
}

/// The object path of a unit: every byte but letters and digits as `_xx` (sd-bus, `bus_label_escape`).
pub(super) fn object_path(unit: &str) -> String {
    use std::fmt::Write;
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_path_escapes_as_systemd_does() {
        assert_eq!(
            object_path("kube-proxy.service"),
            "/org/freedesktop/systemd1/unit/kube_2dproxy_2eservice"
        );
    }

    fn change(active: &str, since: u64) -> Change {
        Change::new(active, "running", since)
    }

    #[test]
    fn a_signal_says_that_a_unit_is_up_and_else_that_systemd_is_to_be_asked() {
        let loaded = UnitState {
            load: "loaded".to_owned(),
            active: "activating".to_owned(),
            enabled: "enabled".to_owned(),
            restarts: 3,
            log: vec!["it failed".to_owned()],
            ..UnitState::default()
        };
        let mut state = loaded.clone();
        assert!(change("active", 7).apply(&mut state));
        assert!(state.is_active() && state.enabled == "enabled" && state.active_since_usec == 7);
        assert!(state.restarts == 0 && state.log.is_empty(), "of what is up nothing else is known");
        // Of the start before the one that is known.
        assert!(!change("active", 6).apply(&mut state));
        for unclear in ["activating", "deactivating", "failed", "inactive", "reloading"] {
            assert!(!change(unclear, 7).apply(&mut loaded.clone()), "{unclear}");
        }
        assert!(!Change::default().apply(&mut loaded.clone()));
        assert!(!change("active", 7).apply(&mut UnitState { load: "not-found".to_owned(), ..loaded }));
    }
}
