//! What an object is and what it would be.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use similar::TextDiff;

/// What an operator may set of an object: without what the server keeps for itself, and without what a Secret holds.
fn content(object: &Value) -> Map<String, Value> {
    let mut content = object.as_object().cloned().unwrap_or_default();
    content.remove("status");
    if object["kind"] == "Secret" {
        content.remove("data");
        content.remove("stringData");
    }
    if let Some(Value::Object(metadata)) = content.get_mut("metadata") {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels" | "annotations"));
    }
    content
}

/// The fields in which two versions of an object differ.
pub(super) fn fields(before: &Value, after: &Value) -> Vec<String> {
    let (before, after) = (flat(before), flat(after));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn flat(object: &Value) -> Map<String, Value> {
    let mut content = content(object);
    if let Some(Value::Object(metadata)) = content.remove("metadata") {
        content.extend(metadata.into_iter().map(|(key, value)| (format!("metadata.{key}"), value)));
    }
    content
}

/// The difference as a unified diff of YAML; empty where there is none.
pub(super) fn unified(object: &str, before: Option<&Value>, after: Option<&Value>) -> String {
    let yaml = |object: Option<&Value>| {
        // Nothing that JSON holds cannot be written as YAML; a diff that is empty is the worst that could come of it.
        object.map(|object| serde_saphyr::to_string(&content(object)).unwrap_or_default()).unwrap_or_default()
    };
    let (before, after) = (yaml(before), yaml(after));
    if before == after {
        return String::new();
    }
    let diff = TextDiff::from_lines(&before, &after);
    let (from, to) = (format!("{object} in the cluster"), format!("{object} as it would be"));
    diff.unified_diff().context_radius(3).header(&from, &to).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(verbs: &[&str], version: &str) -> Value {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "a", "resourceVersion": version, "managedFields": [{"manager": version}]},
            "rules": [{"verbs": verbs}],
        })
    }

    #[test]
    fn only_what_an_operator_may_set_counts_as_a_difference() {
        assert!(fields(&role(&["get"], "1"), &role(&["get"], "2")).is_empty());
        assert_eq!(unified("x", Some(&role(&["get"], "1")), Some(&role(&["get"], "2"))), "");
        assert_eq!(fields(&role(&["get"], "1"), &role(&["list"], "1")), ["rules"]);
        let mut labelled = role(&["get"], "1");
        labelled["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(fields(&role(&["get"], "1"), &labelled), ["metadata.labels"]);
    }

    #[test]
    fn changed_lines_are_shown_between_what_stays() {
        let diff = unified("ClusterRole a", Some(&role(&["get"], "1")), Some(&role(&["get", "list"], "2")));
        let head = "--- ClusterRole a in the cluster\n+++ ClusterRole a as it would be\n@@ ";
        assert!(diff.starts_with(head), "{diff}");
        let added: Vec<&str> = diff.lines().filter(|line| line.starts_with('+')).skip(1).collect();
        assert!(matches!(added.as_slice(), [line] if line.contains("list")), "{diff}");
        assert!(!diff.contains("resourceVersion") && !diff.contains("managedFields"), "{diff}");
    }

    #[test]
    fn what_is_not_there_yet_is_all_new() {
        let diff = unified("ClusterRole a", None, Some(&role(&["get"], "1")));
        assert!(diff.lines().skip(3).all(|line| line.starts_with('+')), "{diff}");
        assert!(diff.contains("+kind: ClusterRole\n"), "{diff}");
        let gone = unified("ClusterRole a", Some(&role(&["get"], "1")), None);
        assert!(gone.contains("-kind: ClusterRole\n"), "{gone}");
    }

    #[test]
    fn what_a_secret_holds_is_never_shown() {
        let secret =
            |canary: &str| json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"token": canary}});
        let diff = unified("Secret s", None, Some(&secret("canary1")));
        assert!(diff.contains("+kind: Secret") && !diff.contains("canary"), "{diff}");
        assert!(fields(&secret("canary1"), &secret("canary2")).is_empty());
        let written =
            json!({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": "canary1"}});
        assert!(!unified("Secret s", None, Some(&written)).contains("canary"));
    }
}
