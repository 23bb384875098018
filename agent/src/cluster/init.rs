//! What a cluster needs so that machines can join it: role bindings, and the approver's own rights.
//!
//! Applied with server-side apply, so that running it again changes nothing, and only what differs is touched.

use std::fmt::{self, Debug};

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ObjectMeta, Resource};
use kube::{Api, ResourceExt};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::cluster::client::{CallError, Cluster};
use crate::cluster::{
    AUTO_APPROVE_BINDING, AUTO_APPROVE_GROUP, BOOTSTRAPPER_BINDING, FIELD_MANAGER, NODECLIENT_ROLE,
    NODES_GROUP, SELFNODECLIENT_ROLE, TOKEN_GROUP, policy,
};

const APPROVER: &str = "kn-agent:approver";
const APPROVER_ACCOUNT: &str = "kn-agent-approver";
const APPROVER_NAMESPACE: &str = "kube-system";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The group every bootstrap token is in, whoever made it, and the groups of everybody.
const BROAD_GROUPS: [&str; 3] = ["system:bootstrappers", "system:authenticated", "system:unauthenticated"];

/// What the operator chose.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Have the controller-manager approve the first certificate of whoever holds a token of ours.
    pub auto_approve: bool,
    /// A user of the API server's static token file that may ask for certificates too.
    pub static_user: Option<String>,
    /// Ask the server what would change, and change nothing.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Whether nothing was really changed.
    pub dry_run: bool,
    /// Each object, in the order applied.
    pub objects: Vec<Applied>,
    /// What the operator should know about this cluster.
    pub warnings: Vec<String>,
}

/// One object and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Applied {
    /// Its kind.
    pub kind: String,
    /// Its name, behind its namespace where it has one.
    pub name: String,
    /// What became of it.
    pub result: Change,
    /// The fields that differ from before.
    pub fields: Vec<String>,
}

/// What applying an object did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Created,
    /// It was there as it should be.
    Unchanged,
    /// It was there, but different.
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
        })
    }
}

/// Why the cluster could not be set up. What was applied before stays; running it again goes on from there.
#[derive(Debug, Error)]
pub enum InitError {
    /// A request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A binding of our name binds something else, and what a binding binds cannot be changed.
    #[error(
        "ClusterRoleBinding {name} binds {found}, expected ClusterRole {expected}; a binding's role cannot be changed, \
         so remove it and run this again: kubectl delete clusterrolebinding {name}"
    )]
    OtherRole {
        /// The binding.
        name: String,
        /// What it binds.
        found: String,
        /// What it should bind.
        expected: String,
    },
}

/// Applies everything `options` ask for.
///
/// # Errors
/// At the first object that cannot be read or applied.
pub async fn init(cluster: &Cluster, options: &Options) -> Result<Outcome, InitError> {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client());
    let existing =
        cluster.call("list", "ClusterRoleBindings", bindings.list(&ListParams::default())).await?.items;
    let wanted = wanted_bindings(options);
    for binding in &wanted {
        same_role(binding, &existing)?;
    }
    let mut outcome =
        Outcome { dry_run: options.dry_run, objects: Vec::new(), warnings: warnings(&existing, options) };
    let accounts = Api::namespaced(cluster.client(), APPROVER_NAMESPACE);
    outcome.objects.push(apply(cluster, &accounts, &approver_account(), options.dry_run).await?);
    let roles = Api::all(cluster.client());
    outcome.objects.push(apply(cluster, &roles, &approver_role(), options.dry_run).await?);
    for binding in &wanted {
        outcome.objects.push(apply(cluster, &bindings, binding, options.dry_run).await?);
    }
    Ok(outcome)
}

/// Applies one object and compares it with what was there.
async fn apply<K>(cluster: &Cluster, api: &Api<K>, wanted: &K, dry_run: bool) -> Result<Applied, CallError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let kind = K::kind(&()).into_owned();
    let name = wanted.name_any();
    let object = format!("{kind} {name}");
    let before = cluster.call("get", &object, api.get_opt(&name)).await?;
    let params = PatchParams {
        dry_run,
        force: true,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let after = cluster.call("apply", &object, api.patch(&name, &params, &Patch::Apply(wanted))).await?;
    let fields = before.as_ref().map(|before| differing(before, &after)).unwrap_or_default();
    let result = match (&before, fields.is_empty()) {
        (None, _) => Change::Created,
        (Some(_), true) => Change::Unchanged,
        (Some(_), false) => Change::Changed,
    };
    let name = wanted.namespace().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
    Ok(Applied { kind, name, result, fields })
}

