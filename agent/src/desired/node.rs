//! The Node object the agent registers before the kubelet starts, so that it has its block of pod addresses by then.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

use super::{Facts, Resources};
use crate::config::Config;

/// What `maxPods` is where nobody sets it, in every version (`SetDefaults_KubeletConfiguration` in
/// `pkg/kubelet/apis/config/v1beta1/defaults.go`).
const MAX_PODS: u64 = 110;

/// The taints of the configuration.
pub fn taints(config: &Config) -> Vec<Taint> {
    let taint = |t: &crate::config::Taint| Taint {
        key: t.key.clone(),
        value: (!t.value.is_empty()).then(|| t.value.clone()),
        effect: t.effect.clone(),
        time_added: None,
    };
    config.node.taints.iter().map(taint).collect()
}

/// The Node as it is created.
///
/// It carries all labels and taints, since a kubelet that finds its Node ignores its own; the address, since kube-proxy asks
/// for it at its start and again only after seconds; and what the machine has for pods, see `capacity`. The kubelet puts
/// its own words in the place of addresses and resources, and adds its labels.
pub fn registration(config: &Config, facts: &Facts) -> Node {
    let mut labels: BTreeMap<String, String> = config.node.labels.clone();
    labels.insert("kubernetes.io/hostname".to_owned(), config.node.name.to_string());
    labels.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    labels.insert("kubernetes.io/arch".to_owned(), architecture(std::env::consts::ARCH).to_owned());
    let capacity = capacity(config, facts.resources);
    let taints = taints(config);
    Node {
        metadata: ObjectMeta {
            name: Some(config.node.name.to_string()),
            labels: Some(labels),
            ..Default::default()
        },
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..Default::default() }),
        status: Some(NodeStatus {
            capacity: Some(capacity.clone()),
            allocatable: Some(capacity),
            addresses: addresses(config, facts),
            ..Default::default()
        }),
    }
}

/// What Go calls the processors that Rust calls so; pods are bound to nodes by it.
fn architecture(rust: &'static str) -> &'static str {
    match rust {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        same => same,
    }
}

/// What a kubelet that starts admits its first pods by: those of its own directory, and those that are bound to the node's
/// name already. It looks at its Node, labels included, before it has written there, and a pod that it finds no room for it
/// refuses for good (`predicateAdmitHandler.Admit` in `pkg/kubelet/lifecycle/predicate.go`). What is missing here counts as
/// none; huge pages are. All of the machine is named and nothing kept back: until the kubelet has written its own, a pod too
/// many is the lesser harm.
///
/// Never empty: kubelet 1.20 panics on a Node whose capacity is no map at all. The kubelet keeps what it does not know, so
/// that storage it is told not to count is left out.
fn capacity(config: &Config, resources: Resources) -> BTreeMap<String, Quantity> {
    let number = |field: &str| config.kubelet.config.get(field).and_then(serde_json::Value::as_u64);
    let most = number("maxPods").unwrap_or(MAX_PODS);
    let pods = match number("podsPerCore") {
        None | Some(0) => most,
        Some(each) => most.min(each.saturating_mul(resources.processors)),
    };
    let counts_storage = config.kubelet.config.get("localStorageCapacityIsolation") != Some(&false.into());
    let storage = if counts_storage { resources.storage } else { 0 };
    let known = [
        ("cpu", resources.processors.to_string(), resources.processors),
        ("memory", format!("{}Ki", resources.memory / 1024), resources.memory),
        ("ephemeral-storage", format!("{}Ki", storage / 1024), storage),
        ("pods", pods.to_string(), pods),
    ];
    let known = known.into_iter().filter(|(name, _, amount)| *name == "pods" || *amount > 0);
    known.map(|(name, quantity, _)| (name.to_owned(), Quantity(quantity))).collect()
}

fn addresses(config: &Config, facts: &Facts) -> Option<Vec<NodeAddress>> {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let internal = super::address(config, facts)?;
    Some(vec![address("InternalIP", internal.to_string()), address("Hostname", config.node.name.to_string())])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::desired::tests::node as machine;

    fn quantities(config: &Config, resources: Resources) -> Vec<(String, String)> {
        capacity(config, resources).into_iter().map(|(name, quantity)| (name, quantity.0)).collect()
    }

    #[test]
    fn kubelet_that_starts_finds_room_for_its_first_pods() {
        let (mut config, mut facts) = machine("v1.36.3");
        facts.resources = Resources { processors: 2, memory: (8 << 30) + 5, storage: 40 << 30 };
        let status = registration(&config, &facts).status.unwrap();
        assert_eq!(status.capacity, status.allocatable);
        let said = quantities(&config, facts.resources);
        let said: Vec<_> = said.iter().map(|(name, quantity)| (name.as_str(), quantity.as_str())).collect();
        let all =
            [("cpu", "2"), ("ephemeral-storage", "41943040Ki"), ("memory", "8388608Ki"), ("pods", "110")];
        assert_eq!(said, all);
        // One entry there always is, for kubelet 1.20.
        assert_eq!(quantities(&config, Resources::default()), [("pods".to_owned(), "110".to_owned())]);
        for (fields, pods) in [
            (serde_json::json!({"maxPods": 250}), "250"),
            (serde_json::json!({"maxPods": 30, "podsPerCore": 10}), "20"),
            (serde_json::json!({"maxPods": 15, "podsPerCore": 10}), "15"),
            (serde_json::json!({"podsPerCore": 0}), "110"),
        ] {
            config.kubelet.config = fields.as_object().unwrap().clone();
            assert_eq!(quantities(&config, facts.resources).last().unwrap().1, pods, "{fields}");
        }
        let uncounted = serde_json::json!({"localStorageCapacityIsolation": false});
        config.kubelet.config = uncounted.as_object().unwrap().clone();
        let names: Vec<String> =
            quantities(&config, facts.resources).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cpu", "memory", "pods"]);
    }

    #[test]
    fn processors_go_by_the_name_that_pods_ask_for() {
        assert_eq!(
            ["x86_64", "aarch64", "s390x", "riscv64"].map(architecture),
            ["amd64", "arm64", "s390x", "riscv64"]
        );
    }
}
