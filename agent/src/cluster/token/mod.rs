//! Bootstrap tokens: what a machine shows to ask for its first certificate.

mod delete;
mod draw;
mod list;
mod ttl;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::PostParams;
use kube::core::{ObjectMeta, Request};
use kube::{Api, Resource};
use thiserror::Error;

use crate::cluster::client::{CallError, Cluster};
use crate::cluster::{
    AUTO_APPROVE_BINDING, AUTO_APPROVE_GROUP, BOOTSTRAPPER_BINDING, FIELD_MANAGER, MANAGED_BY,
    NODECLIENT_ROLE, TOKEN_GROUP, node_group,
};
use crate::names::{NodeName, Token};

pub use delete::{TokenId, delete};
pub use draw::draw;
pub use list::{Listed, State, Tokens, Use, list};
pub use ttl::parse_ttl;

/// Where the API server looks for tokens.
const NAMESPACE: &str = "kube-system";

/// The type of Secret the API server takes for a token.
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";

/// What the name of a token's Secret begins with; its id is the rest.
const NAME_PREFIX: &str = "bootstrap-token-";

/// The annotation that says in words which node a token is bound to. What binds it is its group.
const NODE_ANNOTATION: &str = "kn-agent.io/node";

/// How often to draw again where a token of the same id exists: 36⁶ ids make even one a rarity.
const DRAWS: usize = 3;

/// Who may join with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum For {
    /// This node alone: the approver approves nothing else for it.
    Node(NodeName),
    /// Whoever holds it, as any node.
    AnyNode {
        /// Have the controller-manager approve its certificate unseen.
        auto_approve: bool,
    },
}

/// Who approves the certificate that is asked for with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// `kn-agent approver`, for the node the token is bound to and no other.
    Approver,
    /// The controller-manager, unseen.
    Unseen,
    /// A person.
    Person,
}

/// What a token is good for beside asking for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Nothing.
    Authentication,
    /// The controller-manager signs the cluster's public information with it, by which a machine that knows no more than
    /// the hash of a public key finds the CA.
    AndSigning,
}

/// A token that the cluster knows now.
#[derive(Debug, Clone)]
pub struct Created {
    /// The token itself.
    pub token: Token,
    /// The node it is bound to.
    pub node: Option<NodeName>,
    /// When it ends.
    pub expires: Timestamp,
    /// Who approves what is asked for with it.
    pub approval: Approval,
    /// Whether the cluster lets its holder ask for a certificate at all.
    pub usable: bool,
}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// A request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Auto-approval was demanded of a cluster that has none.
    #[error(
        "ClusterRoleBinding {AUTO_APPROVE_BINDING} does not bind {NODECLIENT_ROLE} to {AUTO_APPROVE_GROUP}, so that \
         nothing would approve this token's certificate; set it up: kn-agent cluster init --auto-approve=any-token"
    )]
    NoAutoApproval,
    /// The machine gave no random numbers.
    #[error("cannot draw a token: the system's random number generator failed")]
    NoRandomness,
    /// What was drawn is no token, or a request could not be put into words: a defect of ours.
    #[error("cannot make the token's Secret: {0}")]
    Unspeakable(String),
}

/// Makes a token that lives for `ttl`.
///
/// # Errors
/// Where the cluster refuses, or is not set up for what `who` demands.
pub async fn create(
    cluster: &Cluster,
    ttl: Duration,
    who: &For,
    usage: Usage,
) -> Result<Created, TokenError> {
    let (auto, usable) =
        futures::try_join!(binding(cluster, AUTO_APPROVE_BINDING), binding(cluster, BOOTSTRAPPER_BINDING))?;
    let available = auto.is_some_and(|found| binds(&found, NODECLIENT_ROLE, AUTO_APPROVE_GROUP));
    let (node, approval) = match who {
        For::Node(node) => (Some(node.clone()), Approval::Approver),
        For::AnyNode { auto_approve: true } if !available => return Err(TokenError::NoAutoApproval),
        For::AnyNode { auto_approve: true } => (None, Approval::Unseen),
        For::AnyNode { auto_approve: false } => (None, Approval::Person),
    };
    let expires = in_whole_seconds(Timestamp::now(), ttl);
    let mut draws = 0;
    let token = loop {
        let token = draw()?;
        draws += 1;
        match post(cluster, &secret(&token, expires, who, usage)?).await {
            Ok(()) => break token,
            Err(TokenError::Call(error)) if error.is_already_exists() && draws < DRAWS => {}
            Err(error) => return Err(error),
        }
    };
    let usable = usable.is_some_and(|found| binds(&found, "system:node-bootstrapper", TOKEN_GROUP));
    Ok(Created { token, node, expires, approval, usable })
}

/// Sends the Secret and forgets the answer, which repeats the token: a client that fails to parse it would log it.
async fn post(cluster: &Cluster, secret: &Secret) -> Result<(), TokenError> {
    let object = format!("Secret {NAMESPACE}/{}", secret.metadata.name.as_deref().unwrap_or_default());
    let body = serde_json::to_vec(secret).map_err(|error| TokenError::Unspeakable(error.to_string()))?;
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
    let request = Request::new(Secret::url_path(&(), Some(NAMESPACE)))
        .create(&params, body)
        .map_err(|error| TokenError::Unspeakable(error.to_string()))?;
    let client = cluster.client();
    cluster.call("create", object, client.request_text(request)).await?;
    Ok(())
}

