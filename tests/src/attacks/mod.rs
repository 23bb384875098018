//! Attacks on the approver, each sent to a real API server by an identity made for real, with what must come of it.
//!
//! The rows of `rows` are single requests; the other modules try what takes more than one: tokens used twice, nodes
//! that are alive, requests replaced while they are judged, an API server that fails, a flood. The approver runs with
//! the rights of its service account. At the end every request the cluster ever saw is looked at once more: none that
//! must not be approved was, whatever the row it came from thought of it.
//!
//! The binding that has the controller-manager approve renewals is taken away first: whatever is approved here, the
//! approver approved.

mod audit;
mod faults;
mod flood;
mod nodes;
mod proxy;
mod races;
mod report;
mod rows;
mod stage;
mod table;
mod takeover;
mod tokens;
mod verdict;

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{Artefacts, ControlPlane, Minor, progress::Steps, say};
use stage::Stage;
use verdict::Line;

/// How much is tried of what is tried more than once.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Tokens that two keys race for.
    pub races: usize,
    /// Requests that must not delay others.
    pub flood: usize,
    /// What a good request may take beside them.
    pub patience: Duration,
    /// How long the API server fails; `None`: it does not.
    pub outage: Option<Duration>,
}

impl Extent {
    /// As much as fits among other tests, which have the processors, too.
    pub const SHORT: Self = Self { races: 20, flood: 300, patience: Duration::from_secs(5), outage: None };
    /// What the evidence is made of.
    pub const FULL: Self = Self {
        races: 100,
        flood: 1_000,
        patience: Duration::from_secs(2),
        outage: Some(Duration::from_mins(1)),
    };
}

/// What one version showed.
#[derive(Debug)]
struct Results {
    version: String,
    lines: Vec<Line>,
    seconds: f64,
}

/// Tries everything on one version; an error names each line that is not as it must be.
pub fn attack(minor: Minor, name: &str, extent: Extent) -> Result<()> {
    let results = measure(minor, name, extent)?;
    judge(&results)
}

/// Tries everything on each of `versions` and writes what came of it.
pub fn run(versions: &[Minor], extent: Extent, output: &Path) -> Result<()> {
    let results: Vec<Results> = versions
        .iter()
        .map(|minor| measure(*minor, &format!("attacks-{minor}"), extent))
        .collect::<Result<_>>()?;
    report::write(&results, output)?;
    say(format_args!("written: {}", output.display()));
    results.iter().try_for_each(judge)
}

fn measure(minor: Minor, name: &str, extent: Extent) -> Result<Results> {
    let artefacts = Artefacts::ensure(minor)?;
    let mut steps = Steps::new();
    let version = artefacts.kubernetes().version()?;
    steps.step(format_args!("a control plane, {version}"));
    let control_plane = ControlPlane::start(name, &artefacts)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lines = runtime.block_on(scenes(&control_plane, extent, &mut steps))?;
    say("");
    lines.iter().for_each(say);
    let seconds = steps.elapsed().as_secs_f64();
    let wrong = lines.iter().filter(|line| !line.ok).count();
    say(format_args!("\n{version}: {} of {} as expected, {seconds:.0} s", lines.len() - wrong, lines.len()));
    Ok(Results { version, lines, seconds })
}

async fn scenes(control_plane: &ControlPlane, extent: Extent, steps: &mut Steps) -> Result<Vec<Line>> {
    let mut stage = Stage::set(control_plane).await.context("cannot set the stage")?;
    let mut lines = Vec::new();
    steps.step("single requests");
    lines.extend(table::run(&stage).await.context("single requests")?);
    lines.extend(tokens::run(&stage).await.context("what a token is")?);
    steps.step("nodes that are alive");
    lines.extend(takeover::run(&stage).await.context("nodes that are alive")?);
    steps.step(format_args!("tokens used twice, {} times at once", extent.races));
    lines.extend(races::run(&stage, extent.races).await.context("tokens used twice")?);
    let second = stage.approver.another("approver-2")?;
    lines.extend(races::two_approvers(&stage, extent.races).await.context("two approvers")?);
    drop(second);
    steps.step(format_args!("{} requests in the way", extent.flood));
    lines.extend(flood::run(&mut stage, extent).await.context("requests in the way")?);
    if let Some(outage) = extent.outage {
        steps.step(format_args!("an API server that fails for {} s", outage.as_secs()));
        lines.extend(faults::run(&mut stage, outage).await.context("an API server that fails")?);
    }
    steps.step("every request there ever was");
    lines.extend(table::sweep(&stage));
    lines.extend(audit::run(&stage)?);
    Ok(lines)
}

fn judge(results: &Results) -> Result<()> {
    let wrong: Vec<String> = results.lines.iter().filter(|line| !line.ok).map(ToString::to_string).collect();
    ensure!(wrong.is_empty(), "{}: not as it must be:\n{}", results.version, wrong.join("\n"));
    Ok(())
}
