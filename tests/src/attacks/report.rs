//! The record of a run: what was tried, and what came of it on each version.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{Results, verdict::Line};
use crate::provenance;

const EXPLANATION: &str = "\
Every request is sent to a real API server by an identity made for real: tokens by `kn-agent token create`, nodes by client
certificates of the cluster's authority. The approver runs with the rights of its service account. What a row attacks
differs from what is approved in one thing; the rows that are approved are the controls. `untouched`: nothing was written
to the request. `API server`: it refused the request itself, with this HTTP status. A cell that is not as it must be is
bold and says what was expected. How each is done is in `tests/src/attacks`.
";

/// Writes it.
pub(super) fn write(results: &[Results], path: &Path) -> Result<()> {
    let mut text = provenance::head("Attacks on the approver", "make attacks")?;
    writeln!(text, ", 2 processors.\n")?;
    for result in results {
        let wrong = result.lines.iter().filter(|line| !line.ok).count();
        let (total, seconds) = (result.lines.len(), result.seconds);
        writeln!(text, "- {}: {} of {total} as they must be, {seconds:.0} s", result.version, total - wrong)?;
    }
    write!(text, "\n{EXPLANATION}")?;
    let Some(first) = results.first() else { return Ok(()) };
    let mut class = "";
    for (index, line) in first.lines.iter().enumerate() {
        if line.class != class {
            class = line.class;
            heading(&mut text, class, results)?;
        }
        let cells: Vec<String> =
            results.iter().map(|result| result.lines.get(index).map_or_else(String::new, cell)).collect();
        writeln!(text, "| {} | {} | {} |", escaped(&line.what), line.by, cells.join(" | "))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

fn heading(text: &mut String, class: &str, results: &[Results]) -> Result<()> {
    let versions: Vec<&str> =
        results.iter().map(|result| result.version.trim_start_matches("Kubernetes ")).collect();
    writeln!(text, "\n## {class}\n\n| what | by | {} |", versions.join(" | "))?;
    writeln!(text, "|---|---|{}", "---|".repeat(results.len()))?;
    Ok(())
}

fn cell(line: &Line) -> String {
    let observed = escaped(&line.observed);
    if line.ok { observed } else { format!("**{observed}**, expected {}", escaped(&line.expected)) }
}

/// Fit for a table's cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}
