//! The approver as a Deployment.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

use crate::cluster::{APPROVER_ACCOUNT, MANAGED_BY, NAMESPACE};
use crate::names::ApiServerUrl;

/// The user in the image: nobody in particular, as distroless has it.
const USER: u32 = 65532;

/// What differs from cluster to cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The image, as a node's runtime finds it.
    pub(super) image: String,
    /// The API server's host as a node reaches it.
    pub(super) host: String,
    /// Its port.
    pub(super) port: String,
}

impl Settings {
    pub(super) fn new(image: String, server: &ApiServerUrl) -> Self {
        Self { image, host: server.host().to_owned(), port: server.port().to_string() }
    }

    /// Those of a Deployment that is there.
    pub(super) fn of(deployment: &Deployment) -> Option<Self> {
        let template = &deployment.spec.as_ref()?.template;
        let containers = &template.spec.as_ref()?.containers;
        let container = containers.iter().find(|container| container.name == "approver")?;
        let (host, port) = (value(container, HOST)?, value(container, PORT)?);
        Some(Self { image: container.image.clone()?, host, port })
    }
}

const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

fn value(container: &Container, name: &str) -> Option<String> {
    container.env.iter().flatten().find(|variable| variable.name == name)?.value.clone()
}

/// It has to run before there is a network for pods, a kube-proxy, or a node that is Ready: those wait for certificates
/// that it approves. So it is on the host's network, goes to the API server's own address, and tolerates what such a
/// node is tainted with. `replicas` is left to whoever scales it: claims are Leases of one token each, so that two
/// approvers need no leader. There is no probe: it serves nothing, and ends by itself where it cannot go on.
pub(super) fn object(settings: &Settings) -> Value {
    let Settings { image, host, port } = settings;
    let labels = json!({MANAGED_BY.0: MANAGED_BY.1, "app.kubernetes.io/name": APPROVER_ACCOUNT});
    let selector = json!({"matchLabels": {"app.kubernetes.io/name": APPROVER_ACCOUNT}});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APPROVER_ACCOUNT, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": selector,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": APPROVER_ACCOUNT,
                    "hostNetwork": true,
                    "dnsPolicy": "Default",
                    "priorityClassName": "system-cluster-critical",
                    "terminationGracePeriodSeconds": 10,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "affinity": affinity(&selector),
                    "tolerations": tolerations(),
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "fsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [{
                        "name": "approver",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["approver"],
                        "env": [{"name": HOST, "value": host}, {"name": PORT, "value": port}],
                        "resources": {
                            "requests": {"cpu": "10m", "memory": "32Mi"},
                            "limits": {"memory": "128Mi"},
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }],
                },
            },
        },
    })
}

/// Best on a control-plane node, whose credentials are worth more than the approver's; two of them on two nodes.
fn affinity(selector: &Value) -> Value {
    let labelled = |label: &str| {
        let expressions = json!([{"key": label, "operator": "Exists"}]);
        json!({"weight": 100, "preference": {"matchExpressions": expressions}})
    };
    let apart = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"});
    let near = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"].map(labelled);
    json!({
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": near},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 100, "podAffinityTerm": apart}]},
    })
}

fn tolerations() -> Value {
    let any_effect = |key: &str| json!({"key": key, "operator": "Exists"});
    let tolerated = [
        "node-role.kubernetes.io/control-plane",
        "node-role.kubernetes.io/master",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/network-unavailable",
        "node.kubernetes.io/unschedulable",
        "node.cloudprovider.kubernetes.io/uninitialized",
    ];
    tolerated.map(any_effect).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("kn-agent:1".to_owned(), &"https://[fd00::1]:6443".parse().unwrap())
    }

    /// A misspelt field would be dropped by the API server without a word.
    #[test]
    fn every_field_is_one_that_kubernetes_has() {
        let object = object(&settings());
        let typed: Deployment = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(&typed).unwrap(), object);
        assert_eq!(Settings::of(&typed), Some(settings()));
    }

    #[test]
    fn it_needs_no_network_of_pods_and_no_right_on_its_host() {
        let object = object(&settings());
        let pod = &object["spec"]["template"]["spec"];
        assert_eq!(pod["hostNetwork"], true);
        assert_eq!(pod["containers"][0]["env"][0]["value"], "fd00::1");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["capabilities"]["drop"][0], "ALL");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert!(pod.get("volumes").is_none(), "{pod}");
    }

    #[test]
    fn how_many_there_are_is_left_to_whoever_scales_it() {
        assert!(object(&settings())["spec"].get("replicas").is_none());
    }
}
