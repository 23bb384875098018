//! Which tokens there are, without the secret of any.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::ListParams;
use kube::core::{Request, Resource};
use kube::{Api, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{NAME_PREFIX, NAMESPACE, NODE_ANNOTATION, SECRET_TYPE};
use crate::cluster::approver::CLAIM_PREFIX;
use crate::cluster::client::{CallError, Cluster};
use crate::cluster::{self, AUTO_APPROVE_GROUP, NODE_GROUP_PREFIX, TOKEN_GROUP, node_group};
use crate::names::NodeName;

/// The tokens of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tokens {
    /// Each, by its id.
    pub tokens: Vec<Listed>,
    /// How many bootstrap tokens of others there are: of kubeadm, for example.
    pub foreign: usize,
}

/// A token of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its id: what comes before the dot.
    pub id: String,
    /// Whether its holder can still ask for a certificate.
    pub state: State,
    /// The node it is bound to; null where it is bound to none, or to one whose name is not known any more.
    pub node: Option<String>,
    /// Whether it is bound to a node.
    pub bound: bool,
    /// Whether the controller-manager approves what is asked for with it unseen, where the cluster is set up so.
    pub auto_approve: bool,
    /// When it ends; null where it never does.
    #[schemars(with = "Option<String>")]
    pub expires: Option<Timestamp>,
    /// What it was used for; null where it was not yet.
    pub used: Option<Use>,
}

/// Whether a token can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It can.
    Alive,
    /// It was used for a key; only that key may ask again.
    Used,
    /// Its time is over; the cluster clears it away.
    Expired,
}

/// The one key a token was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Use {
    /// The key: `sha256:` and the hash of its SubjectPublicKeyInfo.
    pub key: String,
    /// When; null where the approver did not say.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
}

/// What is read of the Secrets: the secret of a token gets into no structure.
#[derive(Deserialize)]
struct Secrets {
    items: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    metadata: FoundMetadata,
    #[serde(default)]
    data: FoundData,
}

