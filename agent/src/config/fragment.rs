//! One file as it is written: every key optional, no other key allowed. The doc comments here are the manual: they go
//! into the JSON Schema and into `config explain`.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{KeyAlgorithm, NetworkPlugin, ProxyMode, Reserved, RuntimeKind};

/// The group that holds or names the token.
pub(super) const TOKEN: &str = "identity.token";

/// The configuration of a node that kn-agent runs on. Needed are `cluster.server`, `cluster.ca` and, until the node has
/// its first certificate, `identity.token`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "NodeConfig")]
pub(super) struct Fragment {
    /// Version of this format. Default: `kn-agent.io/v1alpha1`.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Option<ApiVersion>,
    /// Kind of this document. Default: `NodeConfig`.
    #[serde(rename = "kind")]
    pub(super) _kind: Option<Kind>,
    /// The cluster to join.
    pub(super) cluster: Option<ClusterFragment>,
    /// How this machine proves who it is.
    pub(super) identity: Option<IdentityFragment>,
    /// What the Node object is to be.
    pub(super) node: Option<NodeFragment>,
    /// The container runtime.
    pub(super) runtime: Option<RuntimeFragment>,
    /// The pod network.
    pub(super) network: Option<NetworkFragment>,
    /// The kubelet. It is always driven by its configuration file, plus those flags that have no field in it.
    pub(super) kubelet: Option<KubeletFragment>,
    /// kube-proxy.
    pub(super) proxy: Option<ProxyFragment>,
    /// Who reaches this node's ports.
    pub(super) firewall: Option<FirewallFragment>,
    /// Checks before joining.
    pub(super) preflight: Option<PreflightFragment>,
}

/// Who reaches this node's ports.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FirewallFragment {
    /// TCP ports of this node that only some may reach, e.g. `[{port: 10250, allow: [10.0.0.0/8]}]`: a table of nftables of
    /// its own, beside all others. The node itself reaches them always. Of 10250 the API servers must be allowed, or
    /// `kubectl logs` and `exec` fail, and whoever reads metrics. Default: none.
    pub(super) restrict: Option<Vec<RestrictionFragment>>,
}

/// A port and who may reach it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RestrictionFragment {
    /// The port, 1 to 65535; each once. Required.
    pub(super) port: Option<String>,
    /// The networks that may reach it, e.g. `10.0.0.0/8` or `fd00::/8`; a single address is `10.0.0.7/32`. Required.
    pub(super) allow: Option<Vec<String>>,
}

/// Version of this format.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) enum ApiVersion {
    #[serde(rename = "kn-agent.io/v1alpha1")]
    V1Alpha1,
}

/// Kind of this document.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) enum Kind {
    #[serde(rename = "NodeConfig")]
    NodeConfig,
}

/// The cluster to join.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClusterFragment {
    /// Address of the API server, `https://HOST[:PORT]`; port 443 where none is written. Required.
    pub(super) server: Option<String>,
    /// The certificates the API server is checked against. Required: one of `file`, `data` and `pins`.
    pub(super) ca: Option<CaFragment>,
    /// The certificates that sign for the cluster's clients, where they are others than those of the API server: one of
    /// `file` and `data`. The node's certificate must come from them, and the kubelet lets in whom they signed. Default:
    /// those of `cluster.ca`.
    #[serde(rename = "clientCA")]
    pub(super) client_ca: Option<ClientCaFragment>,
    /// The cluster's name, as it appears in kubeconfig files. Default: `kubernetes`.
    pub(super) name: Option<String>,
    /// Cluster DNS as pods see it.
    pub(super) dns: Option<DnsFragment>,
    /// The block all pods take their addresses from, e.g. `10.244.0.0/16`. Default: none.
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: Option<String>,
    /// The block Services take their addresses from, e.g. `10.96.0.0/16`; must not overlap `podCIDR`. Default: none.
    #[serde(rename = "serviceCIDR")]
    pub(super) service_cidr: Option<String>,
}

/// The certificates the API server is checked against.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CaFragment {
    /// A PEM file on this machine; an absolute path.
    pub(super) file: Option<String>,
    /// PEM text, or base64 of it.
    pub(super) data: Option<String>,
    /// Hashes of public keys, `sha256:` and 64 hexadecimal digits, as `kubeadm token create --print-join-command` prints
    /// them. The certificates are then taken from the cluster itself (ConfigMap `kube-public/cluster-info`): one of them
    /// must have one of these keys, and the bootstrap token must have signed them, before anything else is said there.
    pub(super) pins: Option<Vec<String>>,
}

