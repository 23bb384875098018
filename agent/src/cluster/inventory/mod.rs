//! What the approver knows of the cluster around a request: its Nodes, and what means the API server. Plain data, so
//! that a verdict is a function of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Node, Service};
use kube::ResourceExt;

/// The labels of a control-plane host. A node can't give them to itself: `NodeRestriction` refuses `node-role.…`.
const CONTROL_PLANE_LABELS: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// The Nodes by name, and who has which address.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    nodes: HashMap<String, NodeFacts>,
    /// Who lists an address.
    by_address: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Who lists, or is, a name; in lower case.
    by_name: BTreeMap<String, BTreeSet<String>>,
    /// What the API server is reached by.
    pub api_server: ApiServer,
    /// Its minor version, where that is known.
    pub minor: Option<u32>,
}

/// What matters of a Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Host names and DNS names in its status.
    pub dns_names: Vec<String>,
    /// IP addresses in its status.
    pub addresses: Vec<IpAddr>,
    /// `None` while it is Ready, else since when it is not.
    pub not_ready_since: Option<Timestamp>,
    /// Whether an administrator labelled it as a control-plane host.
    pub control_plane: bool,
}

/// Names and addresses that mean the API server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiServer {
    /// DNS names, in lower case.
    pub names: BTreeSet<String>,
    /// The Service's addresses, the endpoints behind it, and where we reach it.
    pub addresses: BTreeSet<IpAddr>,
}

impl NodeFacts {
    /// What matters of `node`.
    pub fn of(node: &Node) -> Self {
        let mut facts = Self {
            dns_names: Vec::new(),
            addresses: Vec::new(),
            not_ready_since: not_ready_since(node),
            control_plane: CONTROL_PLANE_LABELS.iter().any(|label| node.labels().contains_key(*label)),
        };
        let reported =
            node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
        // The kubelet makes its request from these same addresses, of these same types.
        for address in reported {
            match (address.type_.as_str(), address.address.parse()) {
                ("Hostname" | "InternalIP" | "ExternalIP", Ok(ip)) => facts.addresses.push(ip),
                ("Hostname" | "InternalDNS" | "ExternalDNS", _) => {
                    facts.dns_names.push(address.address.clone());
                }
                _ => {}
            }
        }
        facts
    }
}

/// A Node that never reported is not ready since it was made.
fn not_ready_since(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    let created = node.metadata.creation_timestamp.as_ref();
    match ready {
        Some(condition) if condition.status == "True" => None,
        // Without a time it could be a moment ago: not ready since now, at every look.
        Some(condition) => Some(condition.last_transition_time.as_ref().map_or(Timestamp::MAX, |t| t.0)),
        None => Some(created.map_or(Timestamp::MAX, |t| t.0)),
    }
}

impl ApiServer {
    /// What the Service and the Endpoints `default/kubernetes` say, and the host of our own kubeconfig.
    pub fn of(service: Option<&Service>, endpoints: Option<&Endpoints>, host: Option<&str>) -> Self {
        let mut known = Self::default();
        let spec = service.and_then(|service| service.spec.as_ref());
        let listed = spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
        let one = spec.and_then(|spec| spec.cluster_ip.clone());
        let subsets = endpoints.and_then(|endpoints| endpoints.subsets.as_deref()).unwrap_or_default();
        let ready = subsets.iter().filter_map(|subset| subset.addresses.as_deref()).flatten();
        let unready = subsets.iter().filter_map(|subset| subset.not_ready_addresses.as_deref()).flatten();
        let behind = ready.chain(unready).map(|address| address.ip.clone());
        let all = listed.into_iter().chain(one).chain(behind).chain(host.map(str::to_owned));
        for text in all {
            match text.parse::<IpAddr>() {
                Ok(ip) => known.addresses.insert(ip.to_canonical()),
                Err(_) => known.names.insert(plain_name(&text)),
            };
        }
        known
    }
}

impl Inventory {
    /// The Node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.nodes.get(name)
    }

    /// The name of a Node other than `own` that lists `address`.
    pub fn other_at(&self, address: IpAddr, own: &str) -> Option<&str> {
        other_than(self.by_address.get(&address.to_canonical())?, own)
    }

    /// The name of a Node other than `own` that lists, or has, the name `dns`.
    pub fn other_named(&self, dns: &str, own: &str) -> Option<&str> {
        other_than(self.by_name.get(&plain_name(dns))?, own)
    }

    /// Takes note of a Node; whether anything changed.
    pub fn set(&mut self, name: &str, facts: NodeFacts) -> bool {
        if self.nodes.get(name) == Some(&facts) {
            return false;
        }
        self.remove(name);
        for address in &facts.addresses {
            self.by_address.entry(address.to_canonical()).or_default().insert(name.to_owned());
        }
        for dns in facts.dns_names.iter().map(String::as_str).chain([name]) {
            self.by_name.entry(plain_name(dns)).or_default().insert(name.to_owned());
        }
        self.nodes.insert(name.to_owned(), facts);
        true
    }

    /// Forgets a Node; whether it was known.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(facts) = self.nodes.remove(name) else { return false };
        for address in &facts.addresses {
            forget(&mut self.by_address, &address.to_canonical(), name);
        }
        for dns in facts.dns_names.iter().map(String::as_str).chain([name]) {
            forget(&mut self.by_name, &plain_name(dns), name);
        }
        true
    }

    /// The names of all Nodes.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.nodes.keys()
    }
}

/// A name as resolvers take it: case and a final dot make no difference.
pub fn plain_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn other_than<'a>(names: &'a BTreeSet<String>, own: &str) -> Option<&'a str> {
    names.iter().map(String::as_str).find(|name| *name != own)
}

fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: &K, name: &str) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
