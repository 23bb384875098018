//! kill -9 before, within and after each step of a join: the crash table.
//!
//! The steps are those of a join that went undisturbed, from the agent's own timeline: a step that is new has its rows
//! without being named here. The unit that runs is the one that ships; the tracer attaches from outside.

mod machine;
mod point;
mod report;
mod tracer;

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{Artefacts, cache, progress::Steps, say};
use machine::{Cut, Machine};
use point::Point;
use report::Row;

/// How often a point is tried that the agent passed by: its phases run at the same time, and not in the same order
/// each time.
const TRIES: u32 = 12;

/// What is spread over a join and quick to show: a file, keys, a request, an installation, a unit, the Node.
const SPREAD: [(&str, &str); 6] = [
    ("make key /var/lib/kn-agent/kubelet-client.key", "after"),
    ("submit CSR kn-kubelet-*", "within"),
    ("install /var/lib/kubelet/pki/kubelet-client-*.pem", "within"),
    ("write /etc/systemd/system/kubelet.service", "within"),
    ("start docker.service", "within"),
    ("create Node worker-1", "within"),
];

/// Which points to cut at.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Every step at every instant.
    All,
    /// Those whose step holds a text.
    Holding(String),
    /// Six, for a minute.
    Spread,
}

impl Selection {
    fn wants(&self, point: &Point) -> bool {
        let instant = point.instant.to_string();
        match self {
            Self::All => true,
            Self::Holding(text) => point.step.contains(text.as_str()),
            Self::Spread => SPREAD.contains(&(point.step.as_str(), instant.as_str())),
        }
    }
}

/// A point and the machine it needs.
#[derive(Debug, Clone)]
struct Case {
    point: Point,
    /// Whether docker runs before the agent does: then it is not started but restarted.
    docker_runs: bool,
}

/// Cuts joins at the points selected; fails where the agent did not recover from one. The table goes to the file
/// `evidence`.
pub fn crash(artefacts: &Artefacts, selection: &Selection, evidence: Option<&Path>) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("a cluster, a machine, a join that nobody disturbs");
    let mut turn = Turn::take()?;
    let machine = Machine::start(artefacts)?;
    let cases = cases(&machine, selection)?;
    steps.step(format_args!("{} points", cases.len()));
    let mut rows = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        turn = turn.give_way()?;
        let row =
            cut(&machine, case).with_context(|| format!("{} {}", case.point.instant, case.point.step))?;
        say(format_args!("{:>4}/{} {row}", index + 1, cases.len()));
        rows.push(row);
    }
    let seconds = turn.seconds();
    say(report::summary(&rows, seconds));
    if let Some(path) = evidence {
        report::write(path, artefacts, &rows, seconds)?;
    }
    let failed = rows.iter().filter(|row| row.result.is_err()).count();
    ensure!(failed == 0, "the agent did not recover as it should from {failed} of {} kills", rows.len());
    Ok(())
}

/// The points of the steps that joins show, each once.
fn cases(machine: &Machine, selection: &Selection) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    // With docker running before, only what differs is of interest.
    let docker_runs: &[bool] = if matches!(selection, Selection::Spread) { &[false] } else { &[false, true] };
    for &docker_runs in docker_runs {
        for key in machine.steps_of_a_join(docker_runs)? {
            for point in Point::of_step(&key, machine.name())? {
                let known =
                    |case: &Case| case.point.step == point.step && case.point.instant == point.instant;
                if selection.wants(&point) && !cases.iter().any(known) {
                    cases.push(Case { point, docker_runs });
                }
            }
        }
    }
    let enough = if matches!(selection, Selection::Spread) { SPREAD.len() } else { 1 };
    ensure!(cases.len() >= enough, "only {} points are left: {cases:?}", cases.len());
    Ok(cases)
}

fn cut(machine: &Machine, case: &Case) -> Result<Row> {
    let mut tries = 0;
    let result = loop {
        tries += 1;
        let result = match machine.cut(case)? {
            Cut::There { before } => machine.recover(before.as_deref()),
            Cut::Elsewhere(_) if tries < TRIES => {
                machine.restore()?;
                continue;
            }
            Cut::Elsewhere(why) => Err(anyhow!("not cut there in {TRIES} tries: {why}")),
        };
        break result.map_err(|error| format!("{error:#}"));
    };
    let restored = machine.restore()?;
    Ok(Row { step: case.point.step.clone(), instant: case.point.instant, tries, result, restored })
}

/// A turn at the machine, where heavy work takes turns: the time others have is not ours.
struct Turn {
    begun: Instant,
    before: Duration,
    lock: Option<File>,
}

impl Turn {
    /// What others can be asked to wait for.
    const LONGEST: Duration = Duration::from_mins(5);

    fn take() -> Result<Self> {
        let path = env::var_os("KN_AGENT_LAB_TURN").map(PathBuf::from);
        let lock = path.map(|path| cache::lock(&path)).transpose()?;
        Ok(Self { begun: Instant::now(), before: Duration::ZERO, lock })
    }

    /// Lets others have theirs when this one was long.
    fn give_way(self) -> Result<Self> {
        if self.lock.is_none() || self.begun.elapsed() < Self::LONGEST {
            return Ok(self);
        }
        let before = self.before + self.begun.elapsed();
        drop(self);
        Ok(Self { before, ..Self::take()? })
    }

    /// What all turns took.
    fn seconds(&self) -> f64 {
        (self.before + self.begun.elapsed()).as_secs_f64()
    }
}

/// What a recovery came to.
#[derive(Debug, Clone)]
struct Recovery {
    ready: Duration,
    /// Requests a signer, by its name.
    requests: BTreeMap<String, usize>,
}
