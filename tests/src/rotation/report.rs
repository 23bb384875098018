//! The record of a run.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::judge::{Outcome, Row};
use crate::provenance;

const EXPLANATION: &str = "\
A node that joined as users' nodes do (package, bound token, approver) in a cluster whose signers issue for minutes. Its
files are looked at with each change and ten times a second, the kubelet's port twice a second by a client that verifies
and is let in; *looks* are those of the file. *Replaced*: what was left of a certificate's life when another was in its
place. *Let go*: when its user closed its connections to use another, or for the kubelet's port when another was shown. In
each run also: no request of the node's was answered 401 (an ended certificate of the same authority was, and was found by
the same search), every renewal was approved by the approver, the kubelet and the agent kept their process, the Node was
Ready without a break, and after all of it kube-proxy wrote the rule of a new Service. How: `tests/src/rotation`.
";

/// Writes it.
pub(super) fn write(outcomes: &[Outcome], commit: &str, took: Duration, path: &Path) -> Result<()> {
    let mut text = String::from("# Rotation of certificates that live for minutes, last run\n\n");
    let minutes = took.as_secs().div_ceil(60);
    writeln!(
        text,
        "`make test-long`, commit {commit}, {}, {minutes} minutes, all clusters at once.\n",
        provenance::day()?
    )?;
    text.push_str(EXPLANATION);
    for outcome in outcomes {
        cluster(&mut text, outcome)?;
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

fn cluster(text: &mut String, outcome: &Outcome) -> Result<()> {
    let Outcome { version, what, seconds, rows, problems, .. } = outcome;
    writeln!(text, "\n## {version}, {what}\n")?;
    if problems.is_empty() {
        writeln!(text, "As it must be, {seconds:.0} s.\n")?;
    }
    for problem in problems {
        writeln!(text, "- **{}**", problem.lines().next().unwrap_or_default())?;
    }
    let changes = outcome.proxy_changes;
    let proxy = match outcome.proxy_starts {
        1 => format!("took up another certificate by itself {changes} times, and was never started anew"),
        starts => format!("started anew {} times, with another certificate {changes} times", starts - 1),
    };
    writeln!(text, "- kube-proxy: {proxy}; a new Service after all of it: {:.1} s", outcome.late)?;
    writeln!(
        text,
        "- {} requests of the node's, {} answered 401; {} requests for certificates approved",
        outcome.requests, outcome.refused, outcome.approved
    )?;
    writeln!(
        text,
        "- {} handshakes with the kubelet, {} in vain; {} certificates shown",
        outcome.handshakes, outcome.in_vain, outcome.served
    )?;
    if outcome.named > 0 {
        writeln!(
            text,
            "- {} certificates named in the audit log, each valid at its last use",
            outcome.named
        )?;
    }
    text.push_str(
        "\n| certificate | renewals | looks | left when let go, least | left when replaced, s, in order |\n",
    );
    text.push_str("|---|---|---|---|---|\n");
    for Row { place, renewals, left, let_go, looks } in rows {
        let left: Vec<_> = left.iter().map(|seconds| format!("{seconds:.0}")).collect();
        writeln!(text, "| {place} | {renewals} | {looks} | {let_go:.0} s | {} |", left.join(" "))?;
    }
    Ok(())
}
