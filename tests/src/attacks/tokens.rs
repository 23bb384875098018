//! What a token is, and what its holder can do beside asking for a certificate.

use anyhow::{Context as _, Result};
use k8s_openapi::{
    api::{
        certificates::v1::CertificateSigningRequest,
        core::v1::{Node, Secret},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
};
use rcgen::KeyPair;
use serde_json::json;

use super::{
    stage::{PATIENCE, Permission, Stage},
    verdict::{Line, Outcome},
};
use crate::requests::{
    Envelope,
    pkcs10::{Pkcs10, base64},
};

const CLASS: &str = "token";

/// An hour, the default, in seconds.
const LIFE: i64 = 3600;

pub(super) async fn run(stage: &Stage<'_>) -> Result<Vec<Line>> {
    let token = stage.requesters.make_token(&["--node", "k1"]).await?;
    let holder = stage.requesters.holder(&token)?;
    let mut lines = vec![secret(stage, &token).await?];
    lines.extend(rights(&holder).await);
    lines.push(chain(stage, &holder).await?);
    Ok(lines)
}

/// What the Secret says.
async fn secret(stage: &Stage<'_>, token: &str) -> Result<Line> {
    let (id, _) = token.split_once('.').context("a token has a dot")?;
    let secrets: Api<Secret> = Api::namespaced(stage.admin.clone(), "kube-system");
    let data = secrets.get(&format!("bootstrap-token-{id}")).await?.data.unwrap_or_default();
    let text = |key: &str| data.get(key).map(|value| String::from_utf8_lossy(&value.0).into_owned());
    let expires: Timestamp = text("expiration").context("the token does not end")?.parse()?;
    let left = expires.as_second() - Timestamp::now().as_second();
    let usages: Vec<&str> = data.keys().filter(|key| key.starts_with("usage-")).map(String::as_str).collect();
    Ok(Line {
        class: CLASS,
        what: "how long it lives, and what for".to_owned(),
        by: "token of k1".to_owned(),
        expected: format!("at most {LIFE} s, usage-bootstrap-authentication"),
        ok: (1..=LIFE).contains(&left) && usages == ["usage-bootstrap-authentication"],
        observed: if left > LIFE - 60 {
            format!("{LIFE} s, {}", usages.join(", "))
        } else {
            format!("{left} s")
        },
    })
}

/// What else its holder may do: nothing.
async fn rights(holder: &Client) -> Vec<Line> {
    let refused = |what: &str, answer: Result<(), kube::Error>| {
        let code = match &answer {
            Err(kube::Error::Api(status)) => status.code,
            _ => 0,
        };
        Line {
            class: CLASS,
            what: what.to_owned(),
            by: "token of k1".to_owned(),
            expected: Outcome::Refused(403).to_string(),
            observed: if code == 0 { format!("{answer:?}") } else { Outcome::Refused(code).to_string() },
            ok: code == 403,
        }
    };
    let (secrets, nodes): (Api<Secret>, Api<Node>) = (Api::all(holder.clone()), Api::all(holder.clone()));
    let csrs: Api<CertificateSigningRequest> = Api::all(holder.clone());
    let approved = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "row-000"}});
    let approval = kube::api::PatchParams::default();
    let patch = kube::api::Patch::Merge(approved);
    vec![
        refused("to list Secrets", secrets.list(&ListParams::default()).await.map(drop)),
        refused("to list Nodes", nodes.list(&ListParams::default()).await.map(drop)),
        refused("to approve a request", csrs.patch_approval("row-000", &approval, &patch).await.map(drop)),
    ]
}

/// The control of all: the certificate that a token brings is a node's, which makes its Node with it.
async fn chain(stage: &Stage<'_>, holder: &Client) -> Result<Line> {
    let key = KeyPair::generate()?;
    let envelope = Envelope::kubelet_client(Pkcs10::node("k1").pem_with(&key)?);
    let uid = stage.send(holder, "token-chain", &envelope, Permission::May).await?;
    stage.observe(&uid, Outcome::Issued, PATIENCE).await;
    let csrs: Api<CertificateSigningRequest> = Api::all(holder.clone());
    let certificate = csrs.get("token-chain").await?.status.and_then(|status| status.certificate);
    let certificate = certificate.context("no certificate was issued")?;
    let mut config = Config::new(stage.control_plane.server().parse()?);
    config.root_cert_file = Some(stage.control_plane.ca());
    config.auth_info.client_certificate_data = Some(base64(&certificate.0));
    config.auth_info.client_key_data = Some(base64(key.serialize_pem().as_bytes()).into());
    let nodes: Api<Node> = Api::all(Client::try_from(config)?);
    let node = serde_json::from_value(json!({"metadata": {"name": "k1"}}))?;
    let made = nodes.create(&PostParams::default(), &node).await.map(|_| ());
    Ok(Line {
        class: CLASS,
        what: "a certificate, and with it its own Node".to_owned(),
        by: "token of k1".to_owned(),
        expected: "made".to_owned(),
        ok: made.is_ok(),
        observed: made.map_or_else(|error| error.to_string(), |()| "made".to_owned()),
    })
}
