//! The evidence: every figure of a run, and what it was measured on.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{RATIO_LIMIT, Results, Series, stages};
use crate::provenance;

pub(super) fn write(results: &[Results], path: &Path) -> Result<()> {
    let mut text = provenance::head("Speed and size", "make bench")?;
    text.push_str(
        ", 2 processors. What T and F are, and how they are taken, is in\n`tests/src/bench/mod.rs`. Page cache warm, \
         everything the agent could remember removed before each T.\n\
         On 1.20 F has two modes: a kubelet that makes its CSINode after its early status update looks again after 10 s. T and G\n\
         find the CSINode made and take no such wait: T/G is the steady figure there.\n",
    );
    for result in results {
        text.push_str(&section(result));
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

fn section(result: &Results) -> String {
    let mut text = format!("\n## {}\n\n", result.version);
    let (to_floor, to_registered) = result.ratios();
    let _ = writeln!(
        text,
        "**Median T / median F = {to_floor:.3}** (at most {RATIO_LIMIT}), median T / median G = {to_registered:.3}\n"
    );
    text.push_str("| | median | least | most | every value, in order |\n|---|---|---|---|---|\n");
    row(&mut text, "T, agent, s", &result.agent, 3);
    row(&mut text, "F, floor, s", &result.floor, 3);
    row(&mut text, "G, floor with its Node, s", &result.registered_floor, 3);
    let ratios = result.agent.values().iter().zip(result.floor.values()).map(|(t, f)| t / f);
    let mut pairs = Series::default();
    ratios.for_each(|ratio| pairs.push(ratio));
    row(&mut text, "T/F of each pair", &pairs, 2);
    if !result.kubeadm.values().is_empty() {
        row(&mut text, "kubeadm join, s", &result.kubeadm, 3);
    }
    row(&mut text, "systemd's start of the daemon to READY=1, ms", &result.ready_notice, 1);
    row(&mut text, "`/bin/true` in a unit of its own, to its end, ms", &result.cost.plain, 1);
    row(&mut text, "`/bin/true` in the daemon's sandbox, to its end, ms", &result.cost.sandbox, 1);
    row(&mut text, "the daemon without its sandbox to READY=1, ms", &result.cost.bare, 1);
    row(&mut text, "`kn-agent status`, ms", &result.status, 1);
    row(&mut text, "requests of a join, to the daemon's own Ready", &result.requests, 0);
    let _ = write!(text, "\nThe program as installed: {} bytes.\n", result.size);
    let _ = write!(text, "\nIdle on a joined node: {}.\n", result.idle);
    let arms: Vec<_> = ["T", "F", "G"].into_iter().zip(&result.stages).collect();
    let _ = write!(text, "\nWhat starts one after the other, medians:\n\n{}", stages::table(&arms));
    let _ = write!(
        text,
        "\nWhere the time of a median T went (`kn-agent timeline`):\n\n```\n{}```\n",
        result.timeline
    );
    text
}

fn row(text: &mut String, what: &str, series: &Series, digits: usize) {
    let all: Vec<_> = series.values().iter().map(|value| format!("{value:.digits$}")).collect();
    let _ = writeln!(
        text,
        "| {what} | {:.digits$} | {:.digits$} | {:.digits$} | {} |",
        series.median(),
        series.quantile(0.0),
        series.quantile(1.0),
        all.join(" ")
    );
}
