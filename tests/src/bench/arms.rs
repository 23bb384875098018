//! The two arms, and what is done between them.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{idle, stages::Stage, watch::ReadyWatch};
use crate::{
    ControlPlane, Minor, Node,
    agent::{self, Agent},
    floor,
    fresh::{self, Fresh},
};

/// The machine is called quiet when both processors idled nine tenths of this long.
const QUIET: Duration = Duration::from_millis(500);
/// A machine that does not come to rest is measured all the same, after this.
const QUIET_LIMIT: Duration = Duration::from_secs(15);

/// A join that takes longer met one of the kubelet's own waits of 10 s.
const SLOW_SECONDS: f64 = 5.0;

/// What the arms work on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) control_plane: &'a ControlPlane,
    pub(super) node: &'a Node,
    pub(super) agent: &'a Agent,
    pub(super) fresh: &'a Fresh,
}

/// One round of an arm.
#[derive(Debug)]
pub(super) struct Timed {
    pub(super) seconds: f64,
    pub(super) stages: Vec<Stage>,
}

/// A join by the agent.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) timed: Timed,
    pub(super) ready_notice_ms: f64,
    pub(super) timeline: String,
    pub(super) requests: usize,
}

impl Bench<'_> {
    /// T: from `systemctl start kn-agent` on a fresh machine to Ready.
    pub(super) fn join(&self) -> Result<Joined> {
        let node = self.node;
        // The path unit would start the agent at the first file.
        node.exec(&["systemctl", "stop", "kn-agent.path"])?;
        let configuration = self.agent.configuration(self.control_plane, node)?;
        agent::configure_lab(node, self.control_plane, "/etc/kn-agent")?;
        let requests = idle::requests(self.control_plane)?;
        node.put("/etc/kn-agent/config.yaml", configuration, 0o600)?;
        let timed = self.timed(&["kn-agent.service"], &["systemctl", "start", "--no-block", "kn-agent"])?;
        let begun = property(node, "kn-agent.service", "ExecMainStartTimestampMonotonic")?;
        let notified = property(node, "kn-agent.service", "ActiveEnterTimestampMonotonic")?;
        let wait = node.exec(&["kn-agent", "status", "--wait", "--timeout", "30"]);
        wait.context("Ready from outside, not for the agent")?;
        Ok(Joined {
            timed,
            ready_notice_ms: milliseconds(notified.saturating_sub(begun)),
            timeline: node.exec(&["kn-agent", "timeline"])?,
            requests: idle::requests(self.control_plane)? - requests,
        })
    }

    /// F: the same node without the agent, from stopped units to Ready.
    pub(super) fn floor(&self) -> Result<Timed> {
        self.stop()?;
        self.start_by_hand()
    }

    /// G: as F, with the Node object made before, as the agent makes it.
    pub(super) fn registered_floor(&self) -> Result<Timed> {
        self.stop()?;
        let name = self.node.name();
        let user = format!("system:node:{name}");
        let (own, _) = self.control_plane.kubectl_as("floor", &user, &["system:nodes"])?;
        floor::create_node(&own, self.node)?;
        self.start_by_hand()
    }

    fn stop(&self) -> Result<()> {
        fresh::stop(self.node)?;
        fresh::forget(&self.control_plane.kubectl()?, self.node.name())
    }

    /// What starts one after the other.
    fn chain(&self) -> &'static [&'static str] {
        match self.control_plane.minor() {
            Minor::V1_20 => &["docker.service", "kubelet.service"],
            Minor::V1_36 => &["docker.service", "cri-docker.service", "kubelet.service"],
        }
    }

    fn start_by_hand(&self) -> Result<Timed> {
        let units = [self.chain(), &["kube-proxy.service"]].concat();
        self.timed(&units, &[&["systemctl", "start", "--no-block"], &units[..]].concat())
    }

    /// From systemd's first timestamp of `units`, started by `command`, to Ready.
    pub(super) fn timed(&self, units: &[&str], command: &[&str]) -> Result<Timed> {
        let docker = self.node.try_exec(&["systemctl", "is-active", "docker.service"])?;
        ensure!(!docker.status.success(), "docker runs before the arm begins");
        // The watch first: a kubectl that starts takes a processor for a third of a second, and one that watches none.
        let watch = ReadyWatch::start(&self.control_plane.kubectl()?, self.node.name())?;
        settle()?;
        self.node.exec(command)?;
        let ready = watch.met().with_context(|| floor::journal(self.node))?;
        let mut begun = u64::MAX;
        for unit in units {
            begun = begun.min(property(self.node, unit, "InactiveExitTimestamp")?);
        }
        ensure!(begun < ready, "it was Ready before it began");
        let since = |unit, name| -> Result<f64> {
            Ok(milliseconds(property(self.node, unit, name)?.saturating_sub(begun)))
        };
        let stages = self.chain().iter().map(|&unit| {
            Ok((unit, since(unit, "InactiveExitTimestamp")?, since(unit, "ActiveEnterTimestamp")?))
        });
        let timed =
            Timed { seconds: milliseconds(ready - begun) / 1000.0, stages: stages.collect::<Result<_>>()? };
        if timed.seconds > SLOW_SECONDS {
            self.keep_words_of_kubelet(begun)?;
        }
        Ok(timed)
    }

    /// Why an arm took so long is in the kubelet's log, which goes with the machine.
    fn keep_words_of_kubelet(&self, begun: u64) -> Result<()> {
        let since = format!("@{}", begun / 1_000_000);
        let words =
            ["journalctl", "--unit=kubelet", "--no-pager", "--output=short-precise", "--since", &since];
        let path = self.control_plane.run().subdirectory("log")?.join(format!("slow-{begun}.kubelet.log"));
        Ok(fs::write(path, self.node.exec(&words)?)?)
    }

    /// The machine and the cluster as before the join.
    pub(super) fn restore(&self) -> Result<()> {
        self.fresh.restore(self.node, self.control_plane).map(drop)
    }
}

/// A timestamp of a unit, microseconds.
fn property(node: &Node, unit: &str, name: &str) -> Result<u64> {
    let text = node.exec(&["systemctl", "show", "--timestamp=us+utc", "-P", name, unit])?;
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let seconds = node.exec(&["date", "--utc", "+%s%6N", "--date", text])?;
    seconds.trim().parse().with_context(|| format!("{unit}: {name} is `{text}`"))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of some seconds are far below 2^52")]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

/// Waits until what came before has come to rest: deleting a Node keeps the controllers busy for a moment.
fn settle() -> Result<()> {
    let deadline = Instant::now() + QUIET_LIMIT;
    while Instant::now() < deadline {
        let before = processor_time()?;
        thread::sleep(QUIET);
        let after = processor_time()?;
        let (idle, all) = (after.0 - before.0, after.1 - before.1);
        if idle * 10 >= all * 9 {
            return Ok(());
        }
    }
    Ok(())
}

/// Ticks of all processors: idle, and all.
fn processor_time() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    Ok((ticks.get(3).copied().unwrap_or_default(), ticks.iter().take(8).sum()))
}
