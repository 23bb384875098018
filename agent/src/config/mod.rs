//! What the operator wrote: fragments → merged → validated [`Config`].
//!
//! Pure: texts come in, a `Config` or every problem found goes out. [`sources`] alone knows the directories and reads.

mod ca;
mod check;
mod components;
mod env;
mod firewall;
mod fragment;
#[expect(clippy::disallowed_methods, reason = "asks the machine")]
mod host;
mod labels;
mod merge;
mod problem;
mod provenance;
mod reserved;
mod shape;
#[expect(clippy::disallowed_methods, reason = "the one file of the configuration that reads")]
pub mod sources;
mod standalone;
mod starter;
mod subject;
#[cfg(test)]
mod tests;
mod tree;
mod trust;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use fragment::schema;
pub use host::HostFacts;
pub(crate) use labels::check_label;
pub use problem::{ConfigErrors, Problem};
pub(crate) use problem::{nearest, shown};
pub use provenance::{Explanation, Leaf, Origin, Provenance};
pub use shape::{Key, keys};
pub use sources::{Loaded, Sources, TokenError, load, read_token};
pub(crate) use standalone::verify;
pub use starter::STARTER;
pub use tree::SyntaxError;
pub(crate) use tree::{Node as TreeNode, Tree, syntax_error};

use crate::names::{ApiServerUrl, CaPin, Cidr, NodeName, Subject, Token};

/// The validated configuration of a node. Immutable; made once a start and at each reload.
#[derive(Debug, Clone, PartialEq)]
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
    /// Who reaches this node's ports.
    pub firewall: Firewall,
}

/// The cluster to join.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name, as it appears in kubeconfig files.
    pub name: String,
    /// Address of the API server.
    pub server: ApiServerUrl,
    /// Where the certificates are that the API server is checked against.
    pub ca: CaSource,
    /// Where the certificates are that sign for clients. `None`: those of `ca`.
    pub client_ca: Option<ClientCaSource>,
    /// Cluster DNS as pods see it.
    pub dns: Dns,
    /// The block all pods take their addresses from.
    pub pod_cidr: Option<Cidr>,
    /// The block Services take their addresses from.
    pub service_cidr: Option<Cidr>,
}

/// Who reaches this node's ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// Ports that only some may reach; each once.
    pub restrict: Vec<Restriction>,
}

/// A TCP port and who may reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// The port.
    pub port: u16,
    /// The networks that may; never empty.
    pub allow: Vec<Cidr>,
}

/// Where a CA bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaSource {
    /// A PEM file on this machine.
    File(PathBuf),
    /// PEM text, in the configuration itself.
    Pem(String),
    /// The cluster's own, found by the hashes of public keys.
    Pins(Vec<CaPin>),
}

/// Where the bundle of those who sign for clients comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCaSource {
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
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The token for the first certificate. `None`: allowed once an identity exists.
    pub token: Option<TokenSource>,
    /// The kind of key to make.
    pub key: KeyAlgorithm,
    /// The certificate that was issued before (mode `certificate`). `None`: mode `bootstrap`.
    pub supplied: Option<SuppliedPair>,
}

/// A certificate and its key that somebody put on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppliedPair {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM; may be the same file.
    pub key: PathBuf,
}

/// Where the bootstrap token is read from, again each time it is needed.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenSource {
    /// A file, readable by root alone.
    File(PathBuf),
    /// A systemd credential of the daemon's unit, by name.
    Credential(String),
    /// In the configuration itself.
    Value(Token),
}

/// The kind of private key to make on the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    #[default]
    EcdsaP256,
    /// RSA with 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

/// What the Node object is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name; drives kubelet and kube-proxy alike. Default: the host name in lower case.
    pub name: NodeName,
    /// The address it is reached at. Default: the one the route to the API server takes, found when needed.
    pub address: Option<IpAddr>,
    /// Networks that the address is in, the preferred first; empty where they do not matter.
    pub address_from: Vec<Cidr>,
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
    /// Which one.
    pub kind: RuntimeKind,
    /// The image of the pod sandbox; must be on the node before the kubelet starts.
    pub sandbox_image: String,
    /// A directory of image files to load before the node joins. `None`: none.
    pub images: Option<PathBuf>,
    /// The cri-dockerd program (Kubernetes 1.24 and later). `None`: searched for.
    pub cri_dockerd: Option<PathBuf>,
    /// Keys for docker's `daemon.json`, merged over what stands there.
    pub daemon_json: Map<String, Value>,
}

/// A container runtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// docker: through dockershim up to Kubernetes 1.23, through cri-dockerd from 1.24.
    #[default]
    Docker,
    /// containerd, 1.6 or later.
    Containerd,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkPlugin {
    /// A bridge with the Node's own block of pod addresses, written by us. One node, or routes made elsewhere.
    Bridge,
    /// Calico's DaemonSet writes the configuration.
    Calico,
    /// flannel's DaemonSet writes the configuration.
    Flannel,
    /// Somebody else writes the configuration.
    #[default]
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

/// What is kept from pods for the system and for Kubernetes' own programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reserved {
    /// What `kubelet.config` says.
    #[default]
    None,
    /// What a published formula gives for this machine.
    Auto,
}

/// kube-proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    /// `false` where the cluster runs it as a DaemonSet.
    pub enabled: bool,
    /// How it makes Services work.
    pub mode: ProxyMode,
    /// Its kubeconfig, made elsewhere. `None`: ours.
    pub kubeconfig: Option<PathBuf>,
    /// Who its certificate is for.
    pub subject: Subject,
    /// Program, configuration, flags.
    pub component: Component,
}

/// How kube-proxy makes Services work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyMode {
    /// iptables, in every version.
    #[default]
    Iptables,
    /// nftables, from Kubernetes 1.29.
    Nftables,
    /// The kernel's load balancer beside iptables, in every version; deprecated since 1.35.
    Ipvs,
}

impl ProxyMode {
    /// As configurations write it, kube-proxy's too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        }
    }
}

/// Checks before joining.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preflight {
    /// Names of checks whose failure is only reported.
    pub ignore: BTreeSet<String>,
}
