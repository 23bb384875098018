//! Every node that is supported, made Ready on real parts: container runtimes × releases of Debian × kube-proxy's modes.

mod cell;
mod machine;
mod report;

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};

use crate::{interrupt, say};
use cell::Cell;
use report::{Record, Row};

/// Which cells.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only those whose name holds this.
    pub only: String,
    /// Only those of which the record has no success.
    pub missing: bool,
}

/// Runs the cells that are selected, one after the other, and writes each to the record when it has ended; rows of others
/// stay. Fails where one did not come out as it must.
pub fn run(selection: &Selection, evidence: &Path) -> Result<()> {
    let mut record = Record::read(evidence)?;
    let is_wanted = |cell: &Cell| {
        cell.name().contains(&selection.only) && !(selection.missing && record.has_shown(&cell.name()))
    };
    let cells: Vec<Cell> = Cell::all().into_iter().filter(is_wanted).collect();
    ensure!(!cells.is_empty(), "there is no such cell; there are:\n{}", Cell::names());
    let mut failed = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        interrupt::check()?;
        say(format_args!("\n{}/{} {}", index + 1, cells.len(), cell.name()));
        let begun = Instant::now();
        let result = machine::show(*cell);
        interrupt::check()?;
        let row =
            Row { cell: *cell, result: result.map_err(|error| format!("{error:#}")), took: begun.elapsed() };
        say(&row);
        if row.result.is_err() {
            failed.push(cell.name());
        }
        record.put(&row)?;
        record.write(evidence)?;
    }
    ensure!(failed.is_empty(), "{} of {} cells failed: {}", failed.len(), cells.len(), failed.join(", "));
    Ok(())
}