/// The certificates that sign for the cluster's clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClientCaFragment {
    /// A PEM file on this machine; an absolute path.
    pub(super) file: Option<String>,
    /// PEM text, or base64 of it.
    pub(super) data: Option<String>,
}

/// Cluster DNS as pods see it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DnsFragment {
    /// Address of the cluster's DNS Service, e.g. `10.96.0.10`, also as a list of one. Default: that of the Service
    /// `kube-system/kube-dns`, asked for with the node's own identity; pods resolve as the node does where there is none.
    pub(super) address: Option<TextOrList>,
    /// The cluster's domain; a trailing dot is dropped. Default: `cluster.local`.
    pub(super) domain: Option<String>,
}

/// One text or a list of texts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum TextOrList {
    /// One text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// How this machine proves who it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IdentityFragment {
    /// `bootstrap`: a token asks for the first certificate, which renews itself from then on. `certificate`: the
    /// certificate in `certFile` was issued before, and nothing is asked for; somebody replaces it in time. Default:
    /// `bootstrap`.
    pub(super) mode: Option<IdentityMode>,
    /// Where the token for the first certificate is: one of `file`, `credential` and `value`. May be absent once the
    /// node has a certificate. In mode `certificate` only `cluster.ca.pins` needs it.
    pub(super) token: Option<TokenFragment>,
    /// The node's certificate in mode `certificate`: a PEM file on this machine, for `system:node:<node.name>` in the
    /// group `system:nodes`, for client authentication and, where the kubelet is to serve with it, server
    /// authentication. Read where it is, never copied, and again when it changes.
    pub(super) cert_file: Option<String>,
    /// Its private key: a PEM file with mode 0600, also the same file.
    pub(super) key_file: Option<String>,
    /// The kind of private key to make on the node. Default: `ecdsa-p256`.
    pub(super) key: Option<KeyAlgorithm>,
}

/// How the first certificate comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IdentityMode {
    /// A token asks for it.
    Bootstrap,
    /// It was issued before.
    Certificate,
}

/// Where the bootstrap token is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TokenFragment {
    /// A file with mode 0600 that holds the token alone; an absolute path. Read again each time it is needed.
    pub(super) file: Option<String>,
    /// Name of a systemd credential of the daemon's unit (`LoadCredential=NAME:…`).
    pub(super) credential: Option<String>,
    /// The token itself. A file that holds it must have mode 0600.
    pub(super) value: Option<Hidden>,
}

/// A text that no `Debug` shows.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Hidden(pub(super) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl JsonSchema for Hidden {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hidden".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

/// What the Node object is to be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NodeFragment {
    /// Name of the Node object, of its certificate and for kube-proxy. Default: the host name in lower case.
    pub(super) name: Option<String>,
    /// The address the node is reached at; an interface of this machine has it. Default: the one that `node.addressFrom`
    /// chooses, else the source address of the route to the API server.
    pub(super) address: Option<String>,
    /// Networks, the preferred first: the node's address is the only one of this machine's in the first of them that has
    /// any, e.g. `[10.0.0.0/8, 192.168.0.0/16]`. Bridges and tunnels of runtimes and pod networks do not count. Not
    /// beside `node.address`. Default: none.
    pub(super) address_from: Option<Vec<String>>,
    /// Labels to register with; only those a node may set on itself. Default: none.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// Taints to register with, each `key=value:Effect` or `key:Effect`; the effect is `NoSchedule`, `PreferNoSchedule`
    /// or `NoExecute`. Default: none.
    pub(super) taints: Option<Vec<String>>,
}

/// The container runtime.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RuntimeFragment {
    /// Which runtime. `docker`: through the kubelet itself up to Kubernetes 1.23, through cri-dockerd from 1.24.
    /// `containerd`: 1.6 or later, and 1.x where the kubelet is older than 1.23. Default: `docker`.
    pub(super) kind: Option<RuntimeKind>,
    /// Image of the pod sandbox. Default: `registry.k8s.io/pause:3.10`.
    pub(super) sandbox_image: Option<String>,
    /// A directory; an absolute path. Every file in it that ends in `.tar` is loaded into the runtime before the node joins,
    /// by `docker load` or `ctr images import`. Default: none.
    pub(super) images: Option<String>,
    /// The cri-dockerd program, which docker needs from Kubernetes 1.24; an absolute path. Default: searched for in the
    /// usual directories.
    pub(super) cri_dockerd: Option<String>,
    /// Keys for docker's `daemon.json`, merged over what stands there. Default: none.
    pub(super) daemon_json: Option<Map<String, Value>>,
}

