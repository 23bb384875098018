//! systemd over D-Bus: units are read, enabled, started; a job's end is its signal *and* the state read again.

mod jobs;
mod signals;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::Deserialize;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use super::{Failure, program};
use crate::reason::Reason;
use jobs::Jobs;
pub use signals::{Change, Signals};

/// PID 1 may be busy with a reload for seconds; half a minute without an answer is trouble.
const METHOD_TIMEOUT: Duration = Duration::from_secs(30);

/// What every unit has.
const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// What a service has beside that.
const SERVICE: &str = "org.freedesktop.systemd1.Service";

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
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn disable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
    ) -> zbus::Result<Vec<(String, String, String)>>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<ListedUnit>>;
    fn enable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
}

/// A condition: its name, whether one of several suffices, whether it is negated, its value, and how it came out, below
/// zero where it was not met (org.freedesktop.systemd1(5)).
type Condition = (String, bool, bool, String, i32);

/// A line of `ListUnitsByNames` (org.freedesktop.systemd1(5)).
#[derive(Debug, Deserialize, zbus::Type)]
struct ListedUnit {
    name: String,
    _description: String,
    load: String,
    active: String,
    sub: String,
    _followed: String,
    path: OwnedObjectPath,
    _job: u32,
    _job_kind: String,
    _job_path: OwnedObjectPath,
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
    /// `enabled`, `disabled`, `static`, `masked`; empty where it has no file, or was not asked for.
    pub enabled: String,
    /// The file changed on disk since systemd read it; `false` where that was not asked for.
    pub needs_reload: bool,
    /// When it became active, microseconds since 1970; 0 while it is not.
    pub active_since_usec: u64,
    /// How often systemd restarted it by itself; 0 while it is active or inactive.
    pub restarts: u32,
    /// How its main process ended last, exit status or signal; 0 while it is active or inactive.
    pub exit_status: i32,
    /// The last log lines, read only where it failed.
    pub log: Vec<String>,
}

impl UnitState {
    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading")
    }

    /// Whether it has failed, or fails over and over: also while systemd starts it once more.
    pub fn is_failing(&self) -> bool {
        self.active == "failed"
            || self.active == "activating" && (self.sub == "auto-restart" || self.restarts > 0)
    }
}

/// A connection to systemd.
#[derive(Debug, Clone)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
    jobs: Arc<Jobs>,
}

fn trouble(what: &str, error: &zbus::Error) -> Failure {
    Failure::new(Reason::SystemdTrouble, format!("cannot {what}: {error}"))
}

