//! calico-kube-controllers where a release has none: one instance, with the rights it needs.

use serde_json::{Value, json};

use super::verify::{datastore, is_controllers};
use super::{CONTROLLERS, Datastore, NAMESPACE, name, word};
use crate::cluster::MANAGED_BY;

/// What is to be added: nothing where the release has controllers; its role and account are its own as well.
pub(super) fn missing(documents: &[Value]) -> Vec<Value> {
    if documents.iter().any(is_controllers) {
        return Vec::new();
    }
    let store = datastore(documents);
    let Some(image) = image(documents) else { return Vec::new() };
    let ours = [account(), role(store), binding(), deployment(store, &image)];
    let has = |object: &Value| {
        let same = |one: &&Value| word(one, "kind") == word(object, "kind") && name(one) == CONTROLLERS;
        // One Deployment of ours, but an account or a role of the release's stays as it is.
        documents.iter().find(same).is_some()
    };
    ours.into_iter().filter(|object| !has(object)).collect()
}

/// The image beside calico-node's: `…/node:TAG` is `…/kube-controllers:TAG`.
fn image(documents: &[Value]) -> Option<String> {
    let node = documents.iter().find(|one| word(one, "kind") == "DaemonSet" && name(one) == "calico-node")?;
    let containers = node["spec"]["template"]["spec"]["containers"].as_array()?;
    let container = containers.iter().find(|container| word(container, "name") == "calico-node")?;
    let (repository, tag) = word(container, "image").rsplit_once(':')?;
    let registry = repository.strip_suffix("/node")?;
    Some(format!("{registry}/kube-controllers:{tag}"))
}

fn metadata(namespaced: bool) -> Value {
    let mut metadata =
        json!({"name": CONTROLLERS, "labels": {MANAGED_BY.0: MANAGED_BY.1, "k8s-app": CONTROLLERS}});
    if namespaced {
        metadata["namespace"] = NAMESPACE.into();
    }
    metadata
}

fn account() -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(true)})
}

/// Just what the controllers do that [`deployment`] turns on. With etcd they copy what policies stand on; with the API
/// server they tidy up after nodes that are gone.
pub(super) fn role(store: Datastore) -> Value {
    const OWN: &str = "crd.projectcalico.org";
    let read = ["get", "list", "watch"];
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let write = ["get", "list", "create", "update", "delete"];
    let rules = match store {
        Datastore::Etcd => vec![
            rule("", &["pods", "nodes", "namespaces", "serviceaccounts"], &read),
            rule("networking.k8s.io", &["networkpolicies"], &["list", "watch"]),
        ],
        Datastore::Kubernetes => vec![
            rule("", &["nodes", "pods"], &read),
            rule(OWN, &["ipreservations"], &["list"]),
            rule(OWN, &["blockaffinities", "ipamblocks", "ipamhandles"], &[&write[..], &["watch"]].concat()),
            rule(OWN, &["ippools"], &["list", "watch"]),
            rule(OWN, &["hostendpoints"], &write),
            rule(
                OWN,
                &["clusterinformations", "kubecontrollersconfigurations"],
                &["get", "list", "create", "update", "watch"],
            ),
        ],
    };
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(false), "rules": rules})
}

fn binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata(false),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CONTROLLERS},
        "subjects": [{"kind": "ServiceAccount", "name": CONTROLLERS, "namespace": NAMESPACE}],
    })
}

fn deployment(store: Datastore, image: &str) -> Value {
    let tolerated = |key: &str| json!({"key": key, "operator": "Exists"});
    let mut pod = json!({
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [
            tolerated("CriticalAddonsOnly"),
            tolerated("node-role.kubernetes.io/master"),
            tolerated("node-role.kubernetes.io/control-plane"),
        ],
        "serviceAccountName": CONTROLLERS,
        "priorityClassName": "system-cluster-critical",
        "containers": [container(store, image)],
    });
    if store == Datastore::Etcd {
        pod["hostNetwork"] = true.into();
        // The release's own; readable for the group, since the program is not root.
        let secret = json!({"secretName": "calico-etcd-secrets", "defaultMode": 0o440});
        pod["volumes"] = json!([{"name": "etcd-certs", "secret": secret}]);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(true),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"k8s-app": CONTROLLERS}},
            "template": {
                "metadata": {"labels": {MANAGED_BY.0: MANAGED_BY.1, "k8s-app": CONTROLLERS}},
                "spec": pod,
            },
        },
    })
}

fn container(store: Datastore, image: &str) -> Value {
    let probe = |flag: &str| json!({"exec": {"command": ["/usr/bin/check-status", flag]}, "periodSeconds": 10, "timeoutSeconds": 10});
    let mut live = probe("-l");
    live["initialDelaySeconds"] = 10.into();
    live["failureThreshold"] = 6.into();
    let mut container = json!({
        "name": CONTROLLERS,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "livenessProbe": live,
        "readinessProbe": probe("-r"),
    });
    container["env"] = match store {
        // Said, because later releases turn on more, with more rights.
        Datastore::Kubernetes => json!([
            {"name": "ENABLED_CONTROLLERS", "value": "node"},
            {"name": "DATASTORE_TYPE", "value": "kubernetes"},
        ]),
        Datastore::Etcd => {
            let key = |name: &str, key: &str| json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": "calico-config", "key": key}}});
            container["volumeMounts"] = json!([{"name": "etcd-certs", "mountPath": "/calico-secrets"}]);
            json!([
                key("ETCD_ENDPOINTS", "etcd_endpoints"),
                key("ETCD_CA_CERT_FILE", "etcd_ca"),
                key("ETCD_KEY_FILE", "etcd_key"),
                key("ETCD_CERT_FILE", "etcd_cert"),
                {"name": "ENABLED_CONTROLLERS", "value": "policy,namespace,serviceaccount,workloadendpoint,node"},
            ])
        }
    };
    container
}
