//! What the operator should know of a cluster: the risk they chose, and bindings that make a token a key to every node.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Subject};
use kube::ResourceExt;

use crate::cluster::{AUTO_APPROVE_BINDING, AUTO_APPROVE_GROUP, NODE_GROUP_PREFIX, TOKEN_GROUP};

/// The groups of everybody, and the one every bootstrap token is in, whoever made it.
const EVERYBODY: [&str; 3] = ["system:bootstrappers", "system:authenticated", "system:unauthenticated"];

/// The group of tokens that `kubeadm token create` makes.
const KUBEADM_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// What to say; `asked` where auto-approval was asked for.
pub(super) fn warnings(bindings: &[ClusterRoleBinding], roles: &[ClusterRole], asked: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if asked {
        warnings.push(format!(
            "with --auto-approve=any-token, whoever holds a token of the group {AUTO_APPROVE_GROUP} can become any \
             node of this cluster, one that exists included, and read that node's secrets; make few of them (kn-agent \
             token create --any-node --auto-approve), and short-lived. Undo: kubectl delete clusterrolebinding \
             {AUTO_APPROVE_BINDING}"
        ));
    } else if bindings.iter().any(|binding| binding.name_any() == AUTO_APPROVE_BINDING) {
        warnings.push(format!(
            "ClusterRoleBinding {AUTO_APPROVE_BINDING} of an earlier run is still there: tokens of the group \
             {AUTO_APPROVE_GROUP} are approved unseen. Undo: kubectl delete clusterrolebinding {AUTO_APPROVE_BINDING}"
        ));
    }
    for binding in bindings.iter().filter(|binding| approves_any_node(binding, roles)) {
        let subjects = binding.subjects.iter().flatten().filter(|subject| subject.kind == "Group");
        warnings.extend(subjects.filter_map(|subject| about(binding, subject)));
    }
    warnings
}

/// What to say of a group that gets any node's certificate approved by the controller-manager.
fn about(binding: &ClusterRoleBinding, group: &Subject) -> Option<String> {
    let (binding, role, group) = (binding.name_any(), &binding.role_ref.name, group.name.as_str());
    if EVERYBODY.contains(&group) {
        return Some(format!(
            "ClusterRoleBinding {binding} gives {role} to the group {group}: the holder of any bootstrap token can \
             become any node, whoever made the token and whatever for; binding a token to a node is void. Unless you \
             mean that: kubectl delete clusterrolebinding {binding}"
        ));
    }
    if group == TOKEN_GROUP || group.starts_with(NODE_GROUP_PREFIX) {
        return Some(format!(
            "ClusterRoleBinding {binding} gives {role} to the group {group}, which is of tokens of kn-agent: the \
             controller-manager approves any node's name for them before the approver has looked; binding a token to \
             a node is void. Unless you mean that: kubectl delete clusterrolebinding {binding}"
        ));
    }
    (group == KUBEADM_GROUP).then(|| {
        format!(
            "ClusterRoleBinding {binding} gives {role} to the group {group}: the holder of a token of `kubeadm token \
             create` can become any node. Tokens of kn-agent are not in that group; where no machine joins with \
             kubeadm any more: kubectl delete clusterrolebinding {binding}"
        )
    })
}

/// Whether what it binds lets the controller-manager approve any node's first certificate: by whatever role, because a
/// role of another name with the same rule does the same.
fn approves_any_node(binding: &ClusterRoleBinding, roles: &[ClusterRole]) -> bool {
    let role = roles.iter().find(|role| role.name_any() == binding.role_ref.name);
    let known = binding.role_ref.name == crate::cluster::NODECLIENT_ROLE;
    known || role.is_some_and(|role| role.rules.iter().flatten().any(allows_nodeclient))
}

/// Whether a rule lets `create` `certificatesigningrequests/nodeclient`, the question the controller-manager asks.
fn allows_nodeclient(rule: &PolicyRule) -> bool {
    let one_of = |list: &[String], words: &[&str]| list.iter().any(|word| words.contains(&word.as_str()));
    one_of(&rule.verbs, &["create", "*"])
        && one_of(rule.api_groups.as_deref().unwrap_or_default(), &["certificates.k8s.io", "*"])
        && one_of(
            rule.resources.as_deref().unwrap_or_default(),
            &["certificatesigningrequests/nodeclient", "*/nodeclient", "*"],
        )
        && rule.resource_names.as_ref().is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::super::objects::{binding, named, subject};
    use super::*;
    use crate::cluster::{NODECLIENT_ROLE, node_group};

    fn of(group: &str) -> ClusterRoleBinding {
        binding("theirs", NODECLIENT_ROLE, vec![subject("Group", group)])
    }

    #[test]
    fn group_of_everybody_or_of_our_tokens_is_reported_and_a_narrow_one_is_not() {
        let node = node_group(&"worker-1".parse().unwrap());
        for group in ["system:bootstrappers", "system:authenticated", TOKEN_GROUP, &node] {
            let found = warnings(&[of(group)], &[], false);
            assert_eq!(found.len(), 1, "{group}");
            assert!(found[0].contains("is void") && found[0].contains(group), "{}", found[0]);
            assert!(found[0].contains("kubectl delete clusterrolebinding theirs"), "{}", found[0]);
        }
        for group in ["system:bootstrappers:others", "system:nodes"] {
            assert!(warnings(&[of(group)], &[], false).is_empty(), "{group}");
        }
        let user = binding("theirs", NODECLIENT_ROLE, vec![subject("User", "system:authenticated")]);
        assert!(warnings(&[user], &[], false).is_empty());
    }

    #[test]
    fn binding_of_kubeadm_is_told_but_does_not_void_ours() {
        let found = warnings(&[of(KUBEADM_GROUP)], &[], false);
        assert!(found.len() == 1 && !found[0].contains("void"), "{found:?}");
        assert!(found[0].contains("kubeadm token create"), "{found:?}");
    }

    #[test]
    fn role_of_another_name_with_the_same_rule_is_reported_too() {
        let role = |resources: &[&str], verb: &str| ClusterRole {
            metadata: named("theirs"),
            rules: Some(vec![PolicyRule {
                api_groups: Some(vec!["certificates.k8s.io".to_owned()]),
                resources: Some(resources.iter().map(|&r| r.to_owned()).collect()),
                verbs: vec![verb.to_owned()],
                ..PolicyRule::default()
            }]),
            aggregation_rule: None,
        };
        let bound = binding("b", "theirs", vec![subject("Group", "system:bootstrappers")]);
        for resources in [["certificatesigningrequests/nodeclient"], ["*"]] {
            let found = warnings(std::slice::from_ref(&bound), &[role(&resources, "create")], false);
            assert_eq!(found.len(), 1, "{resources:?}");
        }
        for (resource, verb) in
            [("certificatesigningrequests", "create"), ("certificatesigningrequests/nodeclient", "get")]
        {
            let found = warnings(std::slice::from_ref(&bound), &[role(&[resource], verb)], false);
            assert!(found.is_empty(), "{resource} {verb}");
        }
    }

    #[test]
    fn risk_of_auto_approval_is_said() {
        assert!(warnings(&[], &[], true)[0].contains("can become any"));
        let left_over = binding(AUTO_APPROVE_BINDING, NODECLIENT_ROLE, vec![]);
        assert!(warnings(&[left_over], &[], false)[0].contains("still there"));
        assert!(warnings(&[], &[], false).is_empty());
    }
}
