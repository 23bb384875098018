//! flannel: its DaemonSet, what it is told, and the rights it has.
//!
//! Names are those of flannel's own manifest, so that what is written about it holds. It differs where that gives a right
//! less, or leaves less to chance: flanneld is told its node's name and so need not read pods, the configuration is put
//! in place whole, and a new configuration starts the pods anew.

use std::path::PathBuf;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Subject};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::found::is_ours;
use super::objects::{Wanted, in_namespace, named, privileged, role_ref, rule};
use super::{Cni, Unusable};
use crate::cluster::MANAGED_BY;
use crate::cluster::client::{CallError, Cluster};
use crate::names::Cidr;
use crate::ports::keys::sha256;

const NAMESPACE: &str = "kube-flannel";
const DAEMON_SET: &str = "kube-flannel-ds";
const CONFIG_MAP: &str = "kube-flannel-cfg";
const ACCOUNT: &str = "flannel";

/// As flannel's manifest of that release has them.
const IMAGE: &str = "ghcr.io/flannel-io/flannel:v0.28.10";
const PLUGIN_IMAGE: &str = "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3";

/// Where the runtimes of most distributions look; Debian's own plugins are in `/usr/lib/cni`.
const BIN_DIR: &str = "/opt/cni/bin";
const CONF_DIR: &str = "/etc/cni/net.d";

/// What kubeadm's and flannel's own examples have.
const NETWORK: &str = "10.244.0.0/16";

/// What the operator chose; the rest is as it is in the cluster, or else the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flannel {
    /// flanneld's image.
    pub image: Option<String>,
    /// The image of its CNI plugin.
    pub plugin_image: Option<String>,
    /// Where the plugin goes on the nodes.
    pub bin_dir: Option<PathBuf>,
    /// How packets go from node to node.
    pub backend: Option<Backend>,
    /// The block of all pods.
    pub pod_cidr: Option<Cidr>,
}

/// How packets go from node to node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// In UDP packets to port 8472: over any network
    Vxlan,
    /// By routes: nodes must be neighbours
    HostGw,
}

impl Backend {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::HostGw => "host-gw",
        }
    }
}

/// All that differs from cluster to cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    image: String,
    plugin_image: String,
    bin_dir: String,
    backend: String,
    pod_cidr: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: IMAGE.to_owned(),
            plugin_image: PLUGIN_IMAGE.to_owned(),
            bin_dir: BIN_DIR.to_owned(),
            backend: Backend::Vxlan.as_str().to_owned(),
            pod_cidr: NETWORK.to_owned(),
        }
    }
}

impl Settings {
    /// Those of objects that are there.
    fn of(daemons: &DaemonSet, configuration: &ConfigMap) -> Option<Self> {
        let pod = daemons.spec.as_ref()?.template.spec.as_ref()?;
        let image = |containers: &[Container], name: &str| {
            containers.iter().find(|container| container.name == name)?.image.clone()
        };
        let volume = |name: &str| {
            let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name)?;
            Some(volume.host_path.as_ref()?.path.clone())
        };
        let network: Value = serde_json::from_str(configuration.data.as_ref()?.get("net-conf.json")?).ok()?;
        Some(Self {
            image: image(&pod.containers, "kube-flannel")?,
            plugin_image: image(pod.init_containers.as_deref()?, "install-cni-plugin")?,
            bin_dir: volume("cni-plugin")?,
            backend: network["Backend"]["Type"].as_str()?.to_owned(),
            pod_cidr: network["Network"].as_str()?.to_owned(),
        })
    }

    fn with(self, chosen: &Flannel) -> Self {
        let Flannel { image, plugin_image, bin_dir, backend, pod_cidr } = chosen;
        let text = |path: &PathBuf| path.display().to_string();
        Self {
            image: image.clone().unwrap_or(self.image),
            plugin_image: plugin_image.clone().unwrap_or(self.plugin_image),
            bin_dir: bin_dir.as_ref().map_or(self.bin_dir, text),
            backend: backend.map_or(self.backend, |backend| backend.as_str().to_owned()),
            pod_cidr: pod_cidr.as_ref().map_or(self.pod_cidr, Cidr::to_string),
        }
    }
}

