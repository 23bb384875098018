//! The Node object the agent registers before the kubelet starts, so that it has its block of pod addresses by then.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

use super::Facts;
use crate::config::Config;

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
/// It carries all labels and taints, since a kubelet that finds its Node ignores its own. Zero pods in capacity and
/// allocatable: kubelet 1.20 panics on a Node whose capacity is no map at all. The address, since kube-proxy asks for it at
/// its start and again only after seconds; the kubelet puts its own list in its place.
pub fn registration(config: &Config, facts: &Facts) -> Node {
    let mut labels: BTreeMap<String, String> = config.node.labels.clone();
    labels.insert("kubernetes.io/hostname".to_owned(), config.node.name.to_string());
    labels.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    let no_pods: BTreeMap<String, Quantity> = [("pods".to_owned(), Quantity("0".to_owned()))].into();
    let taints = taints(config);
    Node {
        metadata: ObjectMeta {
            name: Some(config.node.name.to_string()),
            labels: Some(labels),
            ..Default::default()
        },
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..Default::default() }),
        status: Some(NodeStatus {
            capacity: Some(no_pods.clone()),
            allocatable: Some(no_pods),
            addresses: addresses(config, facts),
            ..Default::default()
        }),
    }
}

fn addresses(config: &Config, facts: &Facts) -> Option<Vec<NodeAddress>> {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let internal = super::address(config, facts)?;
    Some(vec![address("InternalIP", internal.to_string()), address("Hostname", config.node.name.to_string())])
}
