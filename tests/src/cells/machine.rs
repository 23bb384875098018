//! One node of a cell, from "package installed" to Ready and to what shows that it is one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::cell::{Cell, Impossible, Mode};
use crate::{
    Artefacts, ControlPlane, Node,
    agent::{self, Agent, ensure_nothing_planned},
    containerd, floor, logs, wait_until, workload,
};

/// A join takes seconds; on a busy machine a multiple.
const JOIN: Duration = Duration::from_mins(2);

/// What kube-proxy made in the kernel: its chains, its table.
const TABLES: &str =
    "iptables-save | grep -o '^:KUBE-SVC-[^ ]*' || true; nft list tables | grep 'kube-proxy' || true";

/// What came of a cell.
#[derive(Debug)]
pub(super) enum Shown {
    /// It is Ready, its pod answers, its logs are clean.
    Ready(Proof),
    /// It cannot work, and the agent said why.
    Refused {
        /// Why it cannot.
        why: &'static str,
        /// What the agent said.
        said: String,
    },
}

/// The figures of a node.
#[derive(Debug)]
pub(super) struct Proof {
    /// From the configuration to Ready.
    pub(super) ready: Duration,
    pub(super) kubelet: String,
    pub(super) runtime: String,
    /// Lines of kubelet's and kube-proxy's logs that were searched.
    pub(super) lines: usize,
}

/// Makes the node and shows what is to be shown of it.
pub(super) fn show(cell: Cell) -> Result<Shown> {
    let (minor, engine) = (cell.stack.minor(), cell.stack.engine(cell.suite));
    let artefacts = Artefacts::ensure_on(minor, engine, cell.suite)?;
    let agent = Agent::from_environment()?;
    let control_plane = ControlPlane::start("matrix", &artefacts)?;
    let node = Node::boot(control_plane.run(), &artefacts, "worker-1")?;
    containerd::use_ours(&node, engine)?;
    let (_, _approver) = agent.set_up(&control_plane)?;
    let configuration = agent.configuration(&control_plane, &node)?;
    agent.install(&node)?;
    agent::configure_lab(&node, &control_plane, "/etc/kn-agent")?;
    // Where Debian has the plugins; containerd 2's own default is another directory.
    let drop_in = format!("network: {{binDir: /usr/lib/cni}}\nproxy: {{mode: {}}}\n", cell.mode.name());
    node.put("/etc/kn-agent/config.d/60-cell.yaml", drop_in, 0o600)?;
    let begun = Instant::now();
    node.put("/etc/kn-agent/config.yaml", configuration, 0o600)?;
    match cell.impossible() {
        Some(impossible) => refused(&node, impossible),
        None => ready(cell, &control_plane, &node, begun).map(Shown::Ready),
    }
}

fn ready(cell: Cell, control_plane: &ControlPlane, node: &Node, begun: Instant) -> Result<Proof> {
    let limit = JOIN.as_secs().to_string();
    let waited = node.try_exec(&["kn-agent", "status", "--wait", "--timeout", &limit])?;
    let ready = begun.elapsed();
    ensure!(waited.status.success(), "not Ready: {}\n{}", waited.stdout, floor::journal(node));
    let kubectl = control_plane.kubectl()?;
    let object = kubectl.get(&["node", node.name()])?;
    let info = |key: &str| object["status"]["nodeInfo"][key].as_str().unwrap_or_default().to_owned();
    let condition = kubectl.node_condition(node.name(), "Ready")?;
    ensure!(condition.as_deref() == Some("True"), "the API server says Ready={condition:?}");
    let (runtime, system) = (info("containerRuntimeVersion"), info("osImage"));
    ensure!(runtime.starts_with(cell.stack.runtime(cell.suite)), "it runs {runtime}");
    ensure!(system.starts_with(&format!("Debian GNU/Linux {}", cell.suite.number())), "it is {system}");
    workload::prove(control_plane, node)?;
    workload::prove_reachable(control_plane, node)?;
    let tables = node.sh(TABLES, &[])?;
    let has = (tables.contains(":KUBE-SVC-"), tables.contains("table ip kube-proxy"));
    ensure!(
        has == (cell.mode == Mode::Iptables, cell.mode == Mode::Nftables),
        "rules of another mode: {tables}"
    );
    let lines = logs::prove(node)?;
    ensure_nothing_planned(node)?;
    Ok(Proof { ready, kubelet: info("kubeletVersion"), runtime, lines })
}

fn refused(node: &Node, impossible: Impossible) -> Result<Shown> {
    let Impossible { why, reason, mark } = impossible;
    let said = wait_until(&format!("{reason} naming {mark}"), JOIN, || {
        let output = node.try_exec(&["kn-agent", "status", "-o", "json"])?;
        let status: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        ensure!(status["ready"] != true, "it is Ready, although {why}");
        let phases = status["phases"].as_array().into_iter().flatten();
        let message = |phase: &Value| phase["message"].as_str().unwrap_or_default().to_owned();
        Ok(phases.filter(|phase| phase["reason"] == reason).map(message).find(|said| said.contains(mark)))
    });
    let said = said.with_context(|| floor::journal(node))?;
    let line = said.lines().find(|line| line.contains(mark)).unwrap_or_default().trim();
    Ok(Shown::Refused { why, said: format!("{reason}: {line}") })
}