impl Systemd {
    /// Connects to the bus at `address`, or to the system bus.
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
            Ok::<_, zbus::Error>(Self { connection, manager, jobs: Arc::default() })
        };
        connect.await.map_err(|error| trouble("reach systemd on the system bus", &error))
    }

    /// What systemd says of `units`, each by the name it was asked for, and of the files of those for which `of_file` holds.
    ///
    /// One call for all states, and single properties for the rest: `GetAll` on a service is some 350 properties, a few
    /// of which PID 1 has to compute. Of a unit that nothing wants each question costs 5 ms: systemd forgets it as soon as
    /// it has answered, reads it again for the next, and tells everybody of a dozen targets that it belongs to.
    pub async fn units(
        &self,
        units: &[&'static str],
        of_file: impl Fn(&str) -> bool,
    ) -> BTreeMap<&'static str, Result<UnitState, Failure>> {
        if units.is_empty() {
            return BTreeMap::new();
        }
        match self.manager.list_units_by_names(units).await {
            Ok(listed) => {
                let states = units.iter().zip(listed).map(|(&unit, listed)| {
                    let of_file = of_file(unit);
                    async move {
                        let state = self.details(listed, of_file).await;
                        (unit, state.map_err(|error| trouble(&format!("read the state of `{unit}`"), &error)))
                    }
                });
                join_all(states).await.into_iter().collect()
            }
            Err(error) => {
                let failure = trouble("read the state of units", &error);
                units.iter().map(|&unit| (unit, Err(failure.clone()))).collect()
            }
        }
    }

    /// What systemd says of `unit` and its file.
    ///
    /// # Errors
    /// The bus or systemd does not answer.
    pub async fn unit(&self, unit: &'static str) -> Result<UnitState, Failure> {
        self.one(unit, true).await
    }

    async fn one(&self, unit: &'static str, of_file: bool) -> Result<UnitState, Failure> {
        let missing = || Failure::new(Reason::SystemdTrouble, format!("systemd does not speak of `{unit}`"));
        self.units(&[unit], |_| of_file).await.remove(unit).unwrap_or_else(|| Err(missing()))
    }

    async fn details(&self, listed: ListedUnit, of_file: bool) -> Result<UnitState, zbus::Error> {
        let ListedUnit { name, load, active, sub, path, .. } = listed;
        let state = UnitState { load, active, sub, ..UnitState::default() };
        if state.load == "not-found" {
            return Ok(state);
        }
        // All of them are on their way before the first is answered, and PID 1 is asked for no more than the state makes
        // worth knowing: a join begins with eight units.
        let of_active = async {
            if state.is_active() {
                self.property::<u64>(&path, UNIT, "ActiveEnterTimestamp").await
            } else {
                Ok(0)
            }
        };
        let of_troubled = async {
            if state.is_active() || state.active == "inactive" {
                return Ok((0, 0));
            }
            futures::try_join!(
                self.property::<u32>(&path, SERVICE, "NRestarts"),
                self.property::<i32>(&path, SERVICE, "ExecMainStatus"),
            )
        };
        let of_file = async {
            if !of_file {
                return Ok((String::new(), false));
            }
            futures::try_join!(
                self.property::<String>(&path, UNIT, "UnitFileState"),
                self.property::<bool>(&path, UNIT, "NeedDaemonReload"),
            )
        };
        let ((enabled, needs_reload), active_since_usec, (restarts, exit_status)) =
            futures::try_join!(of_file, of_active, of_troubled)?;
        let mut state =
            UnitState { enabled, needs_reload, active_since_usec, restarts, exit_status, ..state };
        if state.is_failing() {
            state.log = program::last_lines(&name, 5).await;
        }
        Ok(state)
    }

    async fn property<T>(&self, path: &OwnedObjectPath, interface: &str, name: &str) -> Result<T, zbus::Error>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: Into<zbus::Error>,
    {
        T::try_from(property(&self.connection, path, interface, name).await?).map_err(Into::into)
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
    pub async fn start(&self, unit: &'static str, restart: bool) -> Result<(), Failure> {
        let job = async {
            let begin = async {
                if restart {
                    self.manager.restart_unit(unit, "replace").await
                } else {
                    self.manager.start_unit(unit, "replace").await
                }
            };
            // A unit that used up its start limit would refuse for a minute after its cause is mended; our own backoff
            // is the limit. It fails where nothing had failed. Neither waits for the other's answer.
            futures::join!(self.manager.reset_failed_unit(unit), begin).1
        };
        let result = self
            .jobs
            .finished(&self.connection, job)
            .await
            .map_err(|error| trouble(&format!("start `{unit}`"), &error))?;
        let state = self.one(unit, false).await?;
        if state.is_active() {
            return Ok(());
        }
        if state.active == "inactive" && result == "done" {
            // A oneshot that is over, or one that systemd did not begin: both jobs are done.
            return match self.unmet_condition(unit).await {
                Some(condition) => {
                    Err(Failure::new(Reason::UnitSkipped, format!("`{unit}` was not started: {condition}")))
                }
                None => Ok(()),
            };
        }
        let message = format!(
            "`{unit}` did not start: job result {result}, unit {} ({}), exit status {}",
            state.active, state.sub, state.exit_status
        );
        Err(failed(unit, message).await)
    }

    /// Waits for the end of what is being done with a unit that is on its way up.
    ///
    /// # Errors
    /// The bus or systemd does not answer, or the unit is not up after it.
    pub async fn await_up(&self, unit: &'static str) -> Result<(), Failure> {
        let of_unit = signals::object_path(unit).try_into();
        let path: OwnedObjectPath = of_unit.map_err(|error| trouble("name a unit", &error))?;
        let job = async {
            let (_, job) =
                <(u32, OwnedObjectPath)>::try_from(property(&self.connection, &path, UNIT, "Job").await?)?;
            Ok(job)
        };
        let ended = self.jobs.finished(&self.connection, job).await;
        ended.map_err(|error| trouble(&format!("wait for `{unit}`"), &error))?;
        let state = self.one(unit, false).await?;
        if state.is_active() {
            return Ok(());
        }
        Err(failed(unit, format!("`{unit}` did not come up: it is {}", state.active)).await)
    }

    /// The condition for which systemd did not start a unit when it was last asked to; `None` where all were met, and of
    /// a unit that nothing wants: systemd forgets it, and what became of its conditions, as soon as its job has ended.
    async fn unmet_condition(&self, unit: &str) -> Option<String> {
        let path = signals::object_path(unit).try_into().ok()?;
        if self.property::<bool>(&path, UNIT, "ConditionResult").await.ok()? {
            return None;
        }
        let conditions = property(&self.connection, &path, UNIT, "Conditions").await.ok()?;
        let mut conditions = Vec::<Condition>::try_from(conditions).ok()?.into_iter();
        let (name, _, negated, value, _) = conditions.find(|condition| condition.4 < 0)?;
        Some(format!("{name}={}{value} is not met", if negated { "!" } else { "" }))
    }

    /// Stops a unit and waits for the job's end. One that systemd does not know is stopped.
    ///
    /// # Errors
    /// The bus or systemd does not answer, or the unit goes on.
    pub async fn stop(&self, unit: &'static str) -> Result<(), Failure> {
        if self.one(unit, false).await?.load == "not-found" {
            return Ok(());
        }
        let job = self.manager.stop_unit(unit, "replace");
        let result = self.jobs.finished(&self.connection, job).await;
        result.map_err(|error| trouble(&format!("stop `{unit}`"), &error))?;
        match self.one(unit, false).await? {
            state if state.is_active() => {
                Err(Failure::new(Reason::UnitFailed, format!("`{unit}` does not stop: {}", state.active)))
            }
            _ => Ok(()),
        }
    }

    /// Has a unit start at boot no more.
    ///
    /// # Errors
    /// The bus or systemd does not answer.
    pub async fn disable(&self, unit: &str) -> Result<(), Failure> {
        let done = self.manager.disable_unit_files(&[unit], false).await;
        done.map(|_| ()).map_err(|error| trouble(&format!("disable `{unit}`"), &error))
    }

    /// Subscribes to systemd's signals of `units`. What is read after this and changes has its signal.
    ///
    /// # Errors
    /// The bus or systemd refuses.
    pub async fn signals(&self, units: &[&'static str]) -> Result<Signals, Failure> {
        // None waits for another's answer: systemd and the bus take them in this order.
        let follow = async {
            let signals = Signals::subscribe(&self.connection, units);
            futures::try_join!(self.manager.subscribe(), signals, self.jobs.listen(&self.connection))
        };
        let followed: zbus::Result<((), Signals, ())> = follow.await;
        followed
            .map(|((), signals, ())| signals)
            .map_err(|error| trouble("subscribe to systemd's signals", &error))
    }
}

/// A unit's failure, with what it said last.
async fn failed(unit: &str, mut message: String) -> Failure {
    for line in program::last_lines(unit, 5).await {
        message.push_str("\n  ");
        message.push_str(&line);
    }
    Failure::new(Reason::UnitFailed, message)
}

/// A property of one of systemd's objects.
async fn property(
    connection: &Connection,
    path: &OwnedObjectPath,
    interface: &str,
    name: &str,
) -> zbus::Result<OwnedVariant> {
    let (systemd, properties) = ("org.freedesktop.systemd1", "org.freedesktop.DBus.Properties");
    let what = (interface, name);
    let answer = connection.call_method(Some(systemd), path, Some(properties), "Get", &what).await?;
    answer.body().deserialize()
}
