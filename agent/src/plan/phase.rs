//! The phases of becoming a node, and what each stands on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a node has come. Declaration order is reading order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The host can be a node, as far as can be seen without executing anything.
    Preflight,
    /// The programs say that they can: version, flags.
    Programs,
    /// The CA bundle is on disk.
    Trust,
    /// Key and client certificate of the node.
    Identity,
    /// Files, kernel settings, units known to systemd.
    Host,
    /// The container engine runs and answers.
    Engine,
    /// The CRI answers, on the same cgroup driver as the kubelet.
    Runtime,
    /// The Node object exists and is ours.
    Registered,
    /// CNI directories, plugins, configuration.
    Network,
    /// The kubelet runs and is healthy.
    Kubelet,
    /// kube-proxy's own certificate.
    ProxyIdentity,
    /// kube-proxy runs and is healthy.
    Proxy,
    /// The kubelet's serving certificate. Does not hold back Ready.
    ServingCert,
    /// The Node's Ready condition is True.
    Ready,
    /// What a join need not wait for. Does not hold back Ready.
    Upkeep,
    /// Certificates are renewed in time, and what they were asked for with is tidied away. Does not hold back Ready.
    Renewal,
}

impl Phase {
    /// Every phase, in reading order.
    pub const ALL: [Self; 16] = [
        Self::Preflight,
        Self::Programs,
        Self::Trust,
        Self::Identity,
        Self::Host,
        Self::Engine,
        Self::Runtime,
        Self::Registered,
        Self::Network,
        Self::Kubelet,
        Self::ProxyIdentity,
        Self::Proxy,
        Self::ServingCert,
        Self::Ready,
        Self::Upkeep,
        Self::Renewal,
    ];

    /// What must be satisfied before this phase may act. The whole graph is this match, but for what joins are faster by:
    /// `plan/queue.rs` starts the next unit behind one that is under way, and has kube-proxy wait for the kubelet.
    pub const fn requires(self) -> &'static [Self] {
        match self {
            Self::Preflight => &[],
            Self::Programs | Self::Engine => &[Self::Preflight],
            Self::Trust | Self::Host => &[Self::Programs],
            Self::Identity => &[Self::Trust],
            Self::Runtime => &[Self::Host, Self::Engine],
            Self::Registered | Self::Renewal => &[Self::Identity],
            Self::Network => &[Self::Host, Self::Registered],
            Self::Kubelet => &[Self::Identity, Self::Runtime],
            Self::ProxyIdentity => &[Self::Registered],
            Self::Proxy => &[Self::ProxyIdentity, Self::Host],
            Self::ServingCert => &[Self::Kubelet],
            Self::Upkeep => &[Self::Ready],
            Self::Ready => &[Self::Kubelet, Self::Network, Self::Proxy, Self::Registered],
        }
    }

    /// Its name as `status` shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Programs => "programs",
            Self::Trust => "trust",
            Self::Identity => "identity",
            Self::Host => "host",
            Self::Engine => "engine",
            Self::Runtime => "runtime",
            Self::Registered => "registered",
            Self::Network => "network",
            Self::Kubelet => "kubelet",
            Self::ProxyIdentity => "proxyIdentity",
            Self::Proxy => "proxy",
            Self::ServingCert => "servingCert",
            Self::Ready => "ready",
            Self::Upkeep => "upkeep",
            Self::Renewal => "renewal",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
