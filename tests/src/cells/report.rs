//! The record: a row a cell, each with the commit and the day it was last run.

use std::{collections::BTreeMap, fmt, fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    cell::Cell,
    machine::{Proof, Shown},
};
use crate::provenance;

const HEAD: &str = "# Every node, last run

`make test-matrix`; `make test-matrix ONLY=TEXT` runs the cells whose name holds it, and leaves the other rows. Each row: a
fresh machine of that Debian with that container runtime, kn-agent's package, a configuration and a token of its own. It is
Ready as the API server sees it; a pod on it answers through the address of its Service; kube-proxy's rules are those of the
mode and no others; no line of kubelet's and kube-proxy's logs speaks of an unknown flag, an unknown field or lenient
decoding, and the same search finds both when either program is given one (positive control, on each machine); `kn-agent
plan` has no step. A combination that cannot work is tried too: what counts there is that kn-agent says why.

| cell | result | kubelet | runtime | to Ready | log lines | took | commit, day |
|---|---|---|---|---|---|---|---|
";

/// A cell and what came of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) cell: Cell,
    pub(super) result: Result<Shown, String>,
    pub(super) took: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.cell.name())?;
        match &self.result {
            Ok(Shown::Ready(Proof { ready, kubelet, runtime, lines })) => write!(
                f,
                "Ready after {:.1} s, kubelet {kubelet}, {runtime}, {lines} log lines",
                ready.as_secs_f64()
            )?,
            Ok(Shown::Refused { why, said }) => write!(f, "cannot be: {why} ({said})")?,
            Err(why) => write!(f, "FAILED: {why}")?,
        }
        write!(f, "; {:.0} s", self.took.as_secs_f64())
    }
}

/// Rows by cell, as they stand in the file.
#[derive(Debug, Default)]
pub(super) struct Record(BTreeMap<String, String>);

impl Record {
    /// What the file has; nothing where there is none.
    pub(super) fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let name = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
        Self(text.lines().filter_map(|line| Some((name(line)?, line.to_owned()))).collect())
    }

    /// Whether a cell came out as it must.
    pub(super) fn has_shown(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|row| !row.contains("**failed**"))
    }

    pub(super) fn put(&mut self, row: &Row) -> Result<()> {
        let (name, took) = (row.cell.name(), format!("{:.0} s", row.took.as_secs_f64()));
        let cells = match &row.result {
            Ok(Shown::Ready(proof)) => [
                "Ready".to_owned(),
                proof.kubelet.clone(),
                proof.runtime.replace("://", " "),
                format!("{:.1} s", proof.ready.as_secs_f64()),
                proof.lines.to_string(),
            ],
            Ok(Shown::Refused { why, said }) => {
                bare(&format!("cannot be: {why}; it says `{}`", cell_text(said)))
            }
            Err(why) => bare(&format!("**failed**: {}", cell_text(why.lines().next().unwrap_or_default()))),
        };
        let line = format!("| `{name}` | {} | {took} | {} |", cells.join(" | "), when()?);
        self.0.insert(name, line);
        Ok(())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.text()).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// In the order of the cells; those that are no more are left out.
    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for row in Cell::all().iter().filter_map(|cell| self.0.get(&cell.name())) {
            let _ = writeln!(text, "{row}");
        }
        text
    }
}

fn bare(result: &str) -> [String; 5] {
    [result.to_owned(), "–".to_owned(), "–".to_owned(), "–".to_owned(), "–".to_owned()]
}

/// What stands in a cell of a table.
fn cell_text(text: &str) -> String {
    text.replace('|', "/").replace('`', "'")
}

fn when() -> Result<String> {
    Ok(format!("{}, {}", provenance::commit()?, provenance::day()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_not_run_stay_and_failed_ones_are_not_taken_for_shown() {
        let names: Vec<String> = Cell::all().into_iter().map(Cell::name).collect();
        let lines =
            [format!("| `{}` | Ready | x |", names[3]), format!("| `{}` | **failed**: x |", names[1])];
        let text = format!("{HEAD}{}\n| `gone` | Ready |\n{}\n", lines[0], lines[1]);
        let record = Record::of(&text);
        assert!(record.has_shown(&names[3]) && !record.has_shown(&names[1]) && !record.has_shown(&names[0]));
        assert_eq!(record.text(), format!("{HEAD}{}\n{}\n", lines[1], lines[0]));
    }
}
