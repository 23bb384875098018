//! Labels and taints: their syntax, and which labels a node may set on itself.

use super::Taint;
use super::problem::{nearest, shown};

/// Why a label or taint is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Refusal {
    fn new(message: String) -> Self {
        Self { message, hint: None }
    }

    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

/// Labels below `kubernetes.io` and `k8s.io` that the kubelet may set (`k8s.io/kubelet`, `pkg/apis/well_known_labels.go`).
const ALLOWED: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// Namespaces, with those below them, of which the kubelet may set any label.
const ALLOWED_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks a label for `node.labels`.
pub(crate) fn check_label(key: &str, value: &str) -> Result<(), Refusal> {
    check_key(key)?;
    check_value(value)?;
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    let within = |domain: &str| namespace == domain || namespace.ends_with(&format!(".{domain}"));
    if within("node-restriction.kubernetes.io") {
        return Err(Refusal::new(
            "the API server lets no node set labels of `node-restriction.kubernetes.io` (NodeRestriction)"
                .to_owned(),
        )
        .hint("set it from outside: `kubectl label node`"));
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return Ok(());
    }
    if ALLOWED.contains(&key) || ALLOWED_NAMESPACES.iter().any(|domain| within(domain)) {
        return Ok(());
    }
    let refusal = Refusal::new(format!(
        "the API server lets no node set labels of `{namespace}` but a few (NodeRestriction)"
    ));
    Err(if within("node-role.kubernetes.io") {
        refusal.hint("roles are set from outside: `kubectl label node`")
    } else {
        refusal.hint("use a domain of your own, or `node.kubernetes.io/…`")
    })
}

/// Reads a taint, `key=value:Effect` or `key:Effect`.
pub(crate) fn parse_taint(text: &str) -> Result<Taint, Refusal> {
    let form = || {
        Refusal::new(format!("`{}` is no taint", shown(text)))
            .hint("write `key=value:Effect` or `key:Effect`")
    };
    let (label, effect) = text.rsplit_once(':').ok_or_else(form)?;
    let (key, value) = label.split_once('=').unwrap_or((label, ""));
    if !EFFECTS.contains(&effect) {
        let refusal = Refusal::new(format!("`{}` is no taint effect", shown(effect)));
        return Err(match nearest(effect, EFFECTS) {
            Some(meant) => refusal.hint(&format!("did you mean `{meant}`?")),
            None => refusal.hint("an effect is `NoSchedule`, `PreferNoSchedule` or `NoExecute`"),
        });
    }
    check_key(key)?;
    check_value(value)?;
    Ok(Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() })
}

/// A qualified name: an optional DNS name and `/`, then at most 63 characters.
fn check_key(key: &str) -> Result<(), Refusal> {
    let (namespace, name) =
        key.split_once('/').map_or((None, key), |(namespace, name)| (Some(namespace), name));
    if let Some(namespace) = namespace
        && !is_dns_name(namespace)
    {
        return Err(Refusal::new(format!(
            "`{}` is no key: what stands before `/` must be a DNS name",
            shown(key)
        ))
        .hint("write e.g. `example.com/rack`"));
    }
    if name.is_empty() || !is_label_text(name) {
        return Err(Refusal::new(format!(
            "`{}` is no key: its name must be 1 to 63 letters, digits and inner `-`, `_`, `.`",
            shown(key)
        )));
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), Refusal> {
    if is_label_text(value) {
        return Ok(());
    }
    Err(Refusal::new(format!(
        "the value `{}` must be at most 63 letters, digits and inner `-`, `_`, `.`",
        shown(value)
    )))
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_dns_name(name: &str) -> bool {
    // A Node's name has the same syntax.
    name.parse::<crate::names::NodeName>().is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn labels_a_node_may_set_are_accepted() {
        for key in [
            "rack",
            "example.com/rack",
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
            "node.kubernetes.io/anything",
            "sub.node.kubernetes.io/anything",
            "kubelet.kubernetes.io/anything",
            "notkubernetes.io/role",
            "kubernetes.io",
        ] {
            check_label(key, "x").unwrap();
        }
        check_label("gpu", "").unwrap();
    }

    #[test]
    fn labels_the_api_server_refuses_are_refused() {
        for key in [
            "node-role.kubernetes.io/worker",
            "node-restriction.kubernetes.io/team",
            "sub.node-restriction.kubernetes.io/team",
            "kubernetes.io/role",
            "k8s.io/role",
            "app.k8s.io/name",
            "topology.kubernetes.io/rack",
        ] {
            let refusal = check_label(key, "x").unwrap_err();
            assert!(refusal.message.contains("NodeRestriction"), "{key}: {refusal:?}");
        }
    }

    #[test]
    fn label_syntax_is_checked() {
        for (key, value) in [
            ("", ""),
            ("/a", ""),
            ("a/", ""),
            ("-a", ""),
            ("A.b/c", ""),
            ("a b", ""),
            ("a", "-x"),
            ("a", "x y"),
        ] {
            check_label(key, value).unwrap_err();
        }
        check_label(&"a".repeat(64), "").unwrap_err();
        check_label("a", &"b".repeat(64)).unwrap_err();
    }

    #[test]
    fn taints_are_read_with_and_without_value() {
        let taint = parse_taint("example.com/gpu=yes:NoSchedule").unwrap();
        assert_eq!(
            (taint.key.as_str(), taint.value.as_str(), taint.effect.as_str()),
            ("example.com/gpu", "yes", "NoSchedule")
        );
        assert_eq!(parse_taint("gpu:NoExecute").unwrap().value, "");
        assert_eq!(parse_taint("a=b:Noschedule").unwrap_err().hint.unwrap(), "did you mean `NoSchedule`?");
        for bad in ["", "a", "a=b", "a=b:", ":NoExecute", "a=b=c:NoExecute"] {
            parse_taint(bad).unwrap_err();
        }
    }
}
