//! The agent's main job, shown: a fresh machine becomes a Ready node that serves a pod, and everything goes again.

use std::{
    env, fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Artefacts, ControlPlane, Node, config_fragment, floor,
    footprint::Footprint,
    process::{Daemon, run},
    progress::{Steps, detail},
    traces::{self, Trace},
    up, workload,
};

const APPROVER_GRACE: Duration = Duration::from_secs(5);

/// The two things the demo is given.
#[derive(Debug)]
struct Given {
    deb: PathBuf,
    agent: PathBuf,
}

impl Given {
    fn from_environment() -> Result<Self> {
        let path = |name: &str| -> Result<PathBuf> {
            let value = env::var_os(name).with_context(|| format!("{name} is not set (tests/README.md)"))?;
            let path = PathBuf::from(value);
            path.canonicalize().with_context(|| format!("{name}: no file `{}`", path.display()))
        };
        Ok(Self { deb: path("KN_AGENT_DEB")?, agent: path("KN_AGENT")? })
    }
}

/// Shows the agent's main job; with `KEEP=1` in the environment it stays up until interrupted.
pub fn demo(artefacts: &Artefacts) -> Result<()> {
    let given = Given::from_environment()?;
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
    let (configuration, approver) = prepare_cluster(&given, &control_plane)?;

    steps.step("on the machine: install the package, write the configuration");
    let seconds = join(&given, &node, &config_fragment(control_plane.minor()), &configuration)?;
    let took = format!("{seconds:.1} s from the configuration to Ready");
    let kubectl = control_plane.kubectl()?;
    let ready = kubectl.node_condition(node.name(), "Ready")?;
    ensure!(ready.as_deref() == Some("True"), "the API server says Ready={ready:?}");
    detail(format_args!("the API server agrees: Ready=True; {took}"));
    detail(kubectl.run(&["get", "nodes", "-o", "wide"])?);

    steps.step("a pod and a Service");
    workload::prove(&control_plane, &node)?;

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
fn prepare_cluster(given: &Given, control_plane: &ControlPlane) -> Result<(String, Daemon)> {
    let kubeconfig = control_plane.admin_kubeconfig();
    let agent = |words: &str| {
        let mut command = Command::new(&given.agent);
        command.args(words.split(' ')).arg("--kubeconfig").arg(&kubeconfig);
        command
    };
    detail(run(&mut agent("cluster init --auto-approve=any-token"))?);
    let configuration = run(&mut agent("token create --print config"))?;
    detail("a configuration with a token, for the machine");
    let log = control_plane.run().subdirectory("log")?.join("approver.log");
    let mut approver = Daemon::start("the approver", &agent("approver"), &log, APPROVER_GRACE)?;
    approver.check_running()?;
    Ok((configuration, approver))
}

/// Installs and configures the agent; returns the seconds from the configuration to Ready.
fn join(given: &Given, node: &Node, fragment: &str, configuration: &str) -> Result<f64> {
    node.put("/root/kn-agent.deb", fs::read(&given.deb)?, 0o644)?;
    node.exec(&["dpkg", "--install", "/root/kn-agent.deb"])?;
    detail("dpkg --install kn-agent.deb");
    // What differs from a usual machine first: the daemon starts at the first file it can use.
    node.put("/etc/kn-agent/config.d/20-network.yaml", "network: {plugin: bridge}\n", 0o600)?;
    node.put("/etc/kn-agent/config.d/50-lab.yaml", fragment, 0o600)?;
    let start = Instant::now();
    node.put("/etc/kn-agent/config.yaml", configuration, 0o600)?;
    detail("/etc/kn-agent/config.yaml written; kn-agent status --wait:");
    let status = node.exec_inherited(&["kn-agent", "status", "--wait", "--timeout", "120"])?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(status.success(), "the node did not become Ready ({status}):\n{}", floor::journal(node));
    Ok(seconds)
}
