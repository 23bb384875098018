//! The approver under test, with the rights of its service account.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;

use crate::{
    ControlPlane,
    process::{Daemon, run},
};

const GRACE: Duration = Duration::from_secs(5);

/// The approver of a cluster. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Approver<'a> {
    control_plane: &'a ControlPlane,
    program: PathBuf,
    daemon: Option<Daemon>,
}

impl<'a> Approver<'a> {
    /// Sets the cluster up as an administrator does it; starts nothing.
    ///
    /// The controller-manager's approval of renewals is taken away: it would hide what the approver thinks of them.
    pub(crate) fn set_up(control_plane: &'a ControlPlane, program: PathBuf) -> Result<Self> {
        let approver = Self { control_plane, program, daemon: None };
        let mut init = Command::new(&approver.program);
        init.args(["cluster", "init", "--approver", "unit", "--no-start", "--approver-kubeconfig"])
            .arg(approver.kubeconfig())
            .arg("--kubeconfig")
            .arg(control_plane.admin_kubeconfig());
        run(&mut init)?;
        let kubectl = control_plane.kubectl()?;
        kubectl.run(&["delete", "clusterrolebinding", "kn-agent:node-renewal", "--ignore-not-found"])?;
        Ok(approver)
    }

    /// Its own credential.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.control_plane.run().directory().join("approver.kubeconfig")
    }

    /// One more beside it.
    pub(crate) fn another(&self, name: &str) -> Result<Daemon> {
        self.spawn(name, &self.kubeconfig())
    }

    /// Stops it, if it runs.
    pub(crate) fn stop(&mut self) {
        drop(self.daemon.take());
    }

    /// Stops it, if it runs, and starts it with its own credential.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.restart_with(&self.kubeconfig())
    }

    /// The same with another kubeconfig.
    pub(crate) fn restart_with(&mut self, kubeconfig: &Path) -> Result<()> {
        self.stop();
        self.daemon = Some(self.spawn("approver", kubeconfig)?);
        Ok(())
    }

    fn spawn(&self, name: &str, kubeconfig: &Path) -> Result<Daemon> {
        let log = self.control_plane.run().subdirectory("log")?.join(format!("{name}.log"));
        let mut command = Command::new(&self.program);
        command.args(["approver", "--kubeconfig"]).arg(kubeconfig);
        let mut approver = Daemon::start(name, &command, &log, GRACE)?;
        approver.check_running()?;
        Ok(approver)
    }
}
