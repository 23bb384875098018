//! Certificates that live for minutes, renewed again and again on real parts: kubelet and kube-proxy are never without a
//! valid one, in their files, on the wire, or in the API server's eyes.

mod audit;
mod certificate;
mod controls;
mod journal;
mod judge;
mod place;
mod report;
mod stage;
mod watch;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

pub use place::Place;

use crate::{Artefacts, Minor, packages, say};
use judge::Outcome;
use stage::Stage;
use watch::Seen;

/// What one cluster is to show.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// What it shows.
    what: &'static str,
    /// How long a certificate is valid from the moment it is issued.
    life: Duration,
    /// Renewals that are waited for, of each of the kubelet's certificates and of kube-proxy's.
    kubelet: usize,
    proxy: usize,
    /// New certificates that kube-proxy is waited for to take up by itself. 0: it is started anew with each.
    rereads: usize,
    /// After which it has failed.
    limit: Duration,
}

impl Course {
    /// Two renewals of each certificate, too short for kube-proxy to read its file again in time.
    pub const SHORT: Self = Self {
        what: "a life of 2 minutes",
        life: Duration::from_mins(2),
        kubelet: 2,
        proxy: 2,
        rereads: 0,
        limit: Duration::from_mins(6),
    };

    /// The same many times.
    pub const MANY: Self = Self { kubelet: 30, proxy: 30, limit: Duration::from_mins(62), ..Self::SHORT };

    /// The shortest life that a request can ask for: kube-proxy takes each up by itself.
    pub const TEN_MINUTES: Self = Self {
        what: "a life of 10 minutes",
        life: Duration::from_mins(10),
        kubelet: 3,
        proxy: 10,
        rereads: 10,
        limit: Duration::from_mins(62),
    };

    /// How often kube-proxy is to go from one certificate to another.
    fn changes(&self) -> usize {
        if self.rereads == 0 { self.proxy } else { self.rereads }
    }

    fn renewals(&self, place: Place) -> usize {
        match place {
            Place::KubeletClient | Place::KubeletServing => self.kubelet,
            Place::ProxyClient => self.proxy,
        }
    }
}

/// Runs a course; fails unless everything is as it must be.
pub fn rotate(minor: Minor, name: &str, course: &Course) -> Result<()> {
    prove(minor, name, course)?.judged()
}

/// The courses of a long run, and their names.
pub const LONG: &[(&str, Course)] = &[("many", Course::MANY), ("ten-minutes", Course::TEN_MINUTES)];

/// Runs courses on each of `versions`, all at once since they mostly wait, and writes what was seen.
pub fn run(versions: &[Minor], courses: &[(&str, Course)], output: &Path) -> Result<()> {
    for minor in versions {
        Artefacts::ensure(*minor)?;
    }
    let start = Instant::now();
    let pairs = versions.iter().flat_map(|minor| courses.iter().map(move |course| (*minor, course)));
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let started: Vec<_> = pairs
            .map(|(minor, (name, course))| {
                scope.spawn(move || prove(minor, &format!("rotation-{name}-{minor}"), course))
            })
            .collect();
        let ended = started.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("it panicked"))?);
        ended.collect::<Result<_>>()
    })?;
    report::write(&outcomes, start.elapsed(), output)?;
    say(format_args!("written: {}", output.display()));
    outcomes.iter().try_for_each(Outcome::judged)
}

fn prove(minor: Minor, name: &str, course: &Course) -> Result<Outcome> {
    packages::ensure_programs(&[("openssl", "openssl")])?;
    let start = Instant::now();
    let stage = Stage::set(minor, name, course.life).with_context(|| format!("{name}: cannot begin"))?;
    let invocations = || judge::LASTING.iter().map(|unit| stage.invocation(unit)).collect::<Result<Vec<_>>>();
    let (before, ready) = (invocations()?, stage.ready_since()?);
    let seen = watch::watch(&stage, course).with_context(|| format!("{name}: {}", course.what))?;
    let late = controls::late_service(&stage)?;
    ensure!(stage.ready_since()? == ready, "{name}: the node was not Ready all the time");
    let outcome = judge::judge(&judge::Evidence {
        stage: &stage,
        course,
        seen,
        kubelet: journal::of_unit(&stage.node, "kubelet")?,
        proxy: journal::of_unit(&stage.node, "kube-proxy")?,
        invocations: before.into_iter().zip(invocations()?).collect(),
        late,
        seconds: start.elapsed().as_secs_f64(),
    })?;
    say(&outcome);
    Ok(outcome)
}
