//! The shape of one configuration file, as written. The comments here are the reference: `config schema` prints them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $key:ident: $kind:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($(#[$field])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$kind>,)+
        }
    };
}

section! {
    /// The configuration of a node.
    Fragment {
        /// `kn-agent.io/v1alpha1`.
        api_version: String,
        /// `NodeConfig`.
        kind: String,
        /// The cluster to join.
        cluster: Cluster,
        /// How this machine proves who it is.
        identity: Identity,
        /// What the Node object is to be.
        node: Node,
        /// The container runtime.
        runtime: Runtime,
        /// The pod network.
        network: Network,
        /// The kubelet.
        kubelet: Component,
        /// kube-proxy.
        proxy: Proxy,
        /// Checks before joining.
        preflight: Preflight,
    }
}
section! {
    /// The cluster to join.
    Cluster {
        /// Address of the API server, `https://HOST:PORT`. Required.
        server: String,
        /// The CA the API server is checked against. Required.
        ca: Ca,
        /// Cluster DNS as pods see it.
        dns: Dns,
        /// The block all pods take their addresses from, e.g. 10.244.0.0/16.
        #[serde(rename = "podCIDR", alias = "podCidr")]
        pod_cidr: String,
        /// The block Services take their addresses from, e.g. 10.96.0.0/16.
        #[serde(rename = "serviceCIDR", alias = "serviceCidr")]
        service_cidr: String,
    }
}
section! {
    /// A CA bundle: one of the two.
    Ca {
        /// A PEM file on this machine.
        file: PathBuf,
        /// PEM text.
        data: String,
    }
}
section! {
    /// Cluster DNS.
    Dns {
        /// Address of the DNS Service.
        address: String,
        /// The cluster's domain. Default: cluster.local
        domain: String,
    }
}
section! {
    /// How this machine proves who it is.
    Identity {
        /// `bootstrap`: a token for the first certificate.
        mode: Mode,
        /// The token. Not needed once the node has its certificate.
        token: TokenFrom,
        /// The kind of key to make. Default: ecdsa-p256
        key: Key,
    }
}
section! {
    /// A token: one of the three.
    TokenFrom {
        /// A file, readable by root alone.
        file: PathBuf,
        /// The name of a systemd credential of kn-agent.service.
        credential: String,
        /// The token itself; the file it stands in must have mode 0600.
        value: String,
    }
}
section! {
    /// What the Node object is to be.
    Node {
        /// Its name. Default: the host name in lower case
        name: String,
        /// The address it is reached at. Default: the one on the way to the API server
        address: String,
        /// Labels to register with.
        labels: BTreeMap<String, String>,
        /// Taints to register with, `key=value:Effect`.
        taints: Vec<String>,
    }
}
section! {
    /// The container runtime.
    Runtime {
        /// `docker`.
        kind: Kind,
        /// The image of the pod sandbox. Default: registry.k8s.io/pause:3.10
        sandbox_image: String,
        /// The cri-dockerd program. Default: searched for
        cri_dockerd: PathBuf,
        /// Keys for docker's daemon.json, merged over what stands there.
        daemon_json: Map<String, Value>,
    }
}
section! {
    /// The pod network.
    Network {
        /// Who makes it. Default: none
        plugin: Plugin,
        /// Where CNI configurations are. Default: /etc/cni/net.d
        conf_dir: PathBuf,
        /// Where CNI plugins are. Default: searched for
        bin_dir: PathBuf,
    }
}
section! {
    /// The kubelet.
    Component {
        /// Its program. Default: searched for
        binary: PathBuf,
        /// Fields of KubeletConfiguration, merged over ours.
        config: Map<String, Value>,
        /// Flags that have no field, without dashes.
        extra_args: BTreeMap<String, String>,
    }
}
section! {
    /// kube-proxy.
    Proxy {
        /// `false` where the cluster runs it as a DaemonSet. Default: true
        enabled: bool,
        /// How it makes Services work. Default: iptables
        mode: ProxyMode,
        /// Its program. Default: searched for
        binary: PathBuf,
        /// Fields of KubeProxyConfiguration, merged over ours.
        config: Map<String, Value>,
        /// Flags that have no field, without dashes.
        extra_args: BTreeMap<String, String>,
    }
}
section! {
    /// Checks before joining.
    Preflight {
        /// Names of checks whose failure is only reported.
        ignore: Vec<String>,
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant:meta])* $key:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$variant])* #[serde(rename = $text)] $key,)+ }
    };
}

choice! {
    /// How a machine gets its identity.
    Mode {
        /// By token.
        Bootstrap = "bootstrap",
    }
}
choice! {
    /// Kinds of keys.
    Key {
        /// ECDSA on P-256.
        EcdsaP256 = "ecdsa-p256",
        /// RSA with 2048 bits.
        Rsa2048 = "rsa-2048",
    }
}
choice! {
    /// Container runtimes.
    Kind {
        /// docker.
        Docker = "docker",
    }
}
choice! {
    /// Who makes the pod network.
    Plugin {
        /// A bridge, configured by the agent.
        Bridge = "bridge",
        /// Calico.
        Calico = "calico",
        /// flannel.
        Flannel = "flannel",
        /// Somebody else.
        None = "none",
    }
}
choice! {
    /// Modes of kube-proxy.
    ProxyMode {
        /// iptables.
        Iptables = "iptables",
        /// nftables.
        Nftables = "nftables",
    }
}
