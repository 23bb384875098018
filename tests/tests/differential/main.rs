//! The approver against Kubernetes' own code: whatever it approves, the API server stores and the signer signs, and what
//! the certificate says is what the approver read. And the rule for labels against the kubelet's.
//!
//! `make test` runs the short form; `make differential` the long one, which writes docs/evidence/differential.md.
#![allow(clippy::disallowed_methods, reason = "tests are all about files, programs and time")]

mod der;
mod draft;
mod go;
mod keys;
mod labels;
mod mutate;
mod ours;
mod recipe;
mod report;
mod requests;
mod rng;
mod weaken;

use std::env;
use std::path::PathBuf;

use anyhow::{Result, ensure};

/// Requests in the short form, and in the long.
const REQUESTS: [usize; 2] = [10_000, 120_000];
/// Labels in the short form, and in the long.
const LABELS: [usize; 2] = [12_000, 100_000];

/// Where the long form writes what it found; unset: the short form, which writes nothing.
fn evidence() -> Option<PathBuf> {
    env::var_os("KN_AGENT_LAB_DIFFERENTIAL").map(PathBuf::from)
}

#[test]
fn what_the_approver_approves_kubernetes_accepts_and_the_kubelet_judges_labels_the_same() -> Result<()> {
    let evidence = evidence();
    let long = usize::from(evidence.is_some());
    let requests = requests::compare(REQUESTS[long])?;
    let labels = labels::compare(LABELS[long])?;
    let text = report::text(&requests, &labels)?;
    if let Some(path) = evidence {
        std::fs::write(path, &text)?;
    }
    let problems = [requests.problems(), labels.problems()].concat();
    ensure!(problems.is_empty(), "{}\n\n{text}", problems.join("\n"));
    Ok(())
}