/// What of it is in the cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    daemons: Vec<DaemonSet>,
    configuration: Option<ConfigMap>,
    /// The nodes with their blocks of pod addresses.
    nodes: Vec<(String, Cidr)>,
}

impl Found {
    /// Looks.
    pub(super) async fn look(cluster: &Cluster) -> Result<Self, CallError> {
        let daemons: Api<DaemonSet> = Api::all(cluster.client());
        let configurations: Api<ConfigMap> = Api::namespaced(cluster.client(), NAMESPACE);
        let nodes: Api<Node> = Api::all(cluster.client());
        let (flannels, all) = (ListParams::default().labels("app=flannel"), ListParams::default());
        let configuration = format!("ConfigMap {NAMESPACE}/{CONFIG_MAP}");
        let (daemons, configuration, nodes) = futures::try_join!(
            cluster.call("list", "DaemonSets", daemons.list(&flannels)),
            cluster.call("get", configuration, configurations.get_opt(CONFIG_MAP)),
            cluster.call("list", "Nodes", nodes.list(&all)),
        )?;
        let block =
            |node: &Node| Some((node.name_any(), node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()?));
        Ok(Self { daemons: daemons.items, configuration, nodes: nodes.iter().filter_map(block).collect() })
    }

    /// What is to be: as asked for, or as it is where it is ours.
    pub(super) fn wanted(&self, cni: &Cni) -> Result<Option<Settings>, Unusable> {
        let path = |daemons: &DaemonSet| (daemons.namespace().unwrap_or_default(), daemons.name_any());
        let ours = self.daemons.iter().find(|daemons| is_ours(*daemons));
        let there = ours.and_then(|daemons| Settings::of(daemons, self.configuration.as_ref()?));
        match cni {
            Cni::AsFound | Cni::Calico(_) if ours.is_none() => Ok(None),
            Cni::Calico(_) => Err(Unusable::OurFlannel),
            Cni::AsFound => Ok(Some(there.unwrap_or_default())),
            Cni::Flannel(chosen) => {
                if let Some(other) = self.daemons.iter().find(|daemons| !is_ours(*daemons)) {
                    let (namespace, name) = path(other);
                    return Err(Unusable::OtherFlannel(format!("{namespace}/{name}")));
                }
                Ok(Some(there.unwrap_or_default().with(chosen)))
            }
        }
    }

    /// Nodes whose pods have addresses of another block: flannel would not carry their packets.
    pub(super) fn warning(&self, settings: &Settings) -> Option<String> {
        let network: Cidr = settings.pod_cidr.parse().ok()?;
        let outside: Vec<&(String, Cidr)> =
            self.nodes.iter().filter(|(_, block)| !network.contains(block.network())).collect();
        let (name, block) = outside.first()?;
        let more =
            if outside.len() > 1 { format!(", and {} more", outside.len() - 1) } else { String::new() };
        Some(format!(
            "flannel's network is {network}, and the Node {name} has the podCIDR {block}{more}; give the block that \
             kube-controller-manager has as --cluster-cidr: --pod-cidr CIDR"
        ))
    }
}

/// Every object, what others stand on first.
pub(super) fn objects(settings: &Settings) -> Vec<Wanted> {
    let account = ServiceAccount { metadata: in_namespace(NAMESPACE, ACCOUNT), ..ServiceAccount::default() };
    // flanneld keeps its lease in annotations of its Node, and learns of others' from theirs.
    let rules = vec![
        rule("", &["nodes"], &[], &["get", "list", "watch"]),
        rule("", &["nodes/status"], &[], &["patch"]),
    ];
    let role = ClusterRole { metadata: named(ACCOUNT), rules: Some(rules), aggregation_rule: None };
    let subject = Subject {
        api_group: None,
        kind: "ServiceAccount".to_owned(),
        name: ACCOUNT.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
    };
    let binding = ClusterRoleBinding {
        metadata: named(ACCOUNT),
        role_ref: role_ref("ClusterRole", ACCOUNT),
        subjects: Some(vec![subject]),
    };
    vec![
        Wanted::of(&privileged(NAMESPACE)),
        Wanted::of(&account),
        Wanted::of(&role),
        Wanted::of(&binding),
        Wanted::written::<ConfigMap>((NAMESPACE, CONFIG_MAP), configuration(settings)),
        Wanted::written::<DaemonSet>((NAMESPACE, DAEMON_SET), daemons(settings)),
    ]
}