/// The pod network.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NetworkFragment {
    /// Who makes the pod network. `bridge`: kn-agent writes its configuration. `flannel`, `calico`: their DaemonSet does, and
    /// what it needs on the node and leaves there is looked at. `none`: somebody else does. Default: `none`.
    pub(super) plugin: Option<NetworkPlugin>,
    /// Directory of CNI configurations; an absolute path. Default: `/etc/cni/net.d`.
    pub(super) conf_dir: Option<String>,
    /// Directory of CNI plugins; an absolute path. Default: the first of `/opt/cni/bin`, `/usr/lib/cni` and
    /// `/usr/libexec/cni` that holds what the configuration needs.
    pub(super) bin_dir: Option<String>,
}

/// The kubelet.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KubeletFragment {
    /// The kubelet program; an absolute path. Default: searched for in the usual directories.
    pub(super) binary: Option<String>,
    /// Fields of `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1), merged over ours. Thresholds that `evictionHard`
    /// does not name keep the kubelet's defaults; `0%` switches one off. Default: none.
    pub(super) config: Option<Map<String, Value>>,
    /// What is kept from pods. `auto`: `kubelet.config.kubeReserved` by the formula that Google publishes for GKE, from
    /// this machine's memory and processors; `kn-agent config explain kubelet.config.kubeReserved` shows it. `none`: what
    /// `kubelet.config` says. Default: `none`.
    pub(super) reserved: Option<Reserved>,
    /// Flags that have no field, without the leading dashes, e.g. `v: "4"`. Default: none.
    pub(super) extra_args: Option<BTreeMap<String, String>>,
}

/// kube-proxy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProxyFragment {
    /// Whether kn-agent runs kube-proxy; `false` where the cluster runs it as a DaemonSet, as kubeadm's does. Default:
    /// `true`.
    pub(super) enabled: Option<bool>,
    /// A kubeconfig that was made for kube-proxy elsewhere, e.g. `/etc/kubernetes/kube-proxy.kubeconfig`; mode 0600.
    /// Nothing is asked for then, and the file is never written. Default: kn-agent asks for a certificate and writes one.
    pub(super) kubeconfig: Option<String>,
    /// The kube-proxy program; an absolute path. Default: searched for in the usual directories.
    pub(super) binary: Option<String>,
    /// How Services are made to work; `kn-agent check` says whether this machine can: `nftables` needs `nft` and Linux
    /// 5.13, `ipvs` the modules `ip_vs…` and `ipset`. Where it changes, what the old one left is cleaned up. Default:
    /// `iptables`.
    pub(super) mode: Option<ProxyMode>,
    /// kube-proxy's own certificate.
    pub(super) certificate: Option<ProxyCertificateFragment>,
    /// Fields of `KubeProxyConfiguration` (kubeproxy.config.k8s.io/v1alpha1), merged over ours. Default: none.
    pub(super) config: Option<Map<String, Value>>,
    /// Flags that have no field, without the leading dashes, e.g. `v: "4"`. Default: none.
    pub(super) extra_args: Option<BTreeMap<String, String>>,
}

/// kube-proxy's own certificate. kn-agent asks for it as the node, and renews it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProxyCertificateFragment {
    /// Who it is for; the approver's policy must allow it.
    pub(super) subject: Option<SubjectFragment>,
}

/// Who a certificate is for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SubjectFragment {
    /// The user kube-proxy is to the API server; any other than the default needs a role binding of its own. Default:
    /// `system:kube-proxy`.
    pub(super) common_name: Option<String>,
    /// Its group, none of the system's. Default: none.
    pub(super) organization: Option<String>,
    /// Default: none.
    pub(super) organizational_unit: Option<String>,
    /// Two capital letters. Default: none.
    pub(super) country: Option<String>,
    /// State or province. Default: none.
    pub(super) province: Option<String>,
    /// Locality. Default: none.
    pub(super) locality: Option<String>,
}

/// Checks before joining.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PreflightFragment {
    /// Names of checks whose failure is only reported, as `kn-agent check` prints them. Default: none.
    pub(super) ignore: Option<Vec<String>>,
}

/// The JSON Schema of a configuration file.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<Fragment>().to_value()
}

/// The same schema without references, for reading keys off it.
pub(super) fn flat_schema() -> Value {
    let flat = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    flat.into_generator().into_root_schema_for::<Fragment>().to_value()
}
