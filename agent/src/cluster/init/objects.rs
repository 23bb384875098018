//! What is to be in the cluster, object by object.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::core::{ApiResource, DynamicObject, ObjectMeta, Resource};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::deployment::{self, Settings};
use super::flannel;
use crate::cluster::{
    APPROVER, APPROVER_ACCOUNT, APPROVER_TOKEN, AUTO_APPROVE_BINDING, AUTO_APPROVE_GROUP,
    BOOTSTRAPPER_BINDING, MANAGED_BY, NAMESPACE, NODECLIENT_ROLE, NODES_GROUP, SELFNODECLIENT_ROLE,
    TOKEN_GROUP, policy,
};

/// The group of every kind that says who may do what.
const RBAC: &str = "rbac.authorization.k8s.io";

/// What [`wanted`] depends on.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices {
    /// Have the controller-manager approve what holders of unbound tokens ask for.
    pub(super) auto_approve: bool,
    /// A user of the static token file.
    pub(super) static_user: Option<String>,
    /// Credentials of the approver's account that do not end.
    pub(super) account_token: bool,
    /// The approver as a Deployment.
    pub(super) deployment: Option<Settings>,
    /// flannel.
    pub(super) flannel: Option<flannel::Settings>,
}

/// One object as it is to be.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) object: Value,
    resource: ApiResource,
}

impl Wanted {
    /// One that is written as JSON: fields that are not named stay whose they are.
    pub(super) fn written<K: Resource<DynamicType = ()>>(
        (namespace, name): (&str, &str),
        object: Value,
    ) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            name: name.to_owned(),
            namespace: Some(namespace.to_owned()),
            object,
            resource: ApiResource::erase::<K>(&()),
        }
    }

    /// One of a kind that was looked up.
    pub(super) fn found(
        resource: &ApiResource,
        namespace: Option<String>,
        name: String,
        object: Value,
    ) -> Self {
        Self { kind: resource.kind.clone(), name, namespace, object, resource: resource.clone() }
    }

    pub(super) fn of<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            name: object.name_any(),
            namespace: object.namespace(),
            object: json!(object),
            resource: ApiResource::erase::<K>(&()),
        }
    }

    /// The way to it in a cluster.
    pub(super) fn api(&self, client: Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.resource),
            None => Api::all_with(client, &self.resource),
        }
    }

    /// Its name, behind its namespace where it has one.
    pub(super) fn path(&self) -> String {
        let namespace = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{namespace}{}", self.name)
    }
}

/// Every object, in the order it is applied: what others stand on first.
pub(super) fn wanted(choices: &Choices) -> Vec<Wanted> {
    let mut wanted = vec![Wanted::of(&namespace()), Wanted::of(&account())];
    wanted.extend([Wanted::of(&cluster_role())]);
    for (namespace, rules) in [(NAMESPACE, claim_rules()), ("default", default_rules())] {
        wanted.push(Wanted::of(&role(namespace, rules)));
        wanted.push(Wanted::of(&role_binding(namespace)));
    }
    wanted.extend(bindings(choices).iter().map(Wanted::of));
    if choices.account_token {
        wanted.push(Wanted::of(&account_token()));
    }
    wanted.extend(choices.deployment.iter().map(|settings| {
        Wanted::written::<Deployment>((NAMESPACE, APPROVER_ACCOUNT), deployment::object(settings))
    }));
    wanted.extend(choices.flannel.iter().flat_map(flannel::objects));
    wanted
}

pub(super) fn bindings(choices: &Choices) -> Vec<ClusterRoleBinding> {
    let mut bootstrappers = vec![subject("Group", TOKEN_GROUP)];
    bootstrappers.extend(choices.static_user.iter().map(|user| subject("User", user)));
    let mut bindings = vec![
        binding(BOOTSTRAPPER_BINDING, "system:node-bootstrapper", bootstrappers),
        binding("kn-agent:node-renewal", SELFNODECLIENT_ROLE, vec![subject("Group", NODES_GROUP)]),
        binding(APPROVER, APPROVER, vec![approver_subject()]),
    ];
    if choices.auto_approve {
        let holders = vec![subject("Group", AUTO_APPROVE_GROUP)];
        bindings.push(binding(AUTO_APPROVE_BINDING, NODECLIENT_ROLE, holders));
    }
    bindings
}