fn labels() -> Value {
    json!({MANAGED_BY.0: MANAGED_BY.1, "app": "flannel", "k8s-app": "flannel", "tier": "node"})
}

fn configuration(settings: &Settings) -> Value {
    let conf = json!({
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    let network =
        json!({"Network": settings.pod_cidr, "EnableNFTables": false, "Backend": {"Type": settings.backend}});
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE, "labels": labels()},
        "data": {"cni-conf.json": format!("{conf:#}\n"), "net-conf.json": format!("{network:#}\n")},
    })
}

/// It is on the host's network, which it makes, and tolerates everything: nothing else runs on a node before it does. It
/// reaches the API server as every pod does, through the Service and so through kube-proxy.
fn daemons(settings: &Settings) -> Value {
    let configuration = configuration(settings)["data"].to_string();
    let own = json!({"matchLabels": {"app": "flannel"}});
    let on_linux = json!({"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]});
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": DAEMON_SET, "namespace": NAMESPACE, "labels": labels()},
        "spec": {
            "selector": own,
            "template": {
                "metadata": {
                    "labels": labels(),
                    "annotations": {"kn-agent.io/configuration": sha256(configuration.as_bytes())},
                },
                "spec": {
                    "hostNetwork": true,
                    "priorityClassName": "system-node-critical",
                    "serviceAccountName": ACCOUNT,
                    "tolerations": [{"operator": "Exists"}],
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                        {"nodeSelectorTerms": [{"matchExpressions": [on_linux]}]}}},
                    "initContainers": installers(settings),
                    "containers": [flanneld(settings)],
                    "volumes": volumes(settings),
                },
            },
        },
    })
}

/// The plugin's program, then its configuration: a runtime that finds the configuration finds the program.
fn installers(settings: &Settings) -> Value {
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    // A runtime that reads half a file says so until the next change.
    let put = "cp /etc/kube-flannel/cni-conf.json /etc/cni/net.d/10-flannel.conflist.new && \
               mv -f /etc/cni/net.d/10-flannel.conflist.new /etc/cni/net.d/10-flannel.conflist";
    json!([
        {
            "name": "install-cni-plugin",
            "image": settings.plugin_image,
            "command": ["cp"],
            "args": ["-f", "/flannel", "/opt/cni/bin/flannel"],
            "volumeMounts": [mount("cni-plugin", "/opt/cni/bin")],
        },
        {
            "name": "install-cni",
            "image": settings.image,
            "command": ["sh", "-c", put],
            "volumeMounts": [mount("cni", "/etc/cni/net.d"), mount("flannel-cfg", "/etc/kube-flannel")],
        },
    ])
}

fn flanneld(settings: &Settings) -> Value {
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    json!({
        "name": "kube-flannel",
        "image": settings.image,
        "command": ["/opt/bin/flanneld"],
        "args": ["--ip-masq", "--kube-subnet-mgr"],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "EVENT_QUEUE_DEPTH", "value": "5000"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "50Mi"}},
        "securityContext": {"privileged": false, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
        "volumeMounts": [
            mount("run", "/run/flannel"),
            mount("flannel-cfg", "/etc/kube-flannel"),
            mount("xtables-lock", "/run/xtables.lock"),
        ],
    })
}

fn volumes(settings: &Settings) -> Value {
    let host =
        |name: &str, path: &str, kind: &str| json!({"name": name, "hostPath": {"path": path, "type": kind}});
    json!([
        host("run", "/run/flannel", "DirectoryOrCreate"),
        host("cni-plugin", &settings.bin_dir, "DirectoryOrCreate"),
        host("cni", CONF_DIR, "DirectoryOrCreate"),
        {"name": "flannel-cfg", "configMap": {"name": CONFIG_MAP}},
        host("xtables-lock", "/run/xtables.lock", "FileOrCreate"),
    ])
}

#[cfg(test)]
mod tests;