#[derive(Deserialize)]
struct FoundMetadata {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct FoundData {
    auth_extra_groups: Option<ByteString>,
    expiration: Option<ByteString>,
}

/// Lists them.
///
/// # Errors
/// Where the cluster refuses.
pub async fn list(cluster: &Cluster, now: Timestamp) -> Result<Tokens, CallError> {
    let leases: Api<Lease> = Api::namespaced(cluster.client(), cluster::NAMESPACE);
    let nodes: Api<Node> = Api::all(cluster.client());
    let all = ListParams::default();
    let (secrets, leases, nodes) = futures::try_join!(
        secrets(cluster),
        cluster.call("list", format!("Leases in {}", cluster::NAMESPACE), leases.list(&all)),
        cluster.call("list", "Nodes", nodes.list_metadata(&all)),
    )?;
    let names = nodes.items.iter().filter_map(|node| node.name_any().parse().ok()).collect::<Vec<NodeName>>();
    Ok(tokens(secrets, &claims(leases.items), &names, now))
}

/// The answer as text, and of it what is needed: a client that fails to parse an answer logs it.
async fn secrets(cluster: &Cluster) -> Result<Secrets, CallError> {
    let params = ListParams::default().fields(&format!("type={SECRET_TYPE}"));
    let request = Request::new(Secret::url_path(&(), Some(NAMESPACE))).list(&params);
    let client = cluster.client();
    let answer = async {
        let text = Zeroizing::new(client.request_text(request.map_err(kube::Error::BuildRequest)?).await?);
        // What serde says of a text that it does not understand quotes no string of it, but it is not needed either.
        serde_json::from_str(&text).map_err(|_| {
            kube::Error::SerdeError(serde::de::Error::custom("the answer is no list of Secrets (not shown)"))
        })
    };
    cluster.call("list", format!("Secrets in {NAMESPACE}"), answer).await
}

/// Which key each token was used for, by its id.
fn claims(leases: Vec<Lease>) -> BTreeMap<String, Use> {
    let claim = |lease: Lease| {
        let id = lease.metadata.name.as_deref()?.strip_prefix(CLAIM_PREFIX)?.to_owned();
        let spec = lease.spec?;
        Some((id, Use { key: spec.holder_identity?, at: spec.acquire_time.map(|time| time.0) }))
    };
    leases.into_iter().filter_map(claim).collect()
}

fn tokens(secrets: Secrets, claims: &BTreeMap<String, Use>, nodes: &[NodeName], now: Timestamp) -> Tokens {
    let mut tokens = Tokens::default();
    for secret in secrets.items {
        let text = |value: &Option<ByteString>| {
            value.as_ref().map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default()
        };
        let groups = text(&secret.data.auth_extra_groups);
        let groups: Vec<&str> = groups.split(',').map(str::trim).collect();
        let id = secret.metadata.name.strip_prefix(NAME_PREFIX);
        let (true, Some(id)) = (groups.contains(&TOKEN_GROUP), id) else {
            tokens.foreign += 1;
            continue;
        };
        let group = groups.iter().find(|group| group.starts_with(NODE_GROUP_PREFIX));
        let expires = text(&secret.data.expiration).parse::<Timestamp>().ok();
        let used = claims.get(id).cloned();
        let state = match &used {
            _ if expires.is_some_and(|expires| expires <= now) => State::Expired,
            Some(_) => State::Used,
            None => State::Alive,
        };
        tokens.tokens.push(Listed {
            id: id.to_owned(),
            state,
            node: group.and_then(|group| node(group, &secret.metadata.annotations, nodes)),
            bound: group.is_some(),
            auto_approve: groups.contains(&AUTO_APPROVE_GROUP),
            expires,
            used,
        });
    }
    tokens.tokens.sort_by(|a, b| a.id.cmp(&b.id));
    tokens
}

/// The name behind a node's group: that of the annotation where it is true, or of a Node that is there.
fn node(group: &str, annotations: &BTreeMap<String, String>, nodes: &[NodeName]) -> Option<String> {
    let said = annotations.get(NODE_ANNOTATION).and_then(|name| name.parse().ok());
    let mut candidates = said.iter().chain(nodes);
    candidates.find(|name| node_group(name) == group).map(|name| name.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn base64(text: &str) -> Value {
        json!(ByteString(text.as_bytes().to_vec()))
    }

    fn secret(id: &str, groups: &str, expires: &str, node: Option<&str>) -> Value {
        let mut data = json!({
            "auth-extra-groups": base64(groups), "token-id": base64(id), "token-secret": base64("canary"),
        });
        if !expires.is_empty() {
            data["expiration"] = base64(expires);
        }
        let annotations = node.map(|node| json!({NODE_ANNOTATION: node})).unwrap_or(json!({}));
        json!({"metadata": {"name": format!("bootstrap-token-{id}"), "annotations": annotations}, "data": data})
    }

    fn listed(secrets: &[Value], claims: &BTreeMap<String, Use>, nodes: &[&str]) -> Tokens {
        let secrets = serde_json::from_value(json!({"items": secrets})).unwrap();
        let nodes: Vec<NodeName> = nodes.iter().map(|name| name.parse().unwrap()).collect();
        tokens(secrets, claims, &nodes, "2026-01-01T12:00:00Z".parse().unwrap())
    }

    fn bound_to(node: &str) -> String {
        format!("{TOKEN_GROUP},{}", node_group(&node.parse().unwrap()))
    }

    const LATER: &str = "2026-01-01T13:00:00Z";

    #[test]
    fn tokens_of_others_are_counted_and_not_shown() {
        let kubeadm = secret("kubeadm", "system:bootstrappers:kubeadm:default-node-token", "", None);
        let none = json!({"metadata": {"name": "bootstrap-token-000000"}});
        let ours = secret("aaaaaa", TOKEN_GROUP, LATER, None);
        let found = listed(&[kubeadm, none, ours], &BTreeMap::new(), &[]);
        assert_eq!((found.foreign, found.tokens.len()), (2, 1));
        assert_eq!((found.tokens[0].bound, found.tokens[0].auto_approve), (false, false));
    }

    #[test]
    fn node_is_that_of_the_annotation_where_it_is_true_and_else_of_a_node_that_is_there() {
        let node = |said: Option<&str>, nodes: &[&str]| {
            let found =
                listed(&[secret("aaaaaa", &bound_to("worker-1"), LATER, said)], &BTreeMap::new(), nodes);
            assert!(found.tokens[0].bound);
            found.tokens[0].node.clone()
        };
        assert_eq!(node(Some("worker-1"), &[]).as_deref(), Some("worker-1"));
        assert_eq!(node(Some("worker-2"), &[]), None, "an annotation binds nothing");
        assert_eq!(node(Some("worker-2"), &["worker-1"]).as_deref(), Some("worker-1"));
        assert_eq!(node(None, &["worker-0", "worker-1"]).as_deref(), Some("worker-1"));
    }

    #[test]
    fn state_tells_whether_it_can_still_be_used() {
        let claim = Use { key: "sha256:00".to_owned(), at: None };
        let claims = BTreeMap::from([("used00".to_owned(), claim.clone())]);
        let secrets = [
            secret("alive0", TOKEN_GROUP, LATER, None),
            secret("ended0", TOKEN_GROUP, "2026-01-01T12:00:00Z", None),
            secret("used00", TOKEN_GROUP, LATER, None),
            secret("zever0", TOKEN_GROUP, "", None),
        ];
        let states: Vec<State> =
            listed(&secrets, &claims, &[]).tokens.iter().map(|token| token.state).collect();
        assert_eq!(states, [State::Alive, State::Expired, State::Used, State::Alive]);
    }

    #[test]
    fn secret_of_a_token_is_nowhere() {
        let found = listed(&[secret("aaaaaa", &bound_to("a"), LATER, Some("a"))], &BTreeMap::new(), &[]);
        let told = format!("{found:?}{}", serde_json::to_string(&found).unwrap());
        assert!(told.contains("aaaaaa") && !told.contains("canary") && !told.contains("Y2FuYXJ5"), "{told}");
    }

    #[test]
    fn a_lease_says_which_key_a_token_was_used_for() {
        let lease = |value: Value| serde_json::from_value::<Lease>(value).unwrap();
        let found = claims(vec![
            lease(json!({"metadata": {"name": "token-abcdef"},
                "spec": {"holderIdentity": "sha256:11", "acquireTime": "2026-01-01T11:00:00.000000Z"}})),
            lease(json!({"metadata": {"name": "other"}, "spec": {"holderIdentity": "x"}})),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found["abcdef"].key, "sha256:11");
        assert_eq!(found["abcdef"].at, "2026-01-01T11:00:00Z".parse().ok());
    }
}