/// The fields in which two versions of an object differ, leaving out what the server keeps for itself.
fn differing<K: Serialize>(before: &K, after: &K) -> Vec<String> {
    let (before, after) = (content(before), content(after));
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn content<K: Serialize>(object: &K) -> Map<String, Value> {
    let Ok(Value::Object(mut content)) = serde_json::to_value(object) else { return Map::new() };
    if let Some(Value::Object(metadata)) = content.remove("metadata") {
        let kept = metadata.into_iter().filter(|(key, _)| matches!(key.as_str(), "labels" | "annotations"));
        content.extend(kept.map(|(key, value)| (format!("metadata.{key}"), value)));
    }
    content
}

fn same_role(wanted: &ClusterRoleBinding, existing: &[ClusterRoleBinding]) -> Result<(), InitError> {
    let name = wanted.name_any();
    match existing.iter().find(|binding| binding.name_any() == name) {
        Some(found) if found.role_ref != wanted.role_ref => Err(InitError::OtherRole {
            name,
            found: format!("{} {}", found.role_ref.kind, found.role_ref.name),
            expected: wanted.role_ref.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// What the operator should know: the risk they chose, and bindings that make every token a key to every node.
fn warnings(existing: &[ClusterRoleBinding], options: &Options) -> Vec<String> {
    let mut warnings = Vec::new();
    if options.auto_approve {
        warnings.push(format!(
            "with --auto-approve=any-token, whoever holds a token of the group {AUTO_APPROVE_GROUP} can become any \
             node of this cluster, one that exists included, and read that node's secrets; keep tokens short-lived. \
             Undo: kubectl delete clusterrolebinding {AUTO_APPROVE_BINDING}"
        ));
    } else if existing.iter().any(|binding| binding.name_any() == AUTO_APPROVE_BINDING) {
        warnings.push(format!(
            "ClusterRoleBinding {AUTO_APPROVE_BINDING} of an earlier run is still there: new tokens are approved \
             unseen. Undo: kubectl delete clusterrolebinding {AUTO_APPROVE_BINDING}"
        ));
    }
    for binding in existing.iter().filter(|binding| binding.role_ref.name == NODECLIENT_ROLE) {
        for group in binding.subjects.iter().flatten().filter(|subject| subject.kind == "Group") {
            if BROAD_GROUPS.contains(&group.name.as_str()) {
                let name = binding.name_any();
                warnings.push(format!(
                    "ClusterRoleBinding {name} gives {NODECLIENT_ROLE} to the group {}: the holder of any bootstrap \
                     token can become any node, whoever made the token and whatever for. Unless you mean that: kubectl \
                     delete clusterrolebinding {name}",
                    group.name
                ));
            }
        }
    }
    warnings
}

fn wanted_bindings(options: &Options) -> Vec<ClusterRoleBinding> {
    let mut bootstrappers = vec![subject("Group", TOKEN_GROUP)];
    bootstrappers.extend(options.static_user.iter().map(|user| subject("User", user)));
    let account = Subject {
        api_group: None,
        kind: "ServiceAccount".to_owned(),
        name: APPROVER_ACCOUNT.to_owned(),
        namespace: Some(APPROVER_NAMESPACE.to_owned()),
    };
    let mut bindings = vec![
        binding(BOOTSTRAPPER_BINDING, "system:node-bootstrapper", bootstrappers),
        binding("kn-agent:node-renewal", SELFNODECLIENT_ROLE, vec![subject("Group", NODES_GROUP)]),
        binding(APPROVER, APPROVER, vec![subject("User", APPROVER), account]),
    ];
    if options.auto_approve {
        bindings.push(binding(
            AUTO_APPROVE_BINDING,
            NODECLIENT_ROLE,
            vec![subject("Group", AUTO_APPROVE_GROUP)],
        ));
    }
    bindings
}

fn binding(name: &str, role: &str, subjects: Vec<Subject>) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: named(name),
        role_ref: RoleRef {
            api_group: RBAC.to_owned(),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(subjects),
    }
}

fn subject(kind: &str, name: &str) -> Subject {
    Subject {
        api_group: Some(RBAC.to_owned()),
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: None,
    }
}

fn approver_account() -> ServiceAccount {
    let metadata = ObjectMeta { namespace: Some(APPROVER_NAMESPACE.to_owned()), ..named(APPROVER_ACCOUNT) };
    ServiceAccount { metadata, ..ServiceAccount::default() }
}

/// Just what the approver does: read requests and Nodes, approve for its three signers, tell about it.
fn approver_role() -> ClusterRole {
    const CERTIFICATES: &str = "certificates.k8s.io";
    let rules = vec![
        rule(CERTIFICATES, "certificatesigningrequests", &[], &["get", "list", "watch"]),
        rule(CERTIFICATES, "certificatesigningrequests/approval", &[], &["update", "patch"]),
        rule(CERTIFICATES, "signers", &policy::SIGNERS, &["approve"]),
        rule("", "nodes", &[], &["get"]),
        rule("", "events", &[], &["create", "patch"]),
        rule("events.k8s.io", "events", &[], &["create", "patch"]),
    ];
    ClusterRole { metadata: named(APPROVER), rules: Some(rules), aggregation_rule: None }
}

fn rule(group: &str, resource: &str, names: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(&[resource])),
        resource_names: (!names.is_empty()).then(|| owned(names)),
        verbs: owned(verbs),
        non_resource_urls: None,
    }
}

fn named(name: &str) -> ObjectMeta {
    let labels = [("app.kubernetes.io/managed-by".to_owned(), "kn-agent".to_owned())];
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(auto_approve: bool) -> Options {
        Options { auto_approve, static_user: None, dry_run: false }
    }

    #[test]
    fn nodeclient_is_bound_on_request_only_and_never_to_all_tokens() {
        assert!(wanted_bindings(&options(false)).iter().all(|b| b.role_ref.name != NODECLIENT_ROLE));
        let bindings = wanted_bindings(&options(true));
        let auto: Vec<_> = bindings.iter().filter(|b| b.role_ref.name == NODECLIENT_ROLE).collect();
        assert_eq!(auto.len(), 1);
        assert_eq!(auto[0].subjects, Some(vec![subject("Group", AUTO_APPROVE_GROUP)]));
        let broad = |b: &ClusterRoleBinding| {
            b.subjects.iter().flatten().any(|s| BROAD_GROUPS.contains(&s.name.as_str()))
        };
        assert!(!bindings.iter().any(broad));
    }

    #[test]
    fn broad_binding_of_somebody_else_is_reported_and_a_narrow_one_is_not() {
        let broad = binding("all-tokens", NODECLIENT_ROLE, vec![subject("Group", "system:bootstrappers")]);
        let narrow =
            binding("kubeadm", NODECLIENT_ROLE, vec![subject("Group", "system:bootstrappers:kubeadm:x")]);
        let found = warnings(&[broad, narrow], &options(false));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("all-tokens") && found[0].contains("kubectl delete clusterrolebinding"));
    }

    #[test]
    fn risk_of_auto_approval_is_said() {
        assert!(warnings(&[], &options(true))[0].contains("can become any"));
        let left_over = binding(AUTO_APPROVE_BINDING, NODECLIENT_ROLE, vec![]);
        assert!(warnings(&[left_over], &options(false))[0].contains("still there"));
        assert!(warnings(&[], &options(false)).is_empty());
    }

    #[test]
    fn approver_reads_no_secrets_and_approves_for_its_signers_alone() {
        let rules = approver_role().rules.unwrap();
        let resources: Vec<_> = rules.iter().flat_map(|r| r.resources.clone().unwrap()).collect();
        assert!(!resources.iter().any(|r| r == "secrets" || r.contains('*')));
        let approve = rules.iter().find(|r| r.verbs == ["approve"]).unwrap();
        assert_eq!(approve.resource_names.as_deref().unwrap(), policy::SIGNERS);
    }

    #[test]
    fn binding_of_another_role_is_refused_with_the_command_that_removes_it() {
        let wanted = binding(BOOTSTRAPPER_BINDING, "system:node-bootstrapper", vec![]);
        let other = binding(BOOTSTRAPPER_BINDING, "cluster-admin", vec![]);
        let error = same_role(&wanted, &[other]).unwrap_err().to_string();
        assert!(
            error.contains("cluster-admin") && error.contains("kubectl delete clusterrolebinding"),
            "{error}"
        );
        same_role(&wanted, std::slice::from_ref(&wanted)).unwrap();
    }

    #[test]
    fn only_what_an_operator_may_set_counts_as_a_difference() {
        let before = binding("a", "role", vec![subject("User", "x")]);
        let mut after = before.clone();
        after.metadata.resource_version = Some("2".to_owned());
        assert!(differing(&before, &after).is_empty());
        after.subjects = None;
        after.metadata.labels = None;
        assert_eq!(differing(&before, &after), ["metadata.labels", "subjects"]);
    }
}
