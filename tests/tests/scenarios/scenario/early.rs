//! Pods that are a node's own before it is a node: a static one, and one bound to its name. A kubelet admits them in the
//! moment it starts, by what its Node says it has room for, and what it refuses it never tries again.

use anyhow::{Context as _, Result, ensure};
use lab::{DEMO_IMAGE, wait_until};

use super::{JOIN, Scenario};

/// It asks for some of everything that is counted. The host's network, so that no block of addresses is waited for.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: @NAME@, namespace: default}
spec:
  @BOUND@
  hostNetwork: true
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  tolerations: [{operator: Exists}]
  containers:
  - name: sleep
    image: @IMAGE@
    imagePullPolicy: Never
    command: [sleep, 1d]
    resources: {requests: {cpu: 10m, memory: 8Mi, ephemeral-storage: 1Mi}}
";

fn pod(name: &str, bound: &str) -> String {
    POD.replace("@NAME@", name).replace("@BOUND@", bound).replace("@IMAGE@", DEMO_IMAGE)
}

/// Makes both, before the machine is configured.
pub(crate) fn make(scenario: &Scenario, node: &str) -> Result<()> {
    let kubectl = scenario.control_plane.kubectl()?;
    ensure!(kubectl.run(&["get", "node", node]).is_err(), "{node} is there already");
    scenario.node.put("/etc/kubernetes/manifests/early.yaml", pod("static", ""), 0o600)?;
    wait_until("the default service account", JOIN, || {
        Ok(kubectl.run(&["get", "serviceaccount", "default"]).ok())
    })?;
    kubectl.apply(&pod("bound", &format!("nodeName: {node}")))
}

/// Both run.
pub(crate) fn run(scenario: &Scenario, node: &str) -> Result<()> {
    let kubectl = scenario.control_plane.kubectl()?;
    for name in [format!("static-{node}"), "bound".to_owned()] {
        let status = wait_until(&format!("pod {name} to start"), JOIN, || {
            let Ok(pod) = kubectl.get(&["pod", &name]) else { return Ok(None) };
            Ok((pod["status"]["phase"] != "Pending").then(|| pod["status"].clone()))
        })
        .with_context(|| of_kubelet(scenario))?;
        ensure!(status["phase"] == "Running", "pod {name}: {status}");
    }
    Ok(())
}

/// What the kubelet said of its pods: one that it refuses at its start is not even shown to the API server.
fn of_kubelet(scenario: &Scenario) -> String {
    const SAID: &str = "journalctl -u kubelet --no-pager -o cat | grep -i pod | tail -n 20";
    scenario.node.sh(SAID, &[]).unwrap_or_else(|error| format!("{error:#}"))
}
