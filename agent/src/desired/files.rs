//! Files as they must be, and where everything is.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::modes;
use crate::config::{Config, ProxyMode};

/// A file as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Where.
    pub path: PathBuf,
    /// What it holds.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

impl FileSpec {
    /// A file of text.
    pub fn new(path: &Path, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        Self { path: path.to_owned(), content: content.into(), mode }
    }
}

/// Where everything is on a node.
pub mod paths {
    use std::path::Path;

    macro_rules! paths {
        ($($(#[$doc:meta])* $name:ident = $path:literal;)+) => {
            $($(#[$doc])* pub fn $name() -> &'static Path { Path::new($path) })+
        };
    }

    paths! {
        /// The pinned CA bundle.
        ca = "/etc/kubernetes/pki/ca.crt";
        /// Those who sign for the cluster's clients, where they are others than in the bundle.
        client_ca = "/etc/kubernetes/pki/client-ca.crt";
        /// The hash of a bundle that was found by its pins.
        discovered_ca = "/var/lib/kn-agent/discovered-ca";
        /// The kubelet's certificates.
        kubelet_pki = "/var/lib/kubelet/pki";
        /// The kubelet's current client certificate with its key: a symlink, as the kubelet's own rotation keeps it.
        kubelet_client = "/var/lib/kubelet/pki/kubelet-client-current.pem";
        /// The kubelet's current serving certificate.
        kubelet_server = "/var/lib/kubelet/pki/kubelet-server-current.pem";
        /// kube-proxy's certificate with its key.
        proxy_client = "/var/lib/kube-proxy/pki/kube-proxy-client.pem";
        /// The kubelet's kubeconfig.
        kubelet_kubeconfig = "/etc/kubernetes/kubelet.kubeconfig";
        /// kube-proxy's kubeconfig.
        proxy_kubeconfig = "/etc/kubernetes/kube-proxy.kubeconfig";
        /// KubeletConfiguration.
        kubelet_config = "/etc/kubernetes/kubelet.yaml";
        /// KubeProxyConfiguration.
        proxy_config = "/etc/kubernetes/kube-proxy.yaml";
        /// docker's own configuration.
        daemon_json = "/etc/docker/daemon.json";
        /// containerd's own configuration.
        containerd_config = "/etc/containerd/config.toml";
        /// Ours beside it, where it imports others; the last one wins.
        containerd_drop_in = "/etc/containerd/conf.d/99-kn-agent.toml";
        /// A key whose certificate has not been issued yet.
        pending_client_key = "/var/lib/kn-agent/kubelet-client.key";
        /// As above, kube-proxy's.
        pending_proxy_key = "/var/lib/kn-agent/kube-proxy.key";
        /// A copy of the bootstrap token that systemd passed for one start, until the identity has proven itself.
        kept_token = "/var/lib/kn-agent/token";
        /// `kn-agent certs renew kube-proxy` puts it here, and it goes when that is done.
        renew_proxy = "/var/lib/kn-agent/renew-kube-proxy";
        /// The Node that was Ready once: its UID.
        joined = "/var/lib/kn-agent/joined";
        /// Where unit files of the administrator are.
        units = "/etc/systemd/system";
        /// docker's socket.
        docker_socket = "/run/docker.sock";
        /// containerd's socket.
        containerd_socket = "/run/containerd/containerd.sock";
        /// cri-dockerd's socket.
        cri_socket = "/run/cri-dockerd.sock";
        /// The mode that kube-proxy had before, until what it left is cleaned up.
        proxy_left = "/var/lib/kn-agent/proxy-left";
        /// Who reaches which port, as `nft` loads it.
        firewall = "/var/lib/kn-agent/firewall.nft";
        /// The note that rules for port 4194 were looked for.
        port_4194 = "/var/lib/kn-agent/port-4194";
        /// What flanneld leaves for its CNI plugin.
        flannel_subnet = "/run/flannel/subnet.env";
        /// What calico-node leaves for its CNI plugin: the name it goes by.
        calico_nodename = "/var/lib/calico/nodename";
        /// The status document.
        status = "/run/kn-agent/status.json";
        /// Held with a lock while the daemon runs; root's alone.
        lock = "/run/kn-agent/instance.lock";
        /// Likewise, for everybody to see.
        told_lock = "/run/kn-agent/daemon.lock";
    }
}

/// Kernel settings a node needs: forwarding, and bridged pod traffic seen by iptables (kube-proxy, CNI bridge).
pub const SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/bridge/bridge-nf-call-ip6tables", "1"),
];

/// `sysctl.d` file for [`SYSCTLS`]; read at boot, and by kn-agent-sysctl.service.
pub fn sysctl_conf() -> FileSpec {
    let mut text = "# Written by kn-agent: what pod traffic needs.\n".to_owned();
    for (name, value) in SYSCTLS {
        let _ = writeln!(text, "{} = {value}", name.replace('/', "."));
    }
    FileSpec::new(Path::new("/etc/sysctl.d/95-kn-agent.conf"), text, 0o644)
}

/// `modules-load.d` file for what the settings above live in, and for kube-proxy's mode.
pub fn modules_conf(config: &Config) -> FileSpec {
    let mut text =
        "# Written by kn-agent: bridged traffic seen by iptables; overlay for images.\nbr_netfilter\noverlay\n".to_owned();
    if config.proxy.enabled && config.proxy.mode == ProxyMode::Ipvs {
        text.push_str("# kube-proxy's mode ipvs.\n");
        for module in modes::modules(config) {
            let _ = writeln!(text, "{module}");
        }
    }
    FileSpec::new(Path::new("/etc/modules-load.d/95-kn-agent.conf"), text, 0o644)
}
