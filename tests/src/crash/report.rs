//! The table, for a terminal and for the record.

use std::{fmt, fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::{Recovery, point::Instant};
use crate::{Artefacts, provenance};

/// A point and what came of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) step: String,
    pub(super) instant: Instant,
    pub(super) tries: u32,
    pub(super) result: Result<Recovery, String>,
    /// How long it took to make the machine fresh again.
    pub(super) restored: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<70} {:<6}  ", self.step, self.instant.to_string())?;
        match &self.result {
            Ok(recovery) => write!(f, "Ready after {:.1} s, {recovery}", recovery.ready.as_secs_f64())?,
            Err(why) => write!(f, "FAILED: {why}")?,
        }
        if self.tries > 1 { write!(f, " ({} tries)", self.tries) } else { Ok(()) }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self
            .requests
            .iter()
            .map(|(signer, count)| format!("{count} × {}", signer.trim_start_matches("kubernetes.io/")))
            .collect();
        write!(f, "CSRs {}", counts.join(", "))
    }
}

/// Kills, recoveries and their times.
pub(super) fn summary(rows: &[Row], seconds: f64) -> String {
    let recovered: Vec<&Recovery> = rows.iter().filter_map(|row| row.result.as_ref().ok()).collect();
    let times = sorted(recovered.iter().map(|recovery| recovery.ready));
    let restored = sorted(rows.iter().map(|row| row.restored));
    let most = recovered.iter().flat_map(|recovery| recovery.requests.values()).max();
    format!(
        "{} of {} kills recovered from; kill to Ready: median {:.1} s, longest {:.1} s; at most {} CSRs a signer; \
         {seconds:.0} s in all, of which a machine made fresh again takes {:.1} s (median)",
        recovered.len(),
        rows.len(),
        median(&times),
        times.last().copied().unwrap_or_default(),
        most.copied().unwrap_or_default(),
        median(&restored),
    )
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut seconds: Vec<f64> = times.map(|time| time.as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Writes the record.
pub(super) fn write(path: &Path, artefacts: &Artefacts, rows: &[Row], seconds: f64) -> Result<()> {
    let mut text = provenance::head("kill -9 at every step of a join", "make crash")?;
    writeln!(text, ", {}.", artefacts.kubernetes().version()?.trim())?;
    writeln!(text, "{}.\n", summary(rows, seconds))?;
    text.push_str(EXPLANATION);
    let mut steps: Vec<&str> = rows.iter().map(|row| row.step.as_str()).collect();
    steps.dedup();
    for step in steps {
        let at = |instant| rows.iter().find(|row| row.step == step && row.instant == instant);
        let cells = Instant::ALL.map(|instant| at(instant).map_or_else(|| "–".to_owned(), cell));
        writeln!(text, "| `{step}` | {} |", cells.join(" | "))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

const EXPLANATION: &str = "\
Each cell is one join of a fresh machine whose agent was killed there, and what followed without anybody's help: seconds
from the kill to Ready (1 s of it is systemd's pause before the restart), and the most requests any signer saw. Each cell
also means: Ready seen from outside, no temporary file, no key without use, every key 0600, one restart, and a plan that
has no step.

*Before*: at the entry of the step's first system call. *Within*: a file written and not yet in its place, a directory
entry made and not synced, a message sent and its answer not read. *After*: at the end of its last call, or where the agent
logs that it is done. The kernel stops the agent at that call, and there it is killed; the unit is the one that ships.

| step | before | within | after |
|---|---|---|---|
";

fn cell(row: &Row) -> String {
    match &row.result {
        Ok(recovery) => {
            let most = recovery.requests.values().max().copied().unwrap_or_default();
            format!("{:.1} s, {most}", recovery.ready.as_secs_f64())
        }
        Err(why) => format!("**failed**: {}", why.lines().next().unwrap_or_default().replace('|', "/")),
    }
}
