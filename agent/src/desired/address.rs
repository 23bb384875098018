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
    "docker0",
    "docker_gwbridge",
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
const OTHERS_BEGIN: [&str; 5] = ["veth", "cali", "flannel", "cilium_", "lxc"];

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

/// Where an API server is that goes by a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ByName {
    /// It has not been looked up yet, or need not be.
    #[default]
    Unknown,
    /// On this machine: the way there says nothing of the node's address.
    Here,
    /// On another, and this is the source address on the way there.
    Route(IpAddr),
    /// Why that can't be told now.
    Failed(String),
}

/// Whether the node has joined, and the address it then had from a name, which stays its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Joined {
    /// It has not.
    #[default]
    No,
    /// It has, and this is remembered.
    As(Option<IpAddr>),
}

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// It must be mended.
    Trouble(String),
    /// The way to the API server is not known yet.
    NotYet(String),
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
    /// `node.addressFrom`: the network, the interface that has the address, and why it is this one where the network has
    /// several.
    Network(Cidr, String, Option<&'static str>),
    /// The route to the API server.
    Route,
    /// The one it joined with, where the API server goes by a name: what that leads to may change, a node's address not.
    Joined,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match &self.from {
            Source::Written => write!(f, "{address}, as node.address says"),
            Source::Network(network, interface, because) => {
                write!(f, "{address} of {interface}, in {network} (node.addressFrom)")?;
                because.map_or(Ok(()), |because| write!(f, ", {because}"))
            }
            Source::Route => write!(f, "{address}, from the route to the API server"),
            Source::Joined => write!(f, "{address}, the one it has been"),
        }
    }
}

/// The node's address; `None` where the kubelet finds it by itself, or there is no route. An error says why
/// `node.addressFrom` chooses none.
///
/// # Errors
///
/// Where no interface has an address in any of the networks, or the first network that has any has several and none of
/// them is known to be the node's: the one the kubelet runs with, or the one on the way to the API server. A floating
/// address that joins the node's own in its network changes nothing thus.
pub fn choose(config: &Config, facts: &Facts) -> Result<Option<Chosen>, Lack> {
    let networks = &config.node.address_from;
    if let Some(address) = config.node.address {
        return Ok(Some(Chosen { address, from: Source::Written }));
    }
    if networks.is_empty() {
        return on_the_way(config, facts);
    }
    in_a_network(networks, facts).map(Some).map_err(Lack::Trouble)
}

/// The source address of the route to the API server. Where that goes by a name, the one of the first look-up for good: a node
/// that joined without goes on without.
fn on_the_way(config: &Config, facts: &Facts) -> Result<Option<Chosen>, Lack> {
    let by_route = |address| Chosen { address, from: Source::Route };
    let server = &config.cluster.server;
    if server.address().is_some() {
        return Ok(facts.route_address.map(by_route));
    }
    let not_yet = |why: String| Err(Lack::NotYet(why));
    match (facts.joined, &facts.by_name) {
        (Joined::As(remembered), _) => match remembered.or(facts.written_address) {
            Some(address) if is_gone(facts, address) => Err(Lack::Trouble(format!(
                "no interface has {address}, with which this node joined; if it is another for good, write node.address"
            ))),
            kept => Ok(kept.map(|address| Chosen { address, from: Source::Joined })),
        },
        (Joined::No, ByName::Here) => Ok(None),
        (Joined::No, ByName::Route(address)) if !is_gone(facts, *address) => Ok(Some(by_route(*address))),
        (Joined::No, ByName::Failed(why)) => not_yet(format!("cannot look up `{}`: {why}", server.host())),
        (Joined::No, _) => not_yet(format!("looking up `{}`", server.host())),
    }
}

/// Whether the node's address hangs on where an API server is that goes by a name.
pub fn is_looked_up(config: &Config, facts: &Facts) -> bool {
    is_by_name(config) && facts.joined == Joined::No
}

/// Whether what was looked up holds no more: the address has left this machine.
pub fn is_outdated(facts: &Facts) -> bool {
    matches!(facts.by_name, ByName::Route(address) if is_gone(facts, address))
}

/// What a node remembers when it has joined: the address that it has by a name, also while it is told another.
pub fn to_remember(config: &Config, facts: &Facts) -> Option<IpAddr> {
    match facts.joined {
        _ if config.cluster.server.address().is_some() => None,
        Joined::As(Some(address)) => Some(address),
        _ if is_by_name(config) => choose(config, facts).ok().flatten().map(|chosen| chosen.address),
        _ => None,
    }
}

fn is_by_name(config: &Config) -> bool {
    let node = &config.node;
    config.cluster.server.address().is_none() && node.address.is_none() && node.address_from.is_empty()
}

fn is_gone(facts: &Facts, address: IpAddr) -> bool {
    matches!(&facts.addresses, Found::Known(all) if !all.iter().any(|local| local.address == address))
}

fn in_a_network(networks: &[Cidr], facts: &Facts) -> Result<Chosen, String> {
    let all = match &facts.addresses {
        Found::Known(all) => all,
        Found::Unknown(why) => return Err(format!("node.addressFrom: {why}")),
    };
    for network in networks {
        let mut inside: Vec<&LocalAddress> =
            all.iter().filter(|local| is_candidate(local, network)).collect();
        inside.sort_by_key(|local| local.address);
        inside.dedup_by_key(|local| local.address);
        let known = |address: Option<IpAddr>| inside.iter().find(|local| Some(local.address) == address);
        let (local, because) = match inside[..] {
            [] => continue,
            [local] => (local, None),
            _ => match (known(facts.written_address), known(facts.route_address)) {
                (Some(local), _) => (*local, Some("the one it has been")),
                (None, Some(local)) => (*local, Some("the one on the way to the API server")),
                (None, None) => {
                    return Err(format!(
                        "{} addresses are in {network} (node.addressFrom): {}; a node has one",
                        inside.len(),
                        list(inside)
                    ));
                }
            },
        };
        let from = Source::Network(*network, local.interface.clone(), because);
        return Ok(Chosen { address: local.address, from });
    }
    Err(nowhere_inside(networks, all))
}

fn nowhere_inside(networks: &[Cidr], all: &[LocalAddress]) -> String {
    let asked: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let (others, own): (Vec<_>, Vec<_>) = all.iter().partition(|local| is_others(&local.interface));
    let message =
        format!("no address is in {} (node.addressFrom); there are {}", asked.join(", "), list(own));
    let inside = |local: &&LocalAddress| networks.iter().any(|network| network.contains(local.address));
    let others: Vec<&LocalAddress> = others.into_iter().filter(inside).collect();
    if others.is_empty() {
        return message;
    }
    format!("{message}; of a runtime or the pods' network, and not counted: {}", list(others))
}

/// The address that the kubelet's unit gives it.
pub fn written(unit: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(unit).ok()?;
    let after = text.split("--node-ip=").nth(1)?;
    after.split(|c: char| c == '"' || c.is_whitespace()).next()?.parse().ok()
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
    // docker names a bridge after the first 12 characters of its network's id; an administrator's may be `br-lan`.
    let is_id = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    OTHERS.contains(&interface)
        || OTHERS_BEGIN.iter().any(|begin| interface.starts_with(begin))
        || interface.strip_prefix("br-").is_some_and(is_id)
}

fn list<'a>(addresses: impl IntoIterator<Item = &'a LocalAddress>) -> String {
    let texts: Vec<String> =
        addresses.into_iter().map(|local| format!("{} {}", local.interface, local.address)).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}
