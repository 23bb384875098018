//! What of the cluster's side is in place, and whether it works: read by an administrator, changing nothing.

mod requests;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::client::Cluster;
use crate::cluster::init::{self, Change, Found, InitError, Outcome};
use crate::cluster::token::{self, State, Tokens};

pub use requests::{Decision, Held, Pending};

/// What the conditions of kn-agent on a Node begin with.
const NODE_CONDITION: &str = "KnAgent";

/// The state of a cluster's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The API server.
    pub server: String,
    /// Whether every object is as it should be and nothing says that no approver runs.
    pub complete: bool,
    /// Each object that `kn-agent cluster init` would apply.
    pub objects: Vec<Object>,
    /// What the operator should know about this cluster.
    pub warnings: Vec<String>,
    /// The approver.
    pub approver: Approver,
    /// Requests that nobody has decided, by their signer.
    pub requests: Vec<Pending>,
    /// How many tokens there are.
    pub tokens: TokenCounts,
    /// The cluster's nodes.
    pub nodes: Nodes,
}

/// An object and whether it is as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its name, behind its namespace where it has one.
    pub name: String,
    /// Whether it is as it should be.
    pub state: ObjectState,
    /// The fields that differ.
    pub fields: Vec<String>,
    /// The difference, as a unified diff of YAML.
    pub diff: String,
}

/// Whether an object is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ObjectState {
    /// It is.
    Right,
    /// It is there, but different.
    Differs,
    /// It is not there.
    Missing,
    /// It is there and of no more use.
    LeftOver,
}

/// What is known of the approver, which need not run in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approver {
    /// Whether one seems to run.
    pub runs: Runs,
    /// Its Deployment; null where there is none.
    pub deployment: Option<DeploymentState>,
    /// The last request that an approver said something of; requests are kept for an hour or a day.
    pub last_decision: Option<Decision>,
}

/// Whether an approver seems to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runs {
    /// Its Deployment has a pod that is available, or a request was decided within the last hour.
    Yes,
    /// A request that it would say something of has waited for half a minute without a word.
    No,
    /// Nothing tells.
    Unknown,
}

/// The approver's Deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeploymentState {
    /// Its image.
    pub image: String,
    /// How many pods are wanted.
    pub replicas: i32,
    /// How many are available.
    pub available: i32,
}

/// How many tokens of ours there are, by their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct TokenCounts {
    /// Whose holder can ask for a certificate.
    pub alive: usize,
    /// That were used for a key.
    pub used: usize,
    /// Whose time is over.
    pub expired: usize,
    /// Bootstrap tokens of others.
    pub foreign: usize,
}

/// The cluster's nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nodes {
    /// How many there are.
    pub total: usize,
    /// Those that are not Ready.
    pub not_ready: Vec<NotReady>,
}

/// A node that is not Ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotReady {
    /// Its name.
    pub name: String,
    /// Why, as its Ready condition says; empty where it has none.
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// What kn-agent on it says, where it says something.
    pub agent: Option<String>,
}

/// Looks at everything.
///
/// # Errors
/// Where the cluster does not answer or refuses to tell.
pub async fn look(cluster: &Cluster, now: Timestamp) -> Result<Status, InitError> {
    let found = Box::pin(Found::look(cluster)).await?;
    let options = found.options();
    let csrs: Api<CertificateSigningRequest> = Api::all(cluster.client());
    let nodes: Api<Node> = Api::all(cluster.client());
    let all = ListParams::default();
    let (outcome, csrs, nodes, tokens) = futures::try_join!(
        init::init_found(cluster, &options, &found),
        async { Ok(cluster.call("list", "CertificateSigningRequests", csrs.list(&all)).await?) },
        async { Ok(cluster.call("list", "Nodes", nodes.list(&all)).await?) },
        async { Ok(token::list(cluster, now).await?) },
    )?;
    let deployment = found.deployment.as_ref().map(deployment_state);
    let mut status = Status {
        server: cluster.server().to_owned(),
        complete: false,
        approver: requests::approver(&csrs.items, deployment, now),
        requests: requests::pending(&csrs.items),
        tokens: counts(&tokens),
        nodes: nodes_of(&nodes.items),
        warnings: outcome.warnings.clone(),
        objects: objects(outcome),
    };
    let right = status.objects.iter().all(|object| object.state == ObjectState::Right);
    status.complete = right && status.approver.runs != Runs::No;
    Ok(status)
}

