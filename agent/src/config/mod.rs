//! What the operator wrote: fragments → merged → validated [`Config`].
//!
//! Pure: texts come in, a `Config` or every problem found goes out. [`sources`] alone knows the directories and reads.

pub mod fragment;
pub mod labels;
pub mod sources;
#[cfg(test)]
mod tests;
pub mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::names::{ApiServerUrl, Cidr, NodeName, Token};

/// The validated configuration of a node. Immutable; made once a start and at each reload.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster to join.
    pub cluster: Cluster,
    /// How this machine proves who it is.
    pub identity: Identity,
    /// What the Node object is to be.
    pub node: Node,
    /// The container runtime.
    pub runtime: Runtime,
    /// The pod network.
    pub network: Network,
    /// The kubelet.
    pub kubelet: Component,
    /// kube-proxy.
    pub proxy: Proxy,
    /// Checks before joining.
    pub preflight: Preflight,
}

/// The cluster to join.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Address of the API server.
    pub server: ApiServerUrl,
    /// Where the certificates are that the API server is checked against.
    pub ca: CaSource,
    /// Cluster DNS as pods see it.
    pub dns: Dns,
    /// The block all pods take their addresses from.
    pub pod_cidr: Option<Cidr>,
    /// The block Services take their addresses from.
    pub service_cidr: Option<Cidr>,
}

/// Where a CA bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaSource {
    /// A PEM file on this machine.
    File(PathBuf),
    /// PEM text, in the configuration itself.
    Pem(String),
}

/// What pods get as their resolver. Both or neither: one alone does not work (kubelet event `MissingClusterDNS`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Address of the cluster's DNS Service.
    pub address: Option<IpAddr>,
    /// The cluster's domain, without a trailing dot.
    pub domain: String,
}

/// How this machine proves who it is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The token for the first certificate. `None`: allowed once an identity exists.
    pub token: Option<TokenSource>,
    /// The kind of key to make.
    pub key: KeyAlgorithm,
}

/// Where the bootstrap token is read from, again each time it is needed.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// A file, readable by root alone.
    File(PathBuf),
    /// A systemd credential of the daemon's unit, by name.
    Credential(String),
    /// In the configuration itself.
    Value(Token),
}

/// The kind of private key to make on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    EcdsaP256,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// What the Node object is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name; drives kubelet and kube-proxy alike. Default: the host name in lower case.
    pub name: NodeName,
    /// The address it is reached at. Default: the one the route to the API server takes, found when needed.
    pub address: Option<IpAddr>,
    /// Labels to register with.
    pub labels: BTreeMap<String, String>,
    /// Taints to register with.
    pub taints: Vec<Taint>,
}

/// A taint, as `key=value:effect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// The container runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Which one. Docker is the only one so far.
    pub kind: RuntimeKind,
    /// The image of the pod sandbox; must be on the node before the kubelet starts.
    pub sandbox_image: String,
    /// The cri-dockerd program (Kubernetes 1.24 and later). `None`: searched for.
    pub cri_dockerd: Option<PathBuf>,
    /// Keys for docker's `daemon.json`, merged over what stands there.
    pub daemon_json: Map<String, Value>,
}

/// A container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// docker: through dockershim up to Kubernetes 1.23, through cri-dockerd from 1.24.
    Docker,
}

/// The pod network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Who makes it.
    pub plugin: NetworkPlugin,
    /// Where CNI configurations are.
    pub conf_dir: PathBuf,
    /// Where CNI plugins are. `None`: the first of `/opt/cni/bin`, `/usr/lib/cni`, `/usr/libexec/cni` that holds what
    /// the configuration needs.
    pub bin_dir: Option<PathBuf>,
}

/// Who makes the pod network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkPlugin {
    /// A bridge with the Node's own block of pod addresses, written by us. One node, or routes made elsewhere.
    Bridge,
    /// Calico's DaemonSet writes the configuration.
    Calico,
    /// flannel's DaemonSet writes the configuration.
    Flannel,
    /// Somebody else writes the configuration.
    None,
}

/// A component that is driven by its own configuration object.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its program. `None`: searched for.
    pub binary: Option<PathBuf>,
    /// Fields of its own configuration object, merged over ours.
    pub config: Map<String, Value>,
    /// Flags that have no field, without the leading dashes.
    pub extra_args: BTreeMap<String, String>,
}

/// kube-proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    /// `false` where the cluster runs it as a DaemonSet.
    pub enabled: bool,
    /// `iptables` or `nftables`.
    pub mode: ProxyMode,
    /// Program, configuration, flags.
    pub component: Component,
}

/// How kube-proxy makes Services work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// iptables, in every version.
    Iptables,
    /// nftables, from Kubernetes 1.29.
    Nftables,
}

/// Checks before joining.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preflight {
    /// Names of checks whose failure is only reported.
    pub ignore: BTreeSet<String>,
}

/// Something wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it stands in, where that is known.
    pub file: Option<PathBuf>,
    /// The key, dotted; empty for the whole file.
    pub path: String,
    /// What was found and what is expected.
    pub message: String,
}

impl Problem {
    /// A problem with the key `path`.
    pub fn at(path: &str, message: impl Into<String>) -> Self {
        Self { file: None, path: path.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if !self.path.is_empty() && self.path != "." {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// The parser's message: its first line only, since the lines after it quote the file, which may hold a token; with
/// the nearest valid key where one is unknown.
pub(crate) fn explain_parse_error(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let unknown = message.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    let Some((unknown, rest)) = unknown else { return message.to_owned() };
    let valid = rest
        .trim_start_matches(|c: char| !c.is_whitespace())
        .trim_start()
        .trim_start_matches("expected")
        .trim();
    let words = valid.trim_start_matches("one of").split([',', ' ']).map(|word| word.trim_matches('`'));
    let nearest = words.filter(|word| !word.is_empty()).min_by_key(|word| distance(unknown, word));
    match nearest {
        Some(nearest) if distance(unknown, nearest) <= 3 => format!("{message}; did you mean `{nearest}`?"),
        _ => message.to_owned(),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
