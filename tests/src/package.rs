//! The agent as it ships: the package for nodes, and the program for the cluster's side.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    ControlPlane, Node, config_fragment,
    process::{Daemon, run},
};

/// The approver ends at once; a graceful stop is part of what is tried.
const APPROVER_GRACE: Duration = Duration::from_secs(5);

/// What `make` has built.
#[derive(Debug)]
pub struct Package {
    deb: PathBuf,
    agent: PathBuf,
}

impl Package {
    /// Where `KN_AGENT_DEB` and `KN_AGENT` say.
    pub fn from_environment() -> Result<Self> {
        let path = |name: &str| -> Result<PathBuf> {
            let value = env::var_os(name)
                .with_context(|| format!("{name} is not set: use make, or see tests/README.md"))?;
            let path = PathBuf::from(value);
            path.canonicalize().with_context(|| format!("{name}: no file `{}`", path.display()))
        };
        Ok(Self { deb: path("KN_AGENT_DEB")?, agent: path("KN_AGENT")? })
    }

    /// The program on an administrator's machine.
    pub fn agent(&self, control_plane: &ControlPlane, words: &[&str]) -> Command {
        let mut command = Command::new(&self.agent);
        command.args(words).arg("--kubeconfig").arg(control_plane.admin_kubeconfig());
        command
    }

    /// Makes joining possible: role bindings, and an approver that runs until the value is dropped.
    pub(crate) fn prepare(&self, control_plane: &ControlPlane) -> Result<Daemon> {
        run(&mut self.agent(control_plane, &["cluster", "init", "--auto-approve=any-token"]))?;
        let log = control_plane.run().subdirectory("log")?.join("approver.log");
        let command = self.agent(control_plane, &["approver"]);
        let mut approver = Daemon::start("the approver", &command, &log, APPROVER_GRACE)?;
        approver.check_running()?;
        Ok(approver)
    }

    /// A node's configuration with a token of its own.
    pub fn configuration(&self, control_plane: &ControlPlane) -> Result<String> {
        run(&mut self.agent(control_plane, &["token", "create", "--print", "config"]))
    }

    /// Installs the package on a node.
    pub fn install(&self, node: &Node) -> Result<()> {
        node.put("/root/kn-agent.deb", fs::read(&self.deb)?, 0o644)?;
        node.exec(&["dpkg", "--install", "/root/kn-agent.deb"]).map(drop)
    }

    /// Writes a node's configuration. What differs from a usual machine comes first: the daemon starts at the first
    /// file it can use.
    pub fn configure(&self, node: &Node, control_plane: &ControlPlane, configuration: &str) -> Result<()> {
        node.put("/etc/kn-agent/config.d/20-network.yaml", "network: {plugin: bridge}\n", 0o600)?;
        node.put("/etc/kn-agent/config.d/50-lab.yaml", config_fragment(control_plane.minor()), 0o600)?;
        node.put("/etc/kn-agent/config.yaml", configuration, 0o600)
    }
}
