//! The agent's main job, shown: a fresh machine becomes a Ready node that serves a pod, and everything goes again.

use std::{env, time::Instant};

use anyhow::{Result, ensure};

use crate::{
    Artefacts, ControlPlane, Node,
    agent::{self, Agent},
    floor,
    footprint::Footprint,
    process::Daemon,
    progress::{Steps, detail},
    traces::{self, Trace},
    up, workload,
};

/// Shows the agent's main job; with `KEEP=1` in the environment it stays up until interrupted.
pub fn demo(artefacts: &Artefacts) -> Result<()> {
    let agent = Agent::from_environment()?;
    let mut steps = Steps::new();

    steps.step("a cluster");
    let control_plane = ControlPlane::start("demo", artefacts)?;
    detail(format_args!("{} at {}", artefacts.kubernetes().version()?, control_plane.server()));

    steps.step("a fresh machine");
    let start = Instant::now();
    let node = Node::boot(control_plane.run(), artefacts, "worker-1")?;
    detail(format_args!("booted at {} in {:.1} s; it has", node.address(), start.elapsed().as_secs_f64()));
    traces::ensure_none(&node, false)?;
    for trace in traces::of(&node)? {
        detail(format_args!("  no {}", trace.what));
    }

    steps.step("on the cluster: kn-agent cluster init, token create, approver");
    let (configuration, approver) = prepare_cluster(&agent, &control_plane, &node)?;

    steps.step("on the machine: install the package, write the configuration");
    let seconds = join(&agent, &control_plane, &node, &configuration)?;
    let took = format!("{seconds:.1} s from the configuration to Ready");
    let kubectl = control_plane.kubectl()?;
    let ready = kubectl.node_condition(node.name(), "Ready")?;
    ensure!(ready.as_deref() == Some("True"), "the API server says Ready={ready:?}");
    detail(format_args!("the API server agrees: Ready=True; {took}"));
    detail(kubectl.run(&["get", "nodes", "-o", "wide"])?);

    steps.step("a pod and a Service");
    workload::prove(&control_plane, &node)?;
    workload::prove_reachable(&control_plane, &node)?;

    steps.step("what the machine has now");
    for Trace { what, found, .. } in traces::of(&node)? {
        ensure!(!found.is_empty(), "nothing found of: {what}");
        detail(format_args!("{what}: {}", found.lines().collect::<Vec<_>>().join(" ")));
    }
    for command in ["status", "timeline"] {
        steps.step(format_args!("kn-agent {command}"));
        node.exec_inherited(&["kn-agent", command])?;
    }
    if env::var_os("KEEP").is_some_and(|value| value == "1") {
        up::publish(&control_plane, std::slice::from_ref(&node))?;
        up::hold();
    }
    steps.step("everything goes");
    let footprint = Footprint::of(control_plane.run());
    for trace in footprint.traces()? {
        ensure!(!trace.found.is_empty(), "found no {} of a lab that runs", trace.kind);
        detail(format_args!("{}: {} before", trace.kind, trace.found.len()));
    }
    drop((approver, node, control_plane));
    for trace in footprint.traces()? {
        ensure!(trace.found.is_empty(), "{} are left: {}", trace.kind, trace.found.join(" "));
    }
    detail(format_args!("nothing of it is left. Done in {:.0} s: {took}", steps.elapsed().as_secs_f64()));
    Ok(())
}

/// Makes joining possible; returns the node's configuration and the running approver.
fn prepare_cluster(agent: &Agent, control_plane: &ControlPlane, node: &Node) -> Result<(String, Daemon)> {
    let (said, approver) = agent.set_up(control_plane)?;
    detail(said);
    let configuration = agent.configuration(control_plane, node)?;
    detail("a configuration with a token that is good for this machine alone");
    Ok((configuration, approver))
}

/// Installs and configures the agent; returns the seconds from the configuration to Ready.
fn join(agent: &Agent, control_plane: &ControlPlane, node: &Node, configuration: &str) -> Result<f64> {
    agent.install(node)?;
    detail("dpkg --install kn-agent.deb");
    // What differs from a usual machine first: the daemon starts at the first file it can use.
    agent::configure_lab(node, control_plane, "/etc/kn-agent")?;
    let start = Instant::now();
    node.put("/etc/kn-agent/config.yaml", configuration, 0o600)?;
    detail("/etc/kn-agent/config.yaml written; kn-agent status --wait:");
    let status = node.exec_inherited(&["kn-agent", "status", "--wait", "--timeout", "120"])?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(status.success(), "the node did not become Ready ({status}):\n{}", floor::journal(node));
    Ok(seconds)
}
