//! A cluster whose certificates live for minutes, and a node that joined it as users' nodes do.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::place::Place;
use crate::{
    Artefacts, ControlPlane, Identity, Minor, Node,
    agent::{self, Agent},
    floor,
    process::Daemon,
    wait_until,
};

/// The binding that lets the controller-manager approve what kubelets renew.
const IN_TREE_APPROVAL: &str = "kn-agent:node-renewal";

/// kube-proxy says at this level that it has read another certificate.
const TALKATIVE: &str = "proxy: {extraArgs: {v: '1'}}\n";

const SOON: Duration = Duration::from_mins(1);

/// Who asks the kubelet from outside, as an API server would.
const PROBER: &str = "rotation-prober";

/// Everything that runs. What was started last is stopped first.
#[derive(Debug)]
pub(super) struct Stage {
    _approver: Daemon,
    pub(super) node: Node,
    pub(super) control_plane: ControlPlane,
    pub(super) prober: Identity,
}

impl Stage {
    /// Starts it and has the node join; returns when it is Ready and has its three certificates.
    pub(super) fn set(minor: Minor, name: &str, life: Duration) -> Result<Self> {
        let (agent, artefacts) = (Agent::from_environment()?, Artefacts::ensure(minor)?);
        let control_plane = ControlPlane::start_signing(name, &artefacts, Some(life))?;
        let node = Node::boot(control_plane.run(), &artefacts, "worker-1")?;
        let (_, approver) = agent.set_up(&control_plane)?;
        // Whoever is first approves: the approver is to be seen doing all of it.
        control_plane.kubectl()?.run(&["delete", "clusterrolebinding", IN_TREE_APPROVAL])?;
        agent.install(&node)?;
        agent::configure_lab(&node, &control_plane, "/etc/kn-agent")?;
        node.put("/etc/kn-agent/config.d/60-rotation.yaml", TALKATIVE, 0o600)?;
        let configuration = agent.configuration(&control_plane, &node)?;
        node.put("/etc/kn-agent/config.yaml", configuration, 0o600)?;
        let status = node.try_exec(&["kn-agent", "status", "--wait", "--timeout", "120"])?;
        ensure!(status.status.success(), "not Ready: {status:?}\n{}", floor::journal(&node));
        let (_, prober) = control_plane.kubectl_as(PROBER, PROBER, &["system:masters"])?;
        let stage = Self { _approver: approver, node, control_plane, prober };
        let root = stage.root()?;
        wait_until("the three certificates", SOON, || {
            Ok(Place::ALL.iter().all(|place| place.read(&root).is_ok()).then_some(()))
        })?;
        Ok(stage)
    }

    /// The node's root directory, through its own mounts.
    pub(super) fn root(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.node.leader()?)))
    }

    /// Which start of a unit's it is that runs.
    pub(super) fn invocation(&self, unit: &str) -> Result<String> {
        Ok(self.node.exec(&["systemctl", "show", "-P", "InvocationID", unit])?.trim().to_owned())
    }

    /// Since when the Node is Ready; an error where it is not.
    pub(super) fn ready_since(&self) -> Result<String> {
        let node = self.control_plane.kubectl()?.get(&["node", self.node.name()])?;
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
        let ready = ready.unwrap_or(Value::Null);
        ensure!(ready["status"] == "True", "the node is not Ready: {ready}");
        ready["lastTransitionTime"].as_str().map(str::to_owned).context("Ready since never")
    }
}
