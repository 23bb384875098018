//! What a release must be like. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CONTROLLERS, Datastore, controllers, name, word};

/// Everything that is wrong with a release.
pub(super) fn problems(documents: &[Value]) -> Vec<String> {
    let mut problems: Vec<String> = documents.iter().filter_map(shapeless).collect();
    let nodes = documents.iter().filter(|one| word(one, "kind") == "DaemonSet" && name(one) == "calico-node");
    if nodes.count() != 1 {
        problems.push(
            "there must be one DaemonSet calico-node, as in calico.yaml or calico-etcd.yaml of a release; what calico's \
             operator installs is not applied here"
                .to_owned(),
        );
    }
    let example = documents.iter().find(|one| {
        one["data"]["etcd_endpoints"].as_str().is_some_and(|endpoints| endpoints.contains("<ETCD_IP>"))
    });
    if let Some(example) = example {
        problems.push(format!("ConfigMap {}: etcd_endpoints is still the example's", name(example)));
    }
    let deployments: Vec<&Value> = documents.iter().filter(|one| is_controllers(one)).collect();
    if deployments.len() > 1 {
        problems
            .push(format!("there are {} Deployments of {CONTROLLERS}, and one may be", deployments.len()));
    }
    let store = datastore(documents);
    problems.extend(deployments.iter().flat_map(|deployment| wrong(deployment, store)));
    problems
}

/// A Deployment of calico's controllers, by whatever name.
pub(super) fn is_controllers(document: &Value) -> bool {
    let labels = &document["spec"]["template"]["metadata"]["labels"];
    word(document, "kind") == "Deployment"
        && (name(document) == CONTROLLERS || word(labels, "k8s-app") == CONTROLLERS)
}

/// Where the release keeps its data: calico-node takes etcd where nobody says anything.
pub(super) fn datastore(documents: &[Value]) -> Datastore {
    let containers = |one: &Value| one["spec"]["template"]["spec"]["containers"].as_array().cloned();
    let nodes = documents.iter().filter(|one| word(one, "kind") == "DaemonSet");
    let containers = nodes.filter_map(containers).flatten();
    let variables = containers.filter_map(|container| container["env"].as_array().cloned()).flatten();
    let mut types = variables.filter(|variable| word(variable, "name") == "DATASTORE_TYPE");
    match types.next() {
        Some(kind) if word(&kind, "value") == "kubernetes" => Datastore::Kubernetes,
        _ => Datastore::Etcd,
    }
}

/// What is wrong with a Deployment of the controllers. Only one instance may be active; two would undo each other's work,
/// and while one is replaced a rolling update has two. With etcd they stand on the host's network, where the policies
/// that they carry there cannot keep them from it.
pub(super) fn wrong(deployment: &Value, store: Datastore) -> Vec<String> {
    let spec = &deployment["spec"];
    let (replicas, strategy) = (spec["replicas"].as_i64().unwrap_or(1), &spec["strategy"]["type"]);
    let host = spec["template"]["spec"]["hostNetwork"].as_bool().unwrap_or(false);
    let strategy = strategy.as_str().unwrap_or("RollingUpdate");
    let say = |field: &str, found: &str, expected: &str| {
        format!("Deployment {}: {field} is {found}, expected {expected}", name(deployment))
    };
    let mut wrong = Vec::new();
    if replicas != 1 {
        wrong.push(say("spec.replicas", &replicas.to_string(), "1"));
    }
    if strategy != "Recreate" {
        wrong.push(say("spec.strategy.type", strategy, "Recreate"));
    }
    if store == Datastore::Etcd && !host {
        wrong.push(say("spec.template.spec.hostNetwork", "false", "true, as its data are in etcd"));
    }
    wrong
}

/// Rights that the controllers would have beside those they need.
pub(super) fn warnings(documents: &[Value]) -> Vec<String> {
    let needed = rights(&controllers::role(datastore(documents))["rules"]);
    let roles = documents.iter().filter(|one| word(one, "kind") == "ClusterRole" && name(one) == CONTROLLERS);
    let more = roles.flat_map(|role| rights(&role["rules"])).filter(|right| !needed.contains(right));
    let more: Vec<String> = more.collect();
    if more.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "ClusterRole {CONTROLLERS} gives more than the controllers need that kn-agent knows: {}; later releases need \
         some of it, but look at it",
        more.join(", ")
    )]
}

/// Each right of some rules, as `verb resource.group`.
pub(super) fn rights(rules: &Value) -> BTreeSet<String> {
    let list = |rule: &Value, key: &str| -> Vec<String> {
        let words = rule[key].as_array().cloned().unwrap_or_default();
        words.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                for verb in list(rule, "verbs") {
                    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
                    rights.insert(format!("{verb} {resource}{group}"));
                }
            }
        }
    }
    rights
}

fn shapeless(document: &Value) -> Option<String> {
    let missing = ["apiVersion", "kind"].into_iter().find(|key| word(document, key).is_empty());
    if let Some(key) = missing {
        return Some(format!("a document without `{key}` is no object"));
    }
    name(document).is_empty().then(|| format!("a {} has no name", word(document, "kind")))
}
