//! What systemd last said of our units. Reading them all costs PID 1, the bus and us 20 ms, and a join has fifty passes:
//! a unit is read again when it has changed and its signal does not say all of it, and all of them twice a minute whatever
//! the signals said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use super::{Reconciler, Wake};
use crate::config::Config;
use crate::desired::{paths, units};
use crate::observe::Fact;
use crate::plan::Step;
use crate::ports::systemd::{Change, Signals, Systemd, UnitState};

/// How long what is known may be trusted although no signal came.
const TRUST: Duration = Duration::from_secs(30);

/// States by unit, and what has changed since they were read.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub(super) known: BTreeMap<&'static str, Fact<UnitState>>,
    news: Arc<Mutex<News>>,
    all_read_at: Option<Instant>,
}

/// What came since the last pass.
#[derive(Debug, Default)]
struct News {
    /// Units that are to be read again.
    stale: BTreeSet<&'static str>,
    /// What signals said, the last of each unit.
    said: BTreeMap<&'static str, Change>,
}

impl Units {
    /// The units to be read in this pass; what signals have said is known then.
    pub(super) fn stale(&mut self, config: &Config) -> Vec<&'static str> {
        let News { mut stale, said } =
            std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
        for (unit, change) in said {
            let known = self.known.get_mut(unit).and_then(|state| state.as_mut().ok());
            if !known.is_some_and(|state| change.apply(state)) {
                stale.insert(unit);
            }
        }
        if self.all_read_at.is_none_or(|at| at.elapsed() >= TRUST) {
            self.all_read_at = Some(Instant::now());
            stale.extend(units::ALL);
        }
        stale.into_iter().filter(|unit| units::matters(unit, config)).collect()
    }

    /// Remembers what was read; what could not be read is read again.
    pub(super) fn learn(&mut self, observed: &BTreeMap<&'static str, Fact<UnitState>>) {
        self.known.clone_from(observed);
        self.touch(observed.iter().filter(|(_, state)| state.is_err()).map(|(&unit, _)| unit));
    }

    /// What our own steps change gives no signal, or not in time for the next pass.
    pub(super) fn touched_by(&self, step: &Step) {
        match step {
            Step::AwaitUnit(unit) | Step::StartUnit(unit) | Step::RestartUnit { unit, .. } => {
                self.touch([*unit]);
            }
            Step::EnableUnits(_) | Step::ReloadSystemd => self.touch_all(),
            Step::WriteFile(file) if file.path.starts_with(paths::units()) => self.touch_all(),
            _ => {}
        }
    }

    /// Everything is to be read again.
    pub(super) fn touch_all(&self) {
        self.touch(units::ALL.iter().copied());
    }

    fn touch(&self, names: impl IntoIterator<Item = &'static str>) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).stale.extend(names);
    }
}

impl Reconciler {
    /// Connects to the bus and follows our units on it; everything is read anew after that.
    pub(super) async fn connect_systemd(&mut self) {
        let connected = Systemd::connect(self.bus.as_deref()).await;
        self.target.systemd = connected;
        if let Ok(systemd) = &self.target.systemd {
            match systemd.signals(units::ALL).await {
                Ok(signals) => self.follow_units(signals),
                Err(failure) => self.target.systemd = Err(failure),
            }
        }
        self.units.touch_all();
    }

    fn follow_units(&mut self, signals: Signals) {
        let (wake, news) = (self.wake.clone(), Arc::clone(&self.units.news));
        self.background.spawn(async move {
            let note = |unit, change| {
                news.lock().unwrap_or_else(PoisonError::into_inner).said.insert(unit, change);
                // A full channel means that the loop is woken anyway.
                let _ = wake.try_send(Wake::Units);
            };
            signals.follow(note).await;
            let _ = wake.send(Wake::BusLost).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostFacts, Sources, load};

    fn known(active: &str) -> Units {
        let state =
            UnitState { load: "loaded".to_owned(), active: active.to_owned(), ..UnitState::default() };
        let units = Units { known: BTreeMap::from([(units::KUBELET, Ok(state))]), ..Units::default() };
        Units { all_read_at: Some(Instant::now()), ..units }
    }

    fn said(units: &Units, active: &str) {
        let change = Change::new(active, "running", 7);
        units.news.lock().unwrap().said.insert(units::KUBELET, change);
    }

    fn stale(units: &mut Units) -> Vec<&'static str> {
        let ca = rcgen::generate_simple_self_signed([]).unwrap().cert.pem();
        let env = [("SERVER", "https://10.0.0.10:6443"), ("CA__DATA", &ca)];
        let env = env.map(|(name, value)| (format!("KN_AGENT_CLUSTER__{name}"), value.to_owned()));
        let root = tempfile::tempdir().unwrap();
        let sources = Sources { root: root.path().to_owned(), only: None, env: env.to_vec() };
        let host = HostFacts { hostname: "worker-1".to_owned(), ..HostFacts::default() };
        units.stale(&load(&sources, &host).unwrap().config)
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_signal_says_is_known_and_what_it_does_not_say_is_read() {
        let mut units = known("failed");
        said(&units, "active");
        assert!(stale(&mut units).is_empty());
        assert!(units.known[units::KUBELET].as_ref().unwrap().is_active());
        said(&units, "inactive");
        assert_eq!(stale(&mut units), [units::KUBELET]);
        // A step of ours makes it stale whatever a signal says.
        said(&units, "active");
        units.touch([units::KUBELET]);
        assert_eq!(stale(&mut units), [units::KUBELET]);
        tokio::time::advance(TRUST).await;
        assert!(stale(&mut units).len() > 1, "all are read twice a minute");
    }
}