fn secret(token: &Token, expires: Timestamp, who: &For, usage: Usage) -> Result<Secret, TokenError> {
    let Some((id, key)) = token.expose().split_once('.') else {
        return Err(TokenError::Unspeakable("a bootstrap token has a dot".to_owned()));
    };
    let (groups, machine) = match who {
        For::Node(node) => (format!("{TOKEN_GROUP},{}", node_group(node)), format!("node {node}")),
        For::AnyNode { auto_approve: true } => {
            (format!("{TOKEN_GROUP},{AUTO_APPROVE_GROUP}"), "any node, approved unseen,".to_owned())
        }
        For::AnyNode { auto_approve: false } => (TOKEN_GROUP.to_owned(), "any node".to_owned()),
    };
    let description = format!("kn-agent token create: for {machine} to ask for its first certificate");
    let signing = (usage == Usage::AndSigning).then_some(("usage-bootstrap-signing", "true"));
    let fields = [
        ("token-id", id),
        ("token-secret", key),
        ("expiration", &expires.to_string()),
        ("usage-bootstrap-authentication", "true"),
        ("auth-extra-groups", &groups),
        ("description", &description),
    ];
    let annotations = match who {
        For::Node(node) => Some([(NODE_ANNOTATION.to_owned(), node.as_str().to_owned())].into()),
        For::AnyNode { .. } => None,
    };
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(format!("{NAME_PREFIX}{id}")),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
            annotations,
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        string_data: Some(
            fields
                .into_iter()
                .chain(signing)
                .map(|(field, value)| (field.to_owned(), value.to_owned()))
                .collect(),
        ),
        ..Secret::default()
    })
}

async fn binding(cluster: &Cluster, name: &str) -> Result<Option<ClusterRoleBinding>, CallError> {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client());
    cluster.call("get", format!("ClusterRoleBinding {name}"), bindings.get_opt(name)).await
}

fn binds(binding: &ClusterRoleBinding, role: &str, group: &str) -> bool {
    let bound = binding.subjects.iter().flatten().any(|s| s.kind == "Group" && s.name == group);
    bound && binding.role_ref.kind == "ClusterRole" && binding.role_ref.name == role
}

/// `ttl` after `now`, without a fraction: RFC 3339 as the API server's token cleaner reads it.
fn in_whole_seconds(now: Timestamp, ttl: Duration) -> Timestamp {
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(who: &For) -> Secret {
        made_for(who, Usage::Authentication)
    }

    fn made_for(who: &For, usage: Usage) -> Secret {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let expires = in_whole_seconds("2026-01-02T03:04:05.678Z".parse().unwrap(), Duration::from_hours(1));
        secret(&token, expires, who, usage).unwrap()
    }

    #[test]
    fn secret_is_for_authentication_alone_and_ends() {
        let made = made(&For::AnyNode { auto_approve: false });
        let data = made.string_data.unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("bootstrap-token-abcdef"));
        assert_eq!(made.type_.as_deref(), Some(SECRET_TYPE));
        assert_eq!(data["expiration"], "2026-01-02T04:04:05Z");
        assert_eq!(data["usage-bootstrap-authentication"], "true");
        assert!(!data.keys().any(|key| key.contains("signing")));
        assert_eq!(made.metadata.annotations, None);
    }

    #[test]
    fn a_token_signs_only_where_that_is_asked_for() {
        let node = For::Node("worker-1".parse().unwrap());
        let data = |usage| made_for(&node, usage).string_data.unwrap();
        assert_eq!(data(Usage::AndSigning)["usage-bootstrap-signing"], "true");
        let mut signing = data(Usage::AndSigning);
        signing.remove("usage-bootstrap-signing");
        assert_eq!(signing, data(Usage::Authentication));
    }

    #[test]
    fn groups_say_which_node_or_that_it_is_any() {
        let node: NodeName = "worker-1".parse().unwrap();
        let groups = |who: &For| made(who).string_data.unwrap()["auth-extra-groups"].clone();
        assert_eq!(groups(&For::AnyNode { auto_approve: false }), TOKEN_GROUP);
        assert_eq!(
            groups(&For::AnyNode { auto_approve: true }),
            format!("{TOKEN_GROUP},{AUTO_APPROVE_GROUP}")
        );
        let bound = groups(&For::Node(node.clone()));
        assert_eq!(bound, format!("{TOKEN_GROUP},{}", node_group(&node)));
        assert!(!bound.contains(AUTO_APPROVE_GROUP));
    }

    #[test]
    fn bound_token_names_its_node_for_people() {
        let made = made(&For::Node("worker-1".parse().unwrap()));
        assert_eq!(made.metadata.annotations.unwrap()[NODE_ANNOTATION], "worker-1");
        let description = made.string_data.unwrap()["description"].clone();
        assert!(description.contains("node worker-1") && description.contains("kn-agent token create"));
    }
}
