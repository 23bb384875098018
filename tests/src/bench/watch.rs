//! The instant at which the API server says Ready, seen by a watch from outside the node.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use crate::Kubectl;

/// Longer than any arm takes; kubeadm's and the old kubelet's included.
const LIMIT: Duration = Duration::from_secs(90);

/// Name and Ready condition of every Node, a line an event.
const LINE: &str = r#"{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}"#;

/// A running watch.
#[derive(Debug)]
pub(super) struct ReadyWatch {
    child: Child,
    ready: mpsc::Receiver<SystemTime>,
}

impl ReadyWatch {
    /// Starts watching; the Node must not exist.
    pub(super) fn start(kubectl: &Kubectl, node: &str) -> Result<Self> {
        let selector = format!("--field-selector=metadata.name={node}");
        let format = format!("jsonpath={LINE}");
        let mut child = kubectl
            .command(&["get", "nodes", "--watch", &selector, "-o", &format])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run kubectl")?;
        let lines = BufReader::new(child.stdout.take().context("no pipe from kubectl")?).lines();
        let (sender, ready) = mpsc::channel();
        let wanted = format!("{node} True");
        thread::spawn(move || {
            let found = lines.map_while(std::io::Result::ok).any(|line| line == wanted);
            if found {
                let _ = sender.send(SystemTime::now());
            }
        });
        Ok(Self { child, ready })
    }

    /// Microseconds since 1970 at which it was seen Ready.
    pub(super) fn met(self) -> Result<u64> {
        let at = self.ready.recv_timeout(LIMIT).context("the node did not become Ready")?;
        Ok(u64::try_from(at.duration_since(UNIX_EPOCH)?.as_micros())?)
    }
}

impl Drop for ReadyWatch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
