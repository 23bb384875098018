//! Labels a node may give itself (plugin/pkg/admission/noderestriction, and the kubelet's own check of --node-labels).

const EXACT: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
];

fn is_in(namespace: &str, domain: &str) -> bool {
    namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Why a node may not give itself the label `key`; `None` where it may.
pub fn refusal(key: &str) -> Option<String> {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() > 63 || !name.chars().all(word) || !edge(name.chars().next()) || !edge(name.chars().last())
    {
        return Some(format!("`{key}` is no label key"));
    }
    let reserved = is_in(namespace, "kubernetes.io") || is_in(namespace, "k8s.io");
    let allowed = EXACT.contains(&key)
        || is_in(namespace, "kubelet.kubernetes.io")
        || is_in(namespace, "node.kubernetes.io");
    (reserved && !allowed).then(|| {
        format!(
            "`{key}` is refused by the API server (NodeRestriction): a node may not give itself this label; \
             use a name outside kubernetes.io and k8s.io, one in node.kubernetes.io, or label it with an admin's identity"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn a_node_may_label_itself_within_the_rule_and_not_beyond() {
        for good in [
            "disk",
            "example.com/disk",
            "node.kubernetes.io/x",
            "a.node.kubernetes.io/x",
            "topology.kubernetes.io/zone",
        ] {
            assert_eq!(refusal(good), None, "{good}");
        }
        for bad in [
            "node-role.kubernetes.io/worker",
            "kubernetes.io/role",
            "node-restriction.kubernetes.io/x",
            "x.k8s.io/y",
            "a b",
            "",
        ] {
            assert!(refusal(bad).is_some(), "{bad}");
        }
    }
}
