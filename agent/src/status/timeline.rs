//! How the time from the daemon's start to Ready was spent.

use std::fmt::Write;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, Done};

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/timeline/v1";

/// What was done when, up to the first Ready after the daemon's start and what was left for after it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// `kn-agent.io/timeline/v1`.
    pub schema: &'static str,
    /// The Node's name.
    pub node: String,
    /// When the daemon started: the zero of every time below.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When the Node was first seen Ready, in milliseconds after the start; null before.
    pub ready_ms: Option<i64>,
    /// The steps, in the order they began.
    pub steps: Vec<Done>,
}

impl Timeline {
    /// The timeline in a status document.
    pub fn of(document: &Document) -> Self {
        let started = document.started_at;
        let ready = document.ready_at.map(|at| at.duration_since(started).as_millis().max(0));
        // Noted when they end, those of a phase together.
        let mut steps = document.timeline.clone();
        steps.sort_by_key(|step| (step.from_ms, step.to_ms));
        Self {
            schema: SCHEMA,
            node: document.node.clone(),
            started_at: started,
            ready_ms: ready.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)),
            steps,
        }
    }

    /// How long all of it took, in milliseconds; at least 1.
    pub fn length_ms(&self) -> i64 {
        let last = self.steps.iter().map(|step| step.to_ms).max();
        last.max(self.ready_ms).unwrap_or(1).max(1)
    }

    /// A line a step, with a bar on a common axis, and one for Ready between those before and after it.
    pub fn text(&self) -> String {
        const WIDTH: usize = 40;
        let length = self.length_ms();
        let columns = i64::try_from(WIDTH).unwrap_or(i64::MAX);
        let column = |ms: i64| usize::try_from((ms.clamp(0, length) * columns) / length).unwrap_or(0);
        let end = format!("{length} ms");
        let axis = WIDTH - 1;
        let mut text = String::new();
        if !self.steps.is_empty() {
            let _ = writeln!(text, "{:>10} {:>9}  0{end:>axis$}  {:<13} step", "began", "took", "phase");
        }
        let ready = || self.ready_ms.map(|ms| format!("{ms:>7} ms  Ready\n"));
        let is_after = |step: &Done| self.ready_ms.is_some_and(|ms| step.from_ms >= ms);
        let first_after = self.steps.iter().position(is_after).unwrap_or(self.steps.len());
        for (index, step) in self.steps.iter().enumerate() {
            if index == first_after {
                text.extend(ready());
            }
            let (from, to) = (column(step.from_ms), column(step.to_ms));
            let bar = format!("{}{}", " ".repeat(from), "█".repeat(to.saturating_sub(from).max(1)));
            let took = step.to_ms - step.from_ms;
            let (phase, what) = (step.phase.as_str(), &step.what);
            let _ = writeln!(text, "{:>7} ms {took:>6} ms  {bar:<40}  {phase:<13} {what}", step.from_ms);
        }
        if first_after == self.steps.len() {
            text.push_str(&ready().unwrap_or_else(|| "not Ready yet\n".to_owned()));
        }
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::Phase;

    /// The shape of a real join.
    pub(crate) fn join() -> Timeline {
        let step = |phase, what: &str, from_ms, to_ms| Done { phase, what: what.to_owned(), from_ms, to_ms };
        Timeline {
            schema: SCHEMA,
            node: "worker-1".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            ready_ms: Some(9840),
            steps: vec![
                step(Phase::Trust, "write /etc/kubernetes/pki/ca.crt", 61, 74),
                step(Phase::Host, "write /etc/systemd/system/kubelet.service", 62, 98),
                step(Phase::Identity, "make key /var/lib/kn-agent/kubelet-client.key", 80, 95),
                step(Phase::Identity, "submit CSR kn-kubelet-9f2c0d1e8a7b6c5d4e3f2a1b", 96, 131),
                step(Phase::Host, "reload systemd", 98, 412),
                step(Phase::Runtime, "start docker.service", 413, 3920),
                step(Phase::Registered, "create Node worker-1", 1180, 1204),
                step(Phase::Network, "write /etc/cni/net.d/10-kn-agent-bridge.conflist", 1630, 1641),
                step(Phase::Proxy, "start kube-proxy.service", 2210, 2301),
                step(Phase::Runtime, "start cri-docker.service", 3925, 4410),
                step(Phase::Kubelet, "start kubelet.service", 4415, 6050),
            ],
        }
    }

    #[test]
    fn each_step_has_a_bar_on_a_common_axis() {
        insta::assert_snapshot!("text", join().text());
    }

    #[test]
    fn length_is_what_comes_last() {
        let mut timeline = join();
        assert_eq!(timeline.length_ms(), 9840);
        timeline.ready_ms = None;
        assert_eq!(timeline.length_ms(), 6050);
        assert!(timeline.text().ends_with("not Ready yet\n"));
        timeline.steps.clear();
        assert_eq!((timeline.length_ms(), timeline.text().as_str()), (1, "not Ready yet\n"));
    }

    #[test]
    fn document_names_its_schema() {
        let mut timeline = join();
        timeline.steps.truncate(2);
        insta::assert_json_snapshot!("document", timeline);
    }
}
