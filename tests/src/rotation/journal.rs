//! What a unit's programs logged: how often they were started, and when they took up another certificate.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::certificate::{Issue, Trail};
use crate::Node;

/// client-go and the kubelet say so when they close their connections for it, in every version.
const TAKEN_UP: &str = "ertificate rotation detected";

/// A unit's log, as far as it matters here.
#[derive(Debug)]
pub(super) struct Log {
    /// The first line of each start.
    pub(super) starts: Vec<Timestamp>,
    taken_up: Vec<Timestamp>,
}

/// The log of a unit on a node.
pub(super) fn of_unit(node: &Node, unit: &str) -> Result<Log> {
    let fields = "--output-fields=MESSAGE,_PID,_SYSTEMD_INVOCATION_ID";
    let text = node.exec(&["journalctl", "--no-pager", "--output=json", fields, "--unit", unit])?;
    let (mut starts, mut taken_up) = (BTreeMap::new(), Vec::new());
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).context("a journal that is no JSON")?;
        // What systemd says about it is not its own.
        if entry["_PID"] == "1" {
            continue;
        }
        let micros: i64 =
            entry["__REALTIME_TIMESTAMP"].as_str().context("an entry without a time")?.parse()?;
        let at = Timestamp::from_microsecond(micros)?;
        starts.entry(entry["_SYSTEMD_INVOCATION_ID"].to_string()).or_insert(at);
        if entry["MESSAGE"].as_str().is_some_and(|message| message.contains(TAKEN_UP)) {
            taken_up.push(at);
        }
    }
    let mut starts: Vec<_> = starts.into_values().collect();
    starts.sort();
    Ok(Log { starts, taken_up })
}

/// A certificate that a program used, until it let go of it.
#[derive(Debug)]
pub(super) struct Use<'a> {
    pub(super) issue: &'a Issue,
    /// What was left of its life then, seconds.
    pub(super) left: f64,
}

/// How often one certificate came after another.
pub(super) fn changes(uses: &[Use<'_>]) -> usize {
    uses.windows(2).filter(|pair| pair[0].issue.certificate != pair[1].issue.certificate).count()
}

impl Log {
    /// When the file was read: at each start, and where the log says so.
    fn reads(&self) -> Vec<Timestamp> {
        let mut reads: Vec<_> = self.starts.iter().chain(&self.taken_up).copied().collect();
        reads.sort();
        reads
    }

    /// Which certificate was in use from each reading to the next, and at last to `end`. What was read is what was in the
    /// file then.
    pub(super) fn uses<'a>(&self, trail: &'a Trail, end: Timestamp) -> Vec<Use<'a>> {
        let mut reads = self.reads();
        reads.retain(|read| *read < end);
        let until = reads.iter().skip(1).copied().chain([end]);
        let pairs = reads.iter().zip(until);
        let used = |(read, until): (&Timestamp, Timestamp)| {
            // Before the watching began there was the first one.
            let issue = trail.at(*read).or_else(|| trail.issues.first())?;
            Some(Use { issue, left: issue.certificate.left(until) })
        };
        pairs.filter_map(used).collect()
    }
}
