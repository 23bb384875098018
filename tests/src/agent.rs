//! The agent under test as the lab is given it: the package that is installed and the program for the cluster's side.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    ControlPlane, Node, config_fragment,
    process::{Daemon, run},
};

const APPROVER_GRACE: Duration = Duration::from_secs(5);

/// The program that `KN_AGENT` names.
pub(crate) fn program() -> Result<PathBuf> {
    path("KN_AGENT")
}

fn path(name: &str) -> Result<PathBuf> {
    let value = env::var_os(name).with_context(|| format!("{name} is not set (tests/README.md)"))?;
    let path = PathBuf::from(value);
    path.canonicalize().with_context(|| format!("{name}: no file `{}`", path.display()))
}

/// The daemon of this node would do nothing in its next pass.
pub fn ensure_nothing_planned(node: &Node) -> Result<()> {
    let plan = node.exec(&["kn-agent", "plan", "-o", "json"])?;
    let plan: Value = serde_json::from_str(&plan).context(plan)?;
    let phases = plan["phases"].as_array().context("a plan without phases")?;
    ensure!(!phases.is_empty(), "a plan without phases");
    for phase in phases {
        let steps = phase["steps"].as_array().context("a phase without steps")?;
        ensure!(steps.is_empty(), "{} would {steps:?}", phase["phase"]);
    }
    Ok(())
}

/// The package and the program.
#[derive(Debug)]
pub(crate) struct Agent {
    deb: PathBuf,
    program: PathBuf,
}

impl Agent {
    /// What `KN_AGENT_DEB` and `KN_AGENT` name.
    pub(crate) fn from_environment() -> Result<Self> {
        Ok(Self { deb: path("KN_AGENT_DEB")?, program: program()? })
    }

    /// Runs it on an administrator's machine; its answer. No word holds a space.
    pub(crate) fn on_cluster(&self, control_plane: &ControlPlane, words: &str) -> Result<String> {
        run(&mut self.command(control_plane, words))
    }

    /// Sets the cluster up and starts the approver as its own account; what `cluster init` said.
    pub(crate) fn set_up(&self, control_plane: &ControlPlane) -> Result<(String, Daemon)> {
        let kubeconfig = control_plane.run().directory().join("approver.kubeconfig");
        let file = format!("--approver-kubeconfig={}", kubeconfig.display());
        let said = run(self.command(control_plane, "cluster init --approver unit --no-start").arg(file))?;
        let log = control_plane.run().subdirectory("log")?.join("approver.log");
        let mut command = Command::new(&self.program);
        command.arg("approver").arg("--kubeconfig").arg(&kubeconfig);
        let mut approver = Daemon::start("the approver", &command, &log, APPROVER_GRACE)?;
        approver.check_running()?;
        Ok((said, approver))
    }

    /// A configuration for a node, with a fresh token that is good for it and one key.
    pub(crate) fn configuration(&self, control_plane: &ControlPlane, node: &Node) -> Result<String> {
        self.on_cluster(control_plane, &format!("token create --node {} --print config", node.name()))
    }

    /// Installs the package on a node.
    pub(crate) fn install(&self, node: &Node) -> Result<()> {
        node.put("/root/kn-agent.deb", fs::read(&self.deb)?, 0o644)?;
        node.exec(&["dpkg", "--install", "/root/kn-agent.deb"]).map(drop)
    }

    fn command(&self, control_plane: &ControlPlane, words: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words.split(' ')).arg("--kubeconfig").arg(control_plane.admin_kubeconfig());
        command
    }
}

/// Puts the parts of a configuration below `directory` that differ from a usual machine's.
pub(crate) fn configure_lab(node: &Node, control_plane: &ControlPlane, directory: &str) -> Result<()> {
    let drop_in = |name: &str, text: &str| node.put(&format!("{directory}/config.d/{name}"), text, 0o600);
    drop_in("20-network.yaml", "network: {plugin: bridge}\n")?;
    if node.has_containerd() {
        drop_in("30-runtime.yaml", "runtime: {kind: containerd}\n")?;
    }
    drop_in("50-lab.yaml", &config_fragment(control_plane.minor())?)
}
