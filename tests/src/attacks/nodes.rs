//! The Nodes of the scenes, and what they say of themselves.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::stage::Stage;

/// Name and addresses, as (type, address).
type Described<'a> = (&'a str, &'a [(&'a str, &'a str)]);

const NODES: &[Described<'static>] = &[
    (
        "n1",
        &[
            ("Hostname", "n1"),
            ("InternalIP", "10.77.0.1"),
            ("InternalDNS", "n1.corp.example"),
            ("ExternalIP", "fd77::1"),
        ],
    ),
    ("n2", &[("Hostname", "n2"), ("InternalIP", "10.77.0.2")]),
    ("a", &[("Hostname", "a"), ("InternalIP", "10.77.0.3")]),
    ("f1", &[("Hostname", "f1"), ("InternalIP", "10.77.0.4")]),
    ("f2", &[("Hostname", "f2"), ("InternalIP", "10.77.0.6")]),
    (
        "victim",
        &[("Hostname", "victim"), ("InternalIP", "10.77.0.5"), ("InternalDNS", "victim.corp.example")],
    ),
];

/// What the liar says it is, beside the API server's endpoint.
const LIES: &[(&str, &str)] = &[
    ("Hostname", "liar"),
    ("InternalIP", "10.77.0.5"),
    ("InternalDNS", "victim"),
    ("ExternalDNS", "victim.corp.example"),
    ("InternalDNS", "localhost"),
    ("ExternalDNS", "LOCALHOST"),
    ("InternalDNS", "x.localhost"),
    ("InternalDNS", "127.0.0.1"),
    ("ExternalIP", "127.0.0.1"),
    ("InternalIP", "127.77.0.1"),
    ("InternalIP", "::ffff:127.0.0.1"),
    ("InternalIP", "::1"),
    ("InternalIP", "0.0.0.0"),
    ("InternalIP", "::"),
    ("InternalIP", "169.254.169.254"),
    ("InternalIP", "fe80::1"),
    ("InternalIP", "224.0.0.1"),
    ("InternalIP", "255.255.255.255"),
    ("InternalDNS", "*.corp.example"),
    ("InternalDNS", "*"),
    ("InternalDNS", "kubernetes"),
    ("InternalDNS", "kubernetes.default"),
    ("InternalDNS", "kubernetes.default.svc"),
    ("InternalDNS", "kubernetes.default.svc."),
    ("InternalDNS", "kubernetes.default.svc.cluster.local"),
    ("InternalDNS", "KUBERNETES.Default.svc"),
    ("InternalIP", "10.96.0.1"),
    ("InternalIP", "::ffff:10.96.0.1"),
];

/// Makes the Nodes that rows speak of. What a Node lists, it lists by its own credential, as a kubelet does.
pub(super) async fn create_all(stage: &Stage<'_>) -> Result<()> {
    let endpoint = stage.control_plane.run().host_address().to_string();
    for (name, addresses) in NODES {
        create(&stage.admin, name, &json!({})).await?;
        list(&stage.requesters.node(name).await?, name, addresses).await?;
    }
    set_ready(&stage.admin, "n1", "True", Duration::ZERO).await?;
    create(&stage.admin, "liar", &json!({})).await?;
    let lies: Vec<_> = LIES.iter().copied().chain([("InternalIP", endpoint.as_str())]).collect();
    list(&stage.requesters.node("liar").await?, "liar", &lies).await?;
    create(&stage.admin, "cp", &json!({"node-role.kubernetes.io/control-plane": ""})).await?;
    let addresses = [("Hostname", "cp"), ("InternalIP", endpoint.as_str()), ("ExternalIP", "10.96.0.1")];
    list(&stage.requesters.node("cp").await?, "cp", &addresses).await
}

/// Makes a Node.
pub(super) async fn create(client: &Client, name: &str, labels: &Value) -> Result<()> {
    let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
    api(client)
        .create(&PostParams::default(), &node)
        .await
        .with_context(|| format!("cannot create Node {name}"))?;
    Ok(())
}

/// Deletes a Node.
pub(super) async fn delete(client: &Client, name: &str) -> Result<()> {
    api(client).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Has a Node list addresses.
pub(super) async fn list(client: &Client, name: &str, addresses: &[(&str, &str)]) -> Result<()> {
    let addresses: Vec<Value> =
        addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
    patch(client, name, &json!({"status": {"addresses": addresses}})).await
}

/// Gives a Node the condition Ready with this status, since `age`.
pub(super) async fn set_ready(client: &Client, name: &str, status: &str, age: Duration) -> Result<()> {
    let seconds = Timestamp::now().as_second() - i64::try_from(age.as_secs())?;
    let since = Timestamp::from_second(seconds)?.to_string();
    let condition = json!({"type": "Ready", "status": status, "reason": "Lab", "message": "set by the lab",
        "lastHeartbeatTime": since, "lastTransitionTime": since});
    patch(client, name, &json!({"status": {"conditions": [condition]}})).await
}

async fn patch(client: &Client, name: &str, status: &Value) -> Result<()> {
    // A merge patch: the strategic one keeps a single address of each type.
    api(client)
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .with_context(|| format!("cannot patch the status of Node {name}"))?;
    Ok(())
}

fn api(client: &Client) -> Api<Node> {
    Api::all(client.clone())
}
