//! Labels that a node may not set on itself: what the configuration refuses is what the API server would refuse, and what
//! it takes, the API server takes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lab::{ControlPlane, Kubectl};

use super::from_make;

const NODE: &str = "labels-probe";

/// What a node may set, and what it may not. `kubernetes.io/os` and the host name are the agent's own to set.
const MAY: &[&str] = &[
    "rack",
    "example.com/rack",
    "notkubernetes.io/a",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/whatever",
    "sub.node.kubernetes.io/whatever",
    "kubelet.kubernetes.io/whatever",
    "beta.kubernetes.io/arch",
];
const MAY_NOT: &[&str] = &[
    "node-role.kubernetes.io/worker",
    "node-role.kubernetes.io/control-plane",
    "node-restriction.kubernetes.io/a",
    "sub.node-restriction.kubernetes.io/a",
    "kubernetes.io/role",
    "k8s.io/a",
    "sub.k8s.io/a",
    "example.kubernetes.io/a",
    "topology.kubernetes.io/rack",
];

/// Whether the configuration is valid with a label; what is said of it.
fn configuration(plane: &ControlPlane, label: &str) -> Result<(Option<i32>, String)> {
    let file = plane.run().directory().join("labelled.yaml");
    std::fs::write(
        &file,
        format!(
            "cluster: {{server: '{}', ca: {{file: {}}}}}\nidentity: {{token: {{file: /no/token}}}}\nnode: \
             {{name: {NODE}, labels: {{'{label}': a}}}}\n",
            plane.server(),
            plane.ca().display()
        ),
    )?;
    let program = from_make("KN_AGENT")?;
    // Of the environment it takes what begins with its name, as `make test` names it.
    let output = Command::new(program).env_clear().args(["config", "validate"]).arg(file).output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Whether the API server takes a Node with a label from the node itself; what is said of it.
fn api_server(node: &Kubectl, label: &str) -> Result<(bool, String)> {
    let manifest =
        format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}, labels: {{'{label}': a}}}}\n");
    let mut child = node
        .command(&["create", "--dry-run=server", "--validate=false", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no pipe")?.write_all(manifest.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Fails at the first label of which configuration and API server say different things.
pub(crate) fn are_judged_alike(plane: &ControlPlane) -> Result<()> {
    let (node, _) = plane.kubectl_as(NODE, &format!("system:node:{NODE}"), &["system:nodes"])?;
    for label in MAY {
        let (code, said) = configuration(plane, label)?;
        ensure!(code == Some(0), "`{label}` is refused here: {said}");
        let (taken, said) = api_server(&node, label)?;
        ensure!(taken, "`{label}` is taken here, and the API server refuses it: {said}");
    }
    for label in MAY_NOT {
        let (code, said) = configuration(plane, label)?;
        ensure!(
            code == Some(2) && said.contains("NodeRestriction") && said.contains(label),
            "`{label}`: {said}"
        );
        let (taken, said) = api_server(&node, label)?;
        ensure!(!taken && said.contains("is not allowed to set the following labels"), "`{label}`: {said}");
    }
    Ok(())
}
