//! What kubelet and kube-proxy do in some versions only, without a flag or field that shows it.

use super::Version;

/// Something the kubelet does, or kube-proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It speaks to docker itself.
    Dockershim,
    /// It speaks version 1 of the container runtime interface.
    RuntimeV1,
    /// It looks for the credentials of AWS at an address that only AWS has, and waits 6 s for it elsewhere.
    InTreeAwsCredentials,
    /// It reads a changed serving certificate without a restart.
    ServingFileReload,
    /// kube-proxy takes away at its start what it left in nftables, or in iptables and ipvs, where its mode is of the other
    /// two. Between iptables and ipvs nothing does.
    ProxyCleansUp,
    /// It speaks WebSockets with the API server for `kubectl exec` and `attach`, and for that https with the runtime's
    /// streaming server, unless its gate `ExtendWebSocketsToKubelet` is off. cri-dockerd's speaks http.
    WebSocketsToRuntime,
    /// kube-proxy's mode ipvs is deprecated.
    IpvsDeprecated,
}

/// From which minor version on, and up to but not including which.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// What.
    pub behaviour: Behaviour,
    /// In a few words.
    pub name: &'static str,
    /// The first minor version; 0 for before 1.20.
    pub since: u16,
    /// The first one after it; `u16::MAX` for none.
    pub until: u16,
    /// Where that is written.
    pub source: &'static str,
}

/// All of them.
pub const BEHAVIOURS: [Span; 7] = [
    Span {
        behaviour: Behaviour::Dockershim,
        name: "speaks to docker itself (dockershim); after that docker needs cri-dockerd",
        since: 0,
        until: 24,
        source: "KEP-2221",
    },
    Span {
        behaviour: Behaviour::RuntimeV1,
        name: "speaks `runtime.v1` to a container runtime, before it `runtime.v1alpha2` alone",
        since: 23,
        until: u16::MAX,
        source: "kubernetes/kubernetes#104575",
    },
    Span {
        behaviour: Behaviour::InTreeAwsCredentials,
        name: "asks AWS for credentials; its unit says `AWS_EC2_METADATA_DISABLED=true`",
        since: 0,
        until: 27,
        source: "KEP-2395, pkg/credentialprovider/aws",
    },
    Span {
        behaviour: Behaviour::ServingFileReload,
        name: "reads a changed `tlsCertFile` without a restart",
        since: 31,
        until: u16::MAX,
        source: "ReloadKubeletServerCertificateFile, kubernetes/kubernetes#124574",
    },
    Span {
        behaviour: Behaviour::ProxyCleansUp,
        name: "kube-proxy takes away at its start what was left where nftables comes or goes; else kn-agent has it do so",
        since: 29,
        until: u16::MAX,
        source: "k8s.io/kubernetes v1.29, cmd/kube-proxy/app/server_others.go: platformCleanup",
    },
    Span {
        behaviour: Behaviour::WebSocketsToRuntime,
        name: "speaks WebSockets for `kubectl exec`, which fails with cri-dockerd: beside it its gate \
               `ExtendWebSocketsToKubelet` is off",
        since: 36,
        until: u16::MAX,
        source: "KEP-4006, Mirantis/cri-dockerd#560",
    },
    Span {
        behaviour: Behaviour::IpvsDeprecated,
        name: "kube-proxy's mode ipvs is deprecated, and says so in its log",
        since: 35,
        until: u16::MAX,
        source: "KEP-5495, cmd/kube-proxy/app/server_linux.go",
    },
];

impl Behaviour {
    /// Whether the kubelet of this version does it.
    pub fn holds(self, version: Version) -> bool {
        BEHAVIOURS
            .iter()
            .any(|span| span.behaviour == self && (span.since..span.until).contains(&version.minor))
    }

    /// Where it is written.
    pub(super) fn source(self) -> &'static str {
        BEHAVIOURS.iter().find(|span| span.behaviour == self).map_or("", |span| span.source)
    }
}