pub(super) fn binding(name: &str, role: &str, subjects: Vec<Subject>) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: named(name),
        role_ref: role_ref("ClusterRole", role),
        subjects: Some(subjects),
    }
}

fn role_binding(namespace: &str) -> RoleBinding {
    RoleBinding {
        metadata: in_namespace(namespace, APPROVER),
        role_ref: role_ref("Role", APPROVER),
        subjects: Some(vec![approver_subject()]),
    }
}

pub(super) fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: RBAC.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
}

pub(super) fn subject(kind: &str, name: &str) -> Subject {
    Subject {
        api_group: Some(RBAC.to_owned()),
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: None,
    }
}

fn approver_subject() -> Subject {
    Subject {
        api_group: None,
        kind: "ServiceAccount".to_owned(),
        name: APPROVER_ACCOUNT.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
    }
}

/// The approver's Deployment is on the host's network, which the standards of pod security below `privileged` forbid.
/// The label says so from the start: it would else have to come before the first pod, and stay when nobody asks for it.
fn namespace() -> Namespace {
    privileged(NAMESPACE)
}

/// A namespace whose pods may be on the host's network.
pub(super) fn privileged(name: &str) -> Namespace {
    let mut metadata = named(name);
    let labels = metadata.labels.get_or_insert_default();
    for mode in ["enforce", "audit", "warn"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), "privileged".to_owned());
    }
    Namespace { metadata, ..Namespace::default() }
}

fn account() -> ServiceAccount {
    ServiceAccount { metadata: in_namespace(NAMESPACE, APPROVER_ACCOUNT), ..ServiceAccount::default() }
}

/// Filled by the controller-manager with a token of the account, on every version.
fn account_token() -> Secret {
    let mut metadata = in_namespace(NAMESPACE, APPROVER_TOKEN);
    let account = ("kubernetes.io/service-account.name".to_owned(), APPROVER_ACCOUNT.to_owned());
    metadata.annotations = Some([account].into());
    let type_ = Some("kubernetes.io/service-account-token".to_owned());
    Secret { metadata, type_, ..Secret::default() }
}

/// Just what the approver does in the whole cluster: read requests and Nodes, decide for its three signers.
fn cluster_role() -> ClusterRole {
    const CERTIFICATES: &str = "certificates.k8s.io";
    let rules = vec![
        rule(CERTIFICATES, &["certificatesigningrequests"], &[], &["get", "list", "watch"]),
        rule(CERTIFICATES, &["certificatesigningrequests/approval"], &[], &["update"]),
        rule(CERTIFICATES, &["signers"], &policy::SIGNERS, &["approve"]),
        rule("", &["nodes"], &[], &["get", "list", "watch"]),
    ];
    ClusterRole { metadata: named(APPROVER), rules: Some(rules), aggregation_rule: None }
}

/// The Leases that say which key a token was used for.
fn claim_rules() -> Vec<PolicyRule> {
    vec![rule("coordination.k8s.io", &["leases"], &[], &["get", "list", "create", "delete"])]
}

/// Events on requests, which have no namespace, go to `default`; the API server's own addresses are there too.
fn default_rules() -> Vec<PolicyRule> {
    vec![
        rule("events.k8s.io", &["events"], &[], &["create", "patch"]),
        rule("", &["services", "endpoints"], &["kubernetes"], &["get", "list", "watch"]),
    ]
}

fn role(namespace: &str, rules: Vec<PolicyRule>) -> Role {
    Role { metadata: in_namespace(namespace, APPROVER), rules: Some(rules) }
}

pub(super) fn rule(group: &str, resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(resources)),
        resource_names: (!names.is_empty()).then(|| owned(names)),
        verbs: owned(verbs),
        non_resource_urls: None,
    }
}

pub(super) fn named(name: &str) -> ObjectMeta {
    let (label, value) = MANAGED_BY;
    let labels = [(label.to_owned(), value.to_owned())];
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() }
}

