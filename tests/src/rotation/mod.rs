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

use crate::{Artefacts, Minor, packages, provenance, say};
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
    /// Two renewals of each certificate.
    pub fn short(minor: Minor) -> Self {
        Self { kubelet: 2, proxy: 2, limit: Duration::from_mins(12), ..Self::brief(minor) }
    }

    /// Many of them, as many as the time that [`Course::TEN_MINUTES`] takes has room for.
    pub fn many(minor: Minor) -> Self {
        let (kubelet, proxy) = if minor == Minor::V1_20 { (10, 5) } else { (30, 30) };
        Self { kubelet, proxy, ..Self::brief(minor) }
    }

    /// A life that is too short for kube-proxy to read its file again in time, and as short as the kubelet can bear. That
    /// of 1.20 asks for its client certificate over a connection that lasts until it was idle for 90 s (client-go,
    /// `IdleConnTimeout`), and is known there by the certificate it had when that was made: with a life of two minutes,
    /// renewals follow each other on one connection until that one has ended, and are answered 401 from then on.
    fn brief(minor: Minor) -> Self {
        let (what, life) = match minor {
            Minor::V1_20 => ("a life of 4½ minutes", Duration::from_secs(270)),
            Minor::V1_36 => ("a life of 2 minutes", Duration::from_mins(2)),
        };
        Self { what, life, kubelet: 0, proxy: 0, rereads: 0, limit: Duration::from_mins(62) }
    }

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

/// Runs the long courses on each of `versions`, or the short one, all at once since they mostly wait, and writes what was
/// seen.
pub fn run(versions: &[Minor], is_short: bool, output: &Path) -> Result<()> {
    for minor in versions {
        Artefacts::ensure(*minor)?;
    }
    let (start, commit) = (Instant::now(), provenance::commit()?);
    let courses = |minor: &Minor| {
        let minor = *minor;
        let long = [("brief", Course::many(minor)), ("ten-minutes", Course::TEN_MINUTES)];
        let courses = if is_short { vec![("short", Course::short(minor))] } else { long.to_vec() };
        courses.into_iter().map(move |(name, course)| (minor, format!("rotation-{name}-{minor}"), course))
    };
    let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
        let all: Vec<_> = versions.iter().flat_map(courses).collect();
        let begin = |(minor, name, course): (Minor, String, Course)| {
            scope.spawn(move || prove(minor, &name, &course))
        };
        let started: Vec<_> = all.into_iter().map(begin).collect();
        started.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("it panicked"))?).collect()
    });
    let (shown, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let shown: Vec<Outcome> = shown.into_iter().flatten().collect();
    report::write(&shown, &commit, start.elapsed(), output)?;
    say(format_args!("written: {}", output.display()));
    failed.into_iter().try_for_each(|failed| failed.map(drop))?;
    shown.iter().try_for_each(Outcome::judged)
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