fn objects(outcome: Outcome) -> Vec<Object> {
    let object = |applied: init::Applied| {
        let state = match applied.result {
            Change::Unchanged => ObjectState::Right,
            Change::Changed => ObjectState::Differs,
            Change::Created => ObjectState::Missing,
            Change::Removed => ObjectState::LeftOver,
        };
        Object { kind: applied.kind, name: applied.name, state, fields: applied.fields, diff: applied.diff }
    };
    outcome.objects.into_iter().map(object).collect()
}

fn deployment_state(deployment: &Deployment) -> DeploymentState {
    let spec = deployment.spec.as_ref();
    let pod = spec.and_then(|spec| spec.template.spec.as_ref());
    let image = pod.and_then(|pod| pod.containers.first()?.image.clone());
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas);
    DeploymentState {
        image: image.unwrap_or_default(),
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
        available: available.unwrap_or_default(),
    }
}

fn counts(tokens: &Tokens) -> TokenCounts {
    let count = |state| tokens.tokens.iter().filter(|token| token.state == state).count();
    TokenCounts {
        alive: count(State::Alive),
        used: count(State::Used),
        expired: count(State::Expired),
        foreign: tokens.foreign,
    }
}

fn nodes_of(nodes: &[Node]) -> Nodes {
    Nodes { total: nodes.len(), not_ready: nodes.iter().filter_map(not_ready).collect() }
}

fn not_ready(node: &Node) -> Option<NotReady> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    if ready.is_some_and(|ready| ready.status == "True") {
        return None;
    }
    let agent = conditions.iter().find(|condition| condition.type_.starts_with(NODE_CONDITION));
    Some(NotReady {
        name: node.name_any(),
        reason: ready.and_then(|ready| ready.reason.clone()).unwrap_or_default(),
        message: ready.and_then(|ready| ready.message.clone()).unwrap_or_default(),
        agent: agent.map(|condition| {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            format!("{}: {}", text(&condition.reason), text(&condition.message))
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, conditions: &serde_json::Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    #[test]
    fn node_that_is_not_ready_is_told_with_what_kn_agent_says_of_it() {
        let ready = node("a", &json!([{"type": "Ready", "status": "True"}]));
        let agent = json!({"type": "KnAgentHealthy", "status": "False", "reason": "UnitFailed", "message": "kubelet"});
        let down =
            json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "silent"});
        let nodes = nodes_of(&[ready, node("b", &json!([down, agent])), node("c", &json!([]))]);
        assert_eq!(nodes.total, 3);
        let [b, c] = nodes.not_ready.as_slice() else { panic!("{nodes:?}") };
        assert_eq!((b.name.as_str(), b.reason.as_str()), ("b", "NodeStatusUnknown"));
        assert_eq!(b.agent.as_deref(), Some("UnitFailed: kubelet"));
        assert_eq!((c.reason.as_str(), &c.agent), ("", &None));
    }

    #[test]
    fn state_of_an_object_is_what_init_would_do_to_it() {
        let applied = |result| init::Applied {
            kind: "ClusterRole".to_owned(),
            name: "a".to_owned(),
            result,
            fields: Vec::new(),
            diff: String::new(),
        };
        let changes = [Change::Unchanged, Change::Changed, Change::Created, Change::Removed];
        let outcome = Outcome { objects: changes.map(applied).to_vec(), ..Outcome::default() };
        let states: Vec<ObjectState> = objects(outcome).iter().map(|object| object.state).collect();
        assert_eq!(
            states,
            [ObjectState::Right, ObjectState::Differs, ObjectState::Missing, ObjectState::LeftOver]
        );
    }

    #[test]
    fn deployment_that_nobody_scaled_wants_one() {
        let deployment = json!({"metadata": {}, "status": {"availableReplicas": 1}, "spec": {"selector": {}, "template":
            {"spec": {"containers": [{"name": "approver", "image": "kn-agent:1"}]}}}});
        let state = deployment_state(&serde_json::from_value(deployment).unwrap());
        assert_eq!((state.image.as_str(), state.replicas, state.available), ("kn-agent:1", 1, 1));
    }
}
