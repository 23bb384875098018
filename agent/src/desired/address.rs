//! The node's address: written, chosen by the networks it is to be in, or that of the route to the API server.

use std::fmt;
use std::net::IpAddr;

use super::{Facts, cni};
use crate::config::Config;
use crate::names::Cidr;
use crate::ports::addresses::LocalAddress;

/// Names of interfaces that a runtime, a pod network or kube-proxy makes: docker's bridges, the plugins' own, flannel's,
/// calico's, cilium's and weave's; `kube-ipvs0` has the addresses of Services, `nodelocaldns` that of the DNS cache.
const OTHERS: [&str; 14] = [
    "lo",
    "docker0",
    cni::BRIDGE,
    "cni0",
    "mynet0",
    "kube-ipvs0",
    "kube-bridge",
    "nodelocaldns",
    "tunl0",
    "vxlan.calico",
    "vxlan-v6.calico",
    "wireguard.cali",
    "wg-v6.cali",
    "weave",
];
/// How such names begin where there are several.
const OTHERS_BEGIN: [&str; 7] = ["br-", "veth", "cali", "flannel", "cilium_", "lxc", "docker_gwbridge"];

/// The machine's addresses as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// These, of any interface but loopback.
    Known(Vec<LocalAddress>),
    /// Why they can't be told.
    Unknown(String),
}

impl Default for Found {
    fn default() -> Self {
        Self::Known(Vec::new())
    }
}

/// The node's address and what it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The address.
    pub address: IpAddr,
    /// What it is from.
    pub from: Source,
}

/// What the address is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `node.address`.
    Written,
    /// `node.addressFrom`: the network, and the interface that has the address.
    Network(Cidr, String),
    /// The route to the API server.
    Route,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match &self.from {
            Source::Written => write!(f, "{address}, as node.address says"),
            Source::Network(network, interface) => {
                write!(f, "{address} of {interface}, in {network} (node.addressFrom)")
            }
            Source::Route => write!(f, "{address}, from the route to the API server"),
        }
    }
}

/// The node's address; `None` where the kubelet finds it by itself, or there is no route. An error says why
/// `node.addressFrom` chooses none.
///
/// # Errors
///
/// Where no interface, or more than one, has an address in the first network that has any.
pub fn choose(config: &Config, facts: &Facts) -> Result<Option<Chosen>, String> {
    let networks = &config.node.address_from;
    if let Some(address) = config.node.address {
        return Ok(Some(Chosen { address, from: Source::Written }));
    }
    if networks.is_empty() {
        return Ok(facts.route_address.map(|address| Chosen { address, from: Source::Route }));
    }
    let all = match &facts.addresses {
        Found::Known(all) => all,
        Found::Unknown(why) => return Err(format!("node.addressFrom: {why}")),
    };
    for network in networks {
        let mut inside: Vec<&LocalAddress> =
            all.iter().filter(|local| is_candidate(local, network)).collect();
        inside.sort_by_key(|local| local.address);
        inside.dedup_by_key(|local| local.address);
        match inside[..] {
            [] => {}
            [LocalAddress { address, interface }] => {
                let from = Source::Network(*network, interface.clone());
                return Ok(Some(Chosen { address: *address, from }));
            }
            _ => {
                return Err(format!(
                    "{} addresses are in {network} (node.addressFrom): {}; a node has one",
                    inside.len(),
                    list(inside)
                ));
            }
        }
    }
    let asked: Vec<String> = networks.iter().map(ToString::to_string).collect();
    Err(format!(
        "no address is in {} (node.addressFrom); there are {}",
        asked.join(", "),
        list(all.iter().filter(|local| !is_others(&local.interface)))
    ))
}

/// Why the kubelet would not take the address that is written: no interface has it.
pub fn is_nowhere(config: &Config, facts: &Facts) -> Option<String> {
    let (Some(address), Found::Known(all)) = (config.node.address, &facts.addresses) else { return None };
    (!all.iter().any(|local| local.address == address)).then(|| {
        format!(
            "no interface has {address} (node.address), which the kubelet would refuse; there are {}",
            list(all.iter().filter(|local| !is_others(&local.interface)))
        )
    })
}

fn is_candidate(local: &LocalAddress, network: &Cidr) -> bool {
    network.contains(local.address) && !is_others(&local.interface)
}

fn is_others(interface: &str) -> bool {
    OTHERS.contains(&interface) || OTHERS_BEGIN.iter().any(|begin| interface.starts_with(begin))
}

fn list<'a>(addresses: impl IntoIterator<Item = &'a LocalAddress>) -> String {
    let texts: Vec<String> =
        addresses.into_iter().map(|local| format!("{} {}", local.interface, local.address)).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}
