//! The cluster as an operator sees it from outside: kubectl with one identity.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::process::{Daemon, run};

/// kubectl with a kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// The kubectl it runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The kubeconfig it uses.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The command with `arguments`, to be run by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        // It ends before its garbage would matter; collecting it is a quarter of its processor time.
        command.env("GOGC", "off");
        command
    }

    /// Runs it and returns what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        run(&mut self.command(arguments))
    }

    /// `get … -o json`.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[&["get"], arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// `create -f -`: a POST of each object, so that it is an error if one exists.
    pub fn create(&self, manifest: &str) -> Result<()> {
        self.feed(&["create", "-f", "-"], manifest)
    }

    /// `apply -f -`.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        self.feed(&["apply", "-f", "-"], manifest)
    }

    /// The status of a node's condition, if it has that condition.
    pub fn node_condition(&self, node: &str, condition: &str) -> Result<Option<String>> {
        let node = self.get(&["node", node])?;
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|entry| entry["type"] == condition);
        Ok(found.and_then(|entry| entry["status"].as_str()).map(str::to_owned))
    }

    /// Starts watching for `condition` (as `kubectl wait --for` takes it) of an object that exists.
    pub(crate) fn watch(&self, object: &str, condition: &str, limit: Duration, log: &Path) -> Result<Watch> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        let command = self.command(&["wait", object, &format!("--for={condition}"), &timeout]);
        let daemon = Daemon::start("kubectl wait", &command, log, Duration::ZERO)?;
        Ok(Watch { daemon, limit, what: format!("{condition} of {object}") })
    }

    fn feed(&self, arguments: &[&str], manifest: &str) -> Result<()> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run kubectl")?;
        child.stdin.take().context("no pipe to kubectl")?.write_all(manifest.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

/// A running `kubectl wait`, which watches.
#[derive(Debug)]
pub(crate) struct Watch {
    daemon: Daemon,
    limit: Duration,
    what: String,
}

impl Watch {
    /// Returns when the condition holds.
    pub(crate) fn met(mut self) -> Result<()> {
        // A second more than kubectl's own limit: it should be the one to give up.
        let limit = self.limit + Duration::from_secs(1);
        let status = crate::wait_until(&self.what, limit, || self.daemon.exited())?;
        ensure!(status.success(), "waited {} s in vain for {}", self.limit.as_secs(), self.what);
        Ok(())
    }
}
