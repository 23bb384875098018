//! What a machine that never was a node does not have.

use anyhow::{Result, ensure};

use crate::{Node, quirks};

/// A kind of trace: what it is, whether the package alone brings it, and the command that prints what it finds.
const TRACES: [(&str, bool, &str); 10] = [
    ("program of the agent's", true, "command -v kn-agent"),
    (
        "units of kn-agent",
        true,
        "ls /usr/lib/systemd/system | grep -E '^kn-agent'",
    ),
    (
        "units that kn-agent writes",
        false,
        "ls /etc/systemd/system | grep -E '^kn-agent'",
    ),
    (
        "drop-ins of kn-agent",
        false,
        "ls -d /etc/systemd/system/*.d/*kn-agent* /etc/containerd/conf.d/*kn-agent*",
    ),
    (
        "units of kubelet, kube-proxy, cri-dockerd",
        false,
        "ls /etc/systemd/system /usr/lib/systemd/system | grep -E '^(kubelet|kube-proxy|cri-dockerd?)[.]'",
    ),
    ("kubeconfigs and Kubernetes' configuration", false, "find /etc/kubernetes /etc/kn-agent -type f"),
    (
        "kernel settings of a node",
        false,
        "ls /etc/sysctl.d/*kn-agent* /etc/modules-load.d/*kn-agent*",
    ),
    (
        "keys and certificates",
        false,
        "find /var/lib/kubelet /var/lib/kube-proxy /var/lib/kn-agent -name '*.pem' -o -name '*.key'",
    ),
    ("CNI configuration", false, "find /etc/cni/net.d -type f"),
    (
        "container runtime that runs or is enabled",
        false,
        "for unit in docker.service docker.socket containerd.service; do
             systemctl is-active --quiet $unit && echo $unit runs; systemctl is-enabled --quiet $unit && echo $unit enabled
         done",
    ),
];

/// What was found of one kind.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) what: &'static str,
    pub(crate) of_package: bool,
    pub(crate) found: String,
}

/// Looks for every kind of trace.
pub(crate) fn of(node: &Node) -> Result<Vec<Trace>> {
    let look = |(what, of_package, command)| {
        let found = node.try_exec(&["sh", "-c", command])?.stdout.trim().to_owned();
        Ok(Trace { what, of_package, found })
    };
    TRACES.into_iter().map(look).collect()
}

/// Fails where the machine has any trace; `installed` allows those of the package.
pub(crate) fn ensure_none(node: &Node, installed: bool) -> Result<()> {
    for Trace { what, of_package, found } in of(node)? {
        ensure!(found.is_empty() || (installed && of_package), "the machine is not fresh: {what}: {found}");
    }
    ensure_daemon_json_untouched(node)
}

/// docker's configuration is what the machine was booted with, byte for byte: none, or the lab's.
fn ensure_daemon_json_untouched(node: &Node) -> Result<()> {
    const READ: &str = "[ ! -e /etc/docker/daemon.json ] || cat /etc/docker/daemon.json";
    let found = node.exec(&["sh", "-c", READ])?;
    let (text, expected) = (Some(found.as_str()).filter(|text| !text.is_empty()), quirks::daemon_json()?);
    ensure!(text == expected, "the machine is not fresh: docker's daemon.json is {text:?}, not {expected:?}");
    Ok(())
}
