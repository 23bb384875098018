//! systemd over D-Bus: units are read, enabled, started; a job's end is its signal *and* the state read again.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant};

use super::{Failure, program};
use crate::reason::Reason;

/// PID 1 may be busy with a reload for seconds; half a minute without an answer is trouble.
const METHOD_TIMEOUT: Duration = Duration::from_secs(30);
/// `JobRemoved` can be lost when a job ends during a reload (systemd before 239): state is read again this often.
const RESYNC: Duration = Duration::from_secs(2);

#[zbus::proxy(
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    interface = "org.freedesktop.systemd1.Manager"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn enable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String);
}

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error`.
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// `running`, `auto-restart`, `dead` …
    pub sub: String,
    /// `enabled`, `disabled`, `static`, `masked` or empty.
    pub enabled: String,
    /// The file changed on disk since systemd read it.
    pub needs_reload: bool,
    /// When it last became active, microseconds since 1970; 0 for never.
    pub active_since_usec: u64,
    /// How often systemd restarted it by itself.
    pub restarts: u32,
    /// How its main process ended last: exit status or signal.
    pub exit_status: i32,
    /// The last log lines, read only where it failed.
    pub log: Vec<String>,
}

impl UnitState {
    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading")
    }

    /// Whether it has failed, or fails over and over.
    pub fn is_failing(&self) -> bool {
        self.active == "failed" || self.sub == "auto-restart"
    }
}

/// A connection to systemd.
#[derive(Debug, Clone)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
}

fn trouble(what: &str, error: &zbus::Error) -> Failure {
    Failure::new(Reason::SystemdTrouble, format!("cannot {what}: {error}"))
}

fn text(properties: &HashMap<String, OwnedVariant>, key: &str) -> String {
    properties.get(key).and_then(|v| String::try_from(v.clone()).ok()).unwrap_or_default()
}

impl Systemd {
    /// Connects to the bus at `address`, or to the system bus, and subscribes to systemd's signals.
    ///
    /// # Errors
    /// No bus, or no systemd on it.
    pub async fn connect(address: Option<&str>) -> Result<Self, Failure> {
        let builder = match address {
            Some(address) => zbus::connection::Builder::address(address),
            None => zbus::connection::Builder::system(),
        };
        let connect = async {
            let connection = builder.method_timeout(METHOD_TIMEOUT).build().await?;
            let manager = ManagerProxy::new(&connection).await?;
            Ok::<_, zbus::Error>(Self { connection, manager })
        };
        connect.await.map_err(|error| trouble("reach systemd on the system bus", &error))
    }

    /// What systemd says of `unit`.
    ///
    /// # Errors
    /// The bus or systemd does not answer.
    pub async fn unit(&self, unit: &str) -> Result<UnitState, Failure> {
        let read = async {
            let path = self.manager.load_unit(unit).await?;
            let properties = zbus::fdo::PropertiesProxy::builder(&self.connection)
                .destination("org.freedesktop.systemd1")
                .path(path)
                .build()
                .await?;
            let of_unit = properties
                .get_all(zbus::names::InterfaceName::try_from("org.freedesktop.systemd1.Unit")?)
                .await?;
            let interface = zbus::names::InterfaceName::try_from("org.freedesktop.systemd1.Service")?;
            let of_service = properties.get_all(interface).await.unwrap_or_default();
            Ok::<_, zbus::Error>((of_unit, of_service))
        };
        let (of_unit, of_service) =
            read.await.map_err(|error| trouble(&format!("read the state of `{unit}`"), &error))?;
        let mut state = UnitState {
            load: text(&of_unit, "LoadState"),
            active: text(&of_unit, "ActiveState"),
            sub: text(&of_unit, "SubState"),
            enabled: text(&of_unit, "UnitFileState"),
            needs_reload: of_unit
                .get("NeedDaemonReload")
                .and_then(|v| bool::try_from(v.clone()).ok())
                .unwrap_or(false),
            active_since_usec: of_unit
                .get("ActiveEnterTimestamp")
                .and_then(|v| u64::try_from(v.clone()).ok())
                .unwrap_or(0),
            restarts: of_service.get("NRestarts").and_then(|v| u32::try_from(v.clone()).ok()).unwrap_or(0),
            exit_status: of_service
                .get("ExecMainStatus")
                .and_then(|v| i32::try_from(v.clone()).ok())
                .unwrap_or(0),
            log: Vec::new(),
        };
        if state.is_failing() {
            state.log = program::last_lines(unit, 5).await;
        }
        Ok(state)
    }

    /// Makes systemd read its unit files again.
    ///
    /// # Errors
    /// The bus or systemd does not answer. A reload may cut the connection without an answer: the caller looks again.
    pub async fn reload(&self) -> Result<(), Failure> {
        self.manager.reload().await.map_err(|error| trouble("make systemd reload its units", &error))
    }

    /// Enables units, so that they start at boot.
    ///
    /// # Errors
    /// A unit is masked or has no file.
    pub async fn enable(&self, units: &[&str]) -> Result<(), Failure> {
        let done = self.manager.enable_unit_files(units, false, false).await;
        done.map(|_| ()).map_err(|error| trouble(&format!("enable `{}`", units.join(", ")), &error))
    }

    /// Starts a unit, or starts it anew, and waits for the job's end.
    ///
    /// # Errors
    /// The job's result was not `done`, or the unit is not active after it; with the unit's last log lines.
    pub async fn start(&self, unit: &str, restart: bool) -> Result<(), Failure> {
        let run = async {
            let mut removed = self.manager.receive_job_removed().await?;
            // A unit that used up its start limit would refuse for a minute after its cause is mended; our own backoff
            // is the limit. It fails where nothing had failed.
            let _ = self.manager.reset_failed_unit(unit).await;
            let job = if restart {
                self.manager.restart_unit(unit, "replace").await?
            } else {
                self.manager.start_unit(unit, "replace").await?
            };
            loop {
                match tokio::time::timeout(RESYNC, removed.next()).await {
                    Ok(Some(signal)) => {
                        let args = signal.args()?;
                        if args.job == job {
                            return Ok(args.result.clone());
                        }
                    }
                    Ok(None) => return Ok("lost".to_owned()),
                    Err(_) if !self.job_exists(&job).await => return Ok("lost".to_owned()),
                    Err(_) => {}
                }
            }
        };
        let result: Result<String, zbus::Error> = run.await;
        let result = result.map_err(|error| trouble(&format!("start `{unit}`"), &error))?;
        let state = self.unit(unit).await?;
        let oneshot_done = state.active == "inactive" && result == "done";
        if state.is_active() || oneshot_done {
            return Ok(());
        }
        let mut message = format!(
            "`{unit}` did not start: job result {result}, unit {} ({}), exit status {}",
            state.active, state.sub, state.exit_status
        );
        for line in program::last_lines(unit, 5).await {
            message.push_str("\n  ");
            message.push_str(&line);
        }
        Err(Failure::new(Reason::UnitFailed, message))
    }

    async fn job_exists(&self, job: &OwnedObjectPath) -> bool {
        let properties = zbus::fdo::PropertiesProxy::builder(&self.connection)
            .destination("org.freedesktop.systemd1")
            .path(job.clone())
            .build()
            .await;
        let Ok(properties) = properties else { return false };
        let Ok(interface) = zbus::names::InterfaceName::try_from("org.freedesktop.systemd1.Job") else {
            return false;
        };
        properties.get(interface, "Id").await.is_ok()
    }

    /// Sends `()` whenever one of `units` changes, until the bus goes away.
    ///
    /// # Errors
    /// The signals can't be subscribed to.
    pub async fn notify_changes(&self, units: &[String], wake: mpsc::Sender<()>) -> Result<(), Failure> {
        let subscribe = async {
            self.manager.subscribe().await?;
            let rule = MatchRule::builder()
                .msg_type(zbus::message::Type::Signal)
                .sender("org.freedesktop.systemd1")
                .interface("org.freedesktop.DBus.Properties")
                .path_namespace("/org/freedesktop/systemd1/unit")
                .build()?;
            MessageStream::for_match_rule(rule, &self.connection, None).await
        };
        let mut signals = subscribe
            .await
            .map_err(|error: zbus::Error| trouble("subscribe to systemd's signals", &error))?;
        let paths: Vec<String> = units.iter().map(|unit| object_path(unit)).collect();
        while let Some(Ok(signal)) = signals.next().await {
            let header = signal.header();
            let ours = header.path().is_some_and(|path| paths.iter().any(|p| p == path.as_str()));
            // A full channel means a wake-up is already on its way.
            if ours && matches!(wake.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                return Ok(());
            }
        }
        Err(Failure::new(Reason::SystemdTrouble, "the connection to the system bus was lost"))
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
    #[test]
    fn object_path_escapes_as_systemd_does() {
        assert_eq!(
            super::object_path("kube-proxy.service"),
            "/org/freedesktop/systemd1/unit/kube_2dproxy_2eservice"
        );
    }
}
