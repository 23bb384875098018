//! A pod that says a word: what `kubectl logs` shows of it comes from the kubelet, whose serving certificate the API
//! server checks.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{ControlPlane, DEMO_IMAGE, wait_until};

use super::{JOIN, NODE};

const WORD: &str = "said by the pod";

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  nodeName: @NODE@
  hostNetwork: true
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - {name: talker, image: '@IMAGE@', imagePullPolicy: Never, command: [/bin/sh, -c, 'echo @WORD@; exec sleep 100000']}
";

/// Runs it on the node.
pub(crate) fn start(plane: &ControlPlane) -> Result<()> {
    let kubectl = plane.kubectl()?;
    let pod = POD.replace("@NODE@", NODE).replace("@IMAGE@", DEMO_IMAGE).replace("@WORD@", WORD);
    // The controller-manager makes the account first; a pod before that is refused.
    wait_until("the default service account", JOIN, || {
        Ok(kubectl.run(&["get", "serviceaccount", "default"]).ok())
    })?;
    kubectl.apply(&pod)?;
    wait_until("the pod to run", JOIN, || {
        Ok((kubectl.get(&["pod", "talker"])?["status"]["phase"] == "Running").then_some(()))
    })
}

/// Its log is refused, for a reason that names this.
pub(crate) fn is_not_heard(plane: &ControlPlane, why: &str) -> Result<()> {
    let output = plane.kubectl()?.command(&["logs", "talker"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains(why), "expected `{why}`: {output:?}");
    lab::say(format_args!("  kubectl logs: {}", said.trim()));
    Ok(())
}

/// Its log is shown.
pub(crate) fn is_heard(plane: &ControlPlane, limit: Duration) -> Result<()> {
    let kubectl = plane.kubectl()?;
    wait_until("the pod's log", limit, || {
        Ok(kubectl.run(&["logs", "talker"]).is_ok_and(|log| log.contains(WORD)).then_some(()))
    })
}
