//! "Versions are data", held against Kubernetes: the data against its source, and both the data and what the agent writes
//! against the programs themselves.
//!
//! `make test-matrix` takes more versions and writes what it found to `docs/evidence`. After a change of
//! `tests/kubernetes/settings`: `UPDATE=1 cargo test -p kn-agent-tests --test versions data`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test, all about files and programs")]

mod program;
mod rendering;
mod report;
mod sample;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lab::Pair;

use program::Program;

/// Where the long form writes what it found; unset: the short form, which writes nothing.
fn evidence() -> Option<PathBuf> {
    env::var_os("KN_AGENT_LAB_MATRIX").map(PathBuf::from)
}

#[test]
fn data_are_what_kubernetes_source_says() -> Result<()> {
    let read = lab::settings()?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/src/desired/versions/settings.tsv");
    if env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&file, &read)?;
    }
    let kept = std::fs::read_to_string(&file)?;
    let differing = kept.lines().zip(read.lines()).find(|(kept, read)| kept != read);
    ensure!(kept == read, "`{}` differs from Kubernetes' source, first in {differing:?}", file.display());
    Ok(())
}

#[test]
fn programs_know_what_is_written_and_what_the_data_say_they_know() -> Result<()> {
    let evidence = evidence();
    let pairs = if evidence.is_some() { lab::all_pairs()? } else { lab::pairs()? };
    let mut rows = Vec::new();
    for pair in &pairs {
        rows.push(examine(pair).with_context(|| format!("Kubernetes {}", pair.version))?);
    }
    ensure!(rows.len() > 1, "there is no version to ask");
    if let Some(path) = evidence {
        std::fs::write(path, report::text(&rows)?)?;
    }
    Ok(())
}

/// What was asked of one version, and answered as it should be.
struct Row {
    version: String,
    /// Flags that are rendered; none is refused.
    rendered_flags: usize,
    /// Lines of the files that are rendered; no field in them is unknown.
    rendered_lines: usize,
    /// Fields that the data say are known; none is unknown to the program.
    known: usize,
    /// Fields that the data say are not known; each is unknown to the program.
    unknown: usize,
    /// Flags that `--help` lists; the data know each.
    listed: usize,
    /// Kinds that were spoilt; the program refused each.
    mistyped: usize,
}

fn examine(pair: &Pair) -> Result<Row> {
    let mut row = Row {
        version: pair.version.clone(),
        rendered_flags: 0,
        rendered_lines: 0,
        known: 0,
        unknown: 0,
        listed: 0,
        mistyped: 0,
    };
    for program in Program::both(pair) {
        let rendered = rendering::of(&program)?;
        program.takes(&rendered)?;
        row.rendered_flags += rendered.flags.len();
        row.rendered_lines += rendered.file.lines().filter(|line| !line.starts_with('#')).count();
        program.refuses_a_misspelt_field(&rendered)?;
        program.refuses_a_misspelt_flag(&rendered)?;
        row.known += program.knows_the_fields_that_the_data_know()?;
        row.unknown += program.knows_no_other_field()?;
        row.mistyped += program.refuses_other_kinds()?;
        row.listed += program.lists_no_flag_that_the_data_do_not_know()?;
    }
    Ok(row)
}
