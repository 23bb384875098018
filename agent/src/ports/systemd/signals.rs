//! What systemd tells of units that change.

use std::collections::{BTreeMap, HashMap};

use futures::StreamExt;
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant};

use super::{UNIT, UnitState};

/// Signals of changed units.
#[derive(Debug)]
pub struct Signals(MessageStream);

impl Signals {
    /// Has the bus send them.
    pub(super) async fn subscribe(connection: &Connection) -> zbus::Result<Self> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender("org.freedesktop.systemd1")
            .interface("org.freedesktop.DBus.Properties")
            .path_namespace("/org/freedesktop/systemd1/unit")
            // Each change is signalled for the unit as such, too (`bus_unit_send_change_signal`): the rest, of all
            // services and mounts of the machine, stays on the bus.
            .arg(0, UNIT)
            .build()?;
        MessageStream::for_match_rule(rule, connection, None).await.map(Self)
    }

    /// Calls `changed` with the name of each unit of `units` that changes, and to what; returns when the bus goes away.
    ///
    /// `changed` must not wait: a stream that is not read holds up every answer on the connection.
    pub async fn follow(mut self, units: &[&'static str], changed: impl Fn(&'static str, Change)) {
        let paths: BTreeMap<String, &'static str> =
            units.iter().map(|unit| (object_path(unit), *unit)).collect();
        while let Some(Ok(signal)) = self.0.next().await {
            if let Some(unit) = signal.header().path().and_then(|path| paths.get(path.as_str())) {
                changed(unit, Change::of(&signal).unwrap_or_default());
            }
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
    fn of(signal: &zbus::Message) -> Option<Self> {
        type Body = (String, HashMap<String, OwnedVariant>, Vec<String>);
        let (_, mut values, _): Body = signal.body().deserialize().ok()?;
        let mut text = |name| values.remove(name).and_then(|value| String::try_from(value).ok());
        let (active, sub) = (text("ActiveState"), text("SubState"));
        let active_since_usec =
            values.remove("ActiveEnterTimestamp").and_then(|value| u64::try_from(value).ok());
        Some(Self { active, sub, active_since_usec })
    }

    /// Takes it over into what is known of the unit; `false` where systemd must be asked: of what is neither up nor down
    /// more is to be known, and a signal older than the last answer says nothing.
    pub fn apply(&self, state: &mut UnitState) -> bool {
        let Self { active: Some(active), sub: Some(sub), active_since_usec: Some(since) } = self else {
            return false;
        };
        let is_active = active == "active";
        let is_news = !is_active || *since >= state.active_since_usec;
        if state.load != "loaded" || !(is_active || active == "inactive") || !is_news {
            return false;
        }
        *state = UnitState {
            load: std::mem::take(&mut state.load),
            active: active.clone(),
            sub: sub.clone(),
            enabled: std::mem::take(&mut state.enabled),
            needs_reload: state.needs_reload,
            active_since_usec: if is_active { *since } else { 0 },
            ..UnitState::default()
        };
        true
    }
}

/// The object path of a unit: every byte but letters and digits as `_xx` (sd-bus, `bus_label_escape`).
fn object_path(unit: &str) -> String {
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
        let text = |text: &str| Some(text.to_owned());
        Change { active: text(active), sub: text("running"), active_since_usec: Some(since) }
    }

    #[test]
    fn a_signal_says_that_a_unit_is_up_or_down_and_else_that_it_is_to_be_asked() {
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
        // Sent before it started anew, read after that.
        assert!(!change("active", 6).apply(&mut state));
        assert!(change("inactive", 7).apply(&mut state) && state.active_since_usec == 0);
        for unclear in ["activating", "deactivating", "failed", "reloading"] {
            assert!(!change(unclear, 7).apply(&mut loaded.clone()), "{unclear}");
        }
        assert!(!Change::default().apply(&mut loaded.clone()));
        assert!(!change("active", 7).apply(&mut UnitState { load: "not-found".to_owned(), ..loaded }));
    }
}