pub(super) fn in_namespace(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(namespace.to_owned()), ..named(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Choices {
        Choices { auto_approve: true, account_token: true, ..Choices::default() }
    }

    /// The whole of what the approver may do: a change of it is a change of this text.
    #[test]
    fn approver_has_these_rights_and_no_other() {
        let places = [
            ("cluster", cluster_role().rules.unwrap()),
            (NAMESPACE, role(NAMESPACE, claim_rules()).rules.unwrap()),
            ("default", role("default", default_rules()).rules.unwrap()),
        ];
        let said = |place: &str, rule: PolicyRule| {
            let list = |words: Option<Vec<String>>| words.unwrap_or_default().join(",");
            let names = rule.resource_names.map(|names| format!(" {}", names.join(","))).unwrap_or_default();
            let (group, resources) = (list(rule.api_groups), list(rule.resources));
            format!("{place}: {}: {resources}.{group}{names}\n", rule.verbs.join(","))
        };
        let lines = places
            .into_iter()
            .flat_map(|(place, rules)| rules.into_iter().map(move |rule| said(place, rule)));
        let text: String = lines.collect();
        let expected = "\
cluster: get,list,watch: certificatesigningrequests.certificates.k8s.io
cluster: update: certificatesigningrequests/approval.certificates.k8s.io
cluster: approve: signers.certificates.k8s.io kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,\
kubernetes.io/kube-apiserver-client
cluster: get,list,watch: nodes.
kn-agent: get,list,create,delete: leases.coordination.k8s.io
default: create,patch: events.events.k8s.io
default: get,list,watch: services,endpoints. kubernetes
";
        assert_eq!(text, expected);
    }

    #[test]
    fn rights_are_given_to_the_account_in_our_namespace_alone() {
        let account =
            json!([{"kind": "ServiceAccount", "name": "kn-agent-approver", "namespace": "kn-agent"}]);
        let bound: Vec<Wanted> =
            wanted(&choices()).into_iter().filter(|one| one.object["roleRef"]["name"] == APPROVER).collect();
        assert_eq!(bound.len(), 3);
        assert!(bound.iter().all(|one| one.object["subjects"] == account), "{bound:?}");
    }

    #[test]
    fn objects_come_after_what_they_stand_on_and_carry_our_label() {
        let wanted = wanted(&choices());
        let place = |kind: &str| wanted.iter().position(|one| one.kind == kind).unwrap();
        assert_eq!(place("Namespace"), 0);
        assert!(place("ServiceAccount") < place("Secret") && place("Role") < place("RoleBinding"));
        for one in &wanted {
            assert_eq!(one.object["metadata"]["labels"][MANAGED_BY.0], MANAGED_BY.1, "{}", one.path());
            assert!(one.object["apiVersion"].is_string() && one.object["kind"] == one.kind, "{}", one.path());
        }
    }

    #[test]
    fn nodeclient_is_bound_on_request_only_and_never_to_tokens_of_a_node() {
        let nodeclient = |choices: &Choices| {
            let bindings = bindings(choices).into_iter();
            bindings.filter(|b| b.role_ref.name == NODECLIENT_ROLE).collect::<Vec<_>>()
        };
        assert!(nodeclient(&Choices::default()).is_empty());
        let bound = nodeclient(&choices());
        assert_eq!(bound.len(), 1);
        assert_eq!(bound[0].subjects, Some(vec![subject("Group", AUTO_APPROVE_GROUP)]));
    }

    #[test]
    fn user_of_the_static_token_file_may_ask_too() {
        let with = Choices { static_user: Some("kubelet-bootstrap".to_owned()), ..Choices::default() };
        let subjects = bindings(&with)[0].subjects.clone().unwrap();
        assert_eq!(subjects, [subject("Group", TOKEN_GROUP), subject("User", "kubelet-bootstrap")]);
    }

    #[test]
    fn credentials_that_do_not_end_are_made_on_request_only() {
        let secrets = |choices: &Choices| wanted(choices).iter().filter(|one| one.kind == "Secret").count();
        assert_eq!((secrets(&Choices::default()), secrets(&choices())), (0, 1));
    }
}
