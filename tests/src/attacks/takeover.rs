//! A token of a node whose Node exists: may its holder take the node's place?

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{Api, api::DeleteParams};

use super::{
    nodes,
    stage::{PATIENCE, Permission, Stage, line},
    verdict::{Line, Outcome},
};
use crate::requests::{Envelope, pkcs10::Pkcs10};

const CLASS: &str = "takeover";
const HELD: Outcome = Outcome::Held("NodeIsLive");

/// A Node's name, what is tried, its condition Ready (status, seconds), and what must come of it.
type Case = (&'static str, &'static str, Option<(&'static str, u64)>, Outcome);

const CASES: &[Case] = &[
    ("t-absent", "no Node", None, Outcome::Issued),
    ("t-ready", "the Node is Ready", Some(("True", 0)), HELD),
    ("t-old", "the Node is Ready since an hour", Some(("True", 3600)), HELD),
    ("t-minute", "the Node is not Ready since a minute", Some(("False", 60)), HELD),
    ("t-unknown", "the Node is unheard of since a minute", Some(("Unknown", 60)), HELD),
    ("t-hour", "the Node is not Ready since an hour", Some(("False", 3600)), Outcome::Issued),
    ("t-lost", "the Node is unheard of since an hour", Some(("Unknown", 3600)), Outcome::Issued),
];

/// What of a held request becomes approved when its Node changes, without another request.
const CHANGES: &[(&str, &str)] = &[
    ("t-ready", "held, then the Node is not Ready since an hour"),
    ("t-minute", "held, then the Node is deleted"),
];

pub(super) async fn run(stage: &Stage<'_>) -> Result<Vec<Line>> {
    let mut sent = Vec::new();
    for (name, what, ready, expected) in CASES {
        if let Some((status, age)) = ready {
            nodes::create(&stage.admin, name, &serde_json::json!({})).await?;
            nodes::set_ready(&stage.admin, name, status, Duration::from_secs(*age)).await?;
        }
        let client = stage.requesters.token(&["--node", name]).await?;
        let envelope = Envelope::kubelet_client(Pkcs10::node(name).pem()?);
        // Those that are held now may be approved after the Node changed, further down.
        let may = expected.allows_approval() || CHANGES.iter().any(|(changed, _)| changed == name);
        let permission = if may { Permission::May } else { Permission::Never };
        sent.push((name, what, *expected, stage.send(&client, name, &envelope, permission).await?));
    }
    let mut lines = Vec::new();
    for (name, what, expected, uid) in &sent {
        let observed = stage.observe(uid, *expected, PATIENCE).await;
        lines.push(line(CLASS, what, &format!("token of {name}"), *expected, &observed));
    }
    nodes::set_ready(&stage.admin, "t-ready", "False", Duration::from_hours(1)).await?;
    nodes::delete(&stage.admin, "t-minute").await?;
    for (name, what) in CHANGES {
        let uid =
            sent.iter().find(|(sent, ..)| *sent == name).map(|(.., uid)| uid.as_str()).unwrap_or_default();
        let observed = stage.observe(uid, Outcome::Issued, PATIENCE).await;
        lines.push(line(CLASS, what, &format!("token of {name}"), Outcome::Issued, &observed));
    }
    withdraw(stage).await?;
    lines.extend(rivals(stage).await?);
    Ok(lines)
}

/// What is still held would rightly be approved later: no kubelet speaks for these Nodes, and what comes after takes longer
/// than a Node must be unheard of.
async fn withdraw(stage: &Stage<'_>) -> Result<()> {
    let api: Api<CertificateSigningRequest> = Api::all(stage.admin.clone());
    for (name, _, _, expected) in CASES {
        if *expected == HELD {
            api.delete(name, &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

/// Two Nodes list the same: neither gets it while both are there, and one does when the other is gone.
async fn rivals(stage: &Stage<'_>) -> Result<Vec<Line>> {
    const CLASS: &str = "rival nodes";
    const RIVAL: Outcome = Outcome::Held("NameOfOtherNode");
    let endpoint = stage.control_plane.run().host_address();
    let cases = [
        ("its own name", "victim", Pkcs10::node("victim").dns("victim")),
        ("its own address", "victim", Pkcs10::node("victim").ip([10, 77, 0, 5])),
        (
            "the API server's endpoint, of a node labelled control-plane",
            "cp",
            Pkcs10::node("cp").ip(endpoint),
        ),
        (
            "the API server's service address, of a node labelled control-plane",
            "cp",
            Pkcs10::node("cp").ip([10, 96, 0, 1]),
        ),
    ];
    let mut sent = Vec::new();
    for (number, (what, node, request)) in cases.iter().enumerate() {
        let client = stage.requesters.node(node).await?;
        let envelope = Envelope::kubelet_serving(request.pem()?);
        let uid = stage.send(&client, &format!("rival-{number}"), &envelope, Permission::May).await?;
        sent.push((what, format!("node {node}"), uid));
    }
    let mut lines = Vec::new();
    for (what, by, uid) in &sent {
        let observed = stage.observe(uid, RIVAL, PATIENCE).await;
        lines.push(line(CLASS, &format!("{what}, which another Node lists too"), by, RIVAL, &observed));
    }
    nodes::delete(&stage.admin, "liar").await?;
    for (what, by, uid) in &sent {
        let observed = stage.observe(uid, Outcome::Issued, PATIENCE).await;
        lines.push(line(
            CLASS,
            &format!("{what}, after the other Node is deleted"),
            by,
            Outcome::Issued,
            &observed,
        ));
    }
    Ok(lines)
}
