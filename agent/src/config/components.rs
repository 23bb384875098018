//! What may not be written into the kubelet's and kube-proxy's own configuration, because it would break what kn-agent
//! promises: nobody gets in unauthenticated, and both go by the name and the certificates of this node.

use serde_json::{Map, Value};

use super::problem::shown;
use super::{Component, NetworkPlugin};
use crate::names::{Cidr, NodeName};

/// What is refused: the key, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) path: String,
    pub(super) message: String,
    pub(super) hint: String,
}

fn refused(path: &str, message: &str, hint: &str) -> Refused {
    Refused { path: path.to_owned(), message: message.to_owned(), hint: hint.to_owned() }
}

/// A field, the test it must pass where it is set, why, and what to do.
type Rule = (&'static str, fn(&Value) -> bool, &'static str, &'static str);

/// Rules for `kubelet.config`. A mapping that holds a guarded field must stay a mapping: anything else would take away
/// what stands there.
const KUBELET_RULES: [Rule; 11] = [
    (
        "apiVersion",
        |v| v == "kubelet.config.k8s.io/v1beta1",
        "must be `kubelet.config.k8s.io/v1beta1`",
        "remove it",
    ),
    ("kind", |v| v == "KubeletConfiguration", "must be `KubeletConfiguration`", "remove it"),
    ("authentication", Value::is_object, "must be a mapping", "remove it"),
    ("authentication.anonymous", Value::is_object, "must be a mapping", "remove it"),
    (
        "authentication.anonymous.enabled",
        |v| *v == Value::Bool(false),
        "must be `false`: anybody who reaches port 10250 could run commands in the pods",
        "remove it",
    ),
    ("authentication.x509", Value::is_object, "must be a mapping", "remove it"),
    (
        "authentication.x509.clientCAFile",
        |_| false,
        "is set by kn-agent: its clients are checked against the cluster's CA",
        "set `cluster.ca`",
    ),
    ("authorization", Value::is_object, "must be a mapping", "remove it"),
    (
        "authorization.mode",
        |v| v == "Webhook",
        "must be `Webhook`: with anything else every known client could run commands in the pods",
        "remove it",
    ),
    ("readOnlyPort", |v| v.as_u64() == Some(0), "must be 0: that port answers everybody", "remove it"),
    (
        "rotateCertificates",
        |v| *v == Value::Bool(true),
        "must be `true`: the node would drop out when its certificate expires",
        "remove it",
    ),
];

/// Rules for `proxy.config`.
const PROXY_RULES: [Rule; 5] = [
    (
        "apiVersion",
        |v| v == "kubeproxy.config.k8s.io/v1alpha1",
        "must be `kubeproxy.config.k8s.io/v1alpha1`",
        "remove it",
    ),
    ("kind", |v| v == "KubeProxyConfiguration", "must be `KubeProxyConfiguration`", "remove it"),
    (
        "mode",
        |_| false,
        "is set by kn-agent, which checks what it needs and cleans up after the old one",
        "set `proxy.mode`",
    ),
    ("clientConnection", Value::is_object, "must be a mapping", "remove it"),
    (
        "clientConnection.kubeconfig",
        |_| false,
        "is set by kn-agent: kube-proxy has a certificate of its own",
        "set `proxy.kubeconfig` where one was made elsewhere",
    ),
];

/// Flags of the kubelet that are ours or have a key, and that key; empty where there is none.
const KUBELET_FLAGS: [(&str, &str); 22] = [
    ("config", "kubelet.config"),
    ("config-dir", "kubelet.config"),
    ("kubeconfig", "cluster.server"),
    ("bootstrap-kubeconfig", "identity.token"),
    ("hostname-override", "node.name"),
    ("node-ip", "node.address"),
    ("node-labels", "node.labels"),
    ("register-with-taints", "node.taints"),
    ("cert-dir", ""),
    ("pod-infra-container-image", "runtime.sandboxImage"),
    ("container-runtime", "runtime.kind"),
    ("container-runtime-endpoint", "runtime.kind"),
    ("cni-conf-dir", "network.confDir"),
    ("cni-bin-dir", "network.binDir"),
    ("network-plugin", "network.plugin"),
    ("cluster-dns", "cluster.dns.address"),
    ("cluster-domain", "cluster.dns.domain"),
    ("client-ca-file", "cluster.ca"),
    ("anonymous-auth", ""),
    ("authorization-mode", ""),
    ("read-only-port", ""),
    ("rotate-certificates", ""),
];

/// Flags of kube-proxy that are ours or have a key, and that key.
const PROXY_FLAGS: [(&str, &str); 6] = [
    ("config", "proxy.config"),
    ("kubeconfig", "proxy.kubeconfig"),
    ("master", "cluster.server"),
    ("hostname-override", "node.name"),
    ("cluster-cidr", "cluster.podCIDR"),
    ("proxy-mode", "proxy.mode"),
];

/// Everything in the components' own configuration that is refused. `name` and `services` are those of this node and
/// its cluster, where they are known; `network` makes the pods' network.
pub(super) fn check(
    kubelet: &Component,
    proxy: &Component,
    name: Option<&NodeName>,
    services: Option<Cidr>,
    network: NetworkPlugin,
) -> Vec<Refused> {
    let mut all = rules("kubelet.config", &kubelet.config, &KUBELET_RULES);
    all.extend(flags("kubelet.extraArgs", kubelet, &KUBELET_FLAGS));
    all.extend(rules("proxy.config", &proxy.config, &PROXY_RULES));
    all.extend(flags("proxy.extraArgs", proxy, &PROXY_FLAGS));
    all.extend(name.and_then(|name| proxy_name(&proxy.config, name)));
    all.extend(services.and_then(|services| proxy_cidr(&proxy.config, services)));
    all.extend(unnamed_cgroup(&kubelet.config));
    if network == NetworkPlugin::Calico {
        all.extend(masquerade_all(&proxy.config));
    }
    all
}

/// The value at a dotted path.
fn at<'a>(config: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    keys.next()
        .and_then(|first| config.get(first))
        .and_then(|first| keys.try_fold(first, |here, key| here.get(key)))
}

fn rules(group: &str, config: &Map<String, Value>, rules: &[Rule]) -> Vec<Refused> {
    let broken = rules.iter().filter(|(path, holds, ..)| at(config, path).is_some_and(|value| !holds(value)));
    broken.map(|(path, _, why, what)| refused(&format!("{group}.{path}"), why, what)).collect()
}

fn flags(group: &str, component: &Component, owned: &[(&str, &str)]) -> Vec<Refused> {
    let mut all = Vec::new();
    for (flag, value) in &component.extra_args {
        let path = format!("{group}.{}", flag.escape_debug());
        if value.contains('\0') {
            let message = "holds a NUL character, which no program can be given";
            all.push(refused(&path, message, "remove the character"));
        }
        let bare = flag.trim_start_matches('-').replace('_', "-");
        if let Some((_, key)) = owned.iter().find(|(name, _)| *name == bare) {
            let what = if key.is_empty() { "remove it".to_owned() } else { format!("set `{key}`") };
            all.push(refused(&path, "this flag is set by kn-agent", &what));
        } else if flag.starts_with('-') {
            all.push(refused(&path, "flags are written without their dashes", &format!("write `{bare}`")));
        } else if bare.is_empty() || bare.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control())
        {
            all.push(refused(&path, "is no name of a flag", "write `name: value`"));
        }
    }
    all
}

/// A reservation is enforced on a cgroup, and the kubelet ends at its start where none is named
/// (`ValidateKubeletConfiguration`).
fn unnamed_cgroup(config: &Map<String, Value>) -> Option<Refused> {
    let levels = at(config, "enforceNodeAllocatable")?.as_array()?;
    levels.iter().filter_map(Value::as_str).find_map(|level| {
        let field = match level.strip_suffix("-compressible").unwrap_or(level) {
            "kube-reserved" => "kubeReservedCgroup",
            "system-reserved" => "systemReservedCgroup",
            _ => return None,
        };
        let is_named = at(config, field).and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        let message =
            format!("`{level}` is enforced on a cgroup, and none is named: the kubelet would not start");
        let hint = format!("set `kubelet.config.{field}`");
        (!is_named).then(|| refused("kubelet.config.enforceNodeAllocatable", &message, &hint))
    })
}

fn proxy_name(config: &Map<String, Value>, name: &NodeName) -> Option<Refused> {
    let value = at(config, "hostnameOverride")?;
    if *value == name.as_str() || value == "" {
        return None;
    }
    let other = shown(value.as_str().unwrap_or("something that is no text"));
    let message = format!("`{other}` is another node than this one, `{name}`: its Services would not work");
    Some(refused("proxy.config.hostnameOverride", &message, "remove it, `node.name` drives both"))
}

/// What enforces policies has to see who calls.
fn masquerade_all(config: &Map<String, Value>) -> Option<Refused> {
    let path = ["iptables.masqueradeAll", "nftables.masqueradeAll"]
        .into_iter()
        .find(|path| at(config, path) == Some(&Value::Bool(true)))?;
    let message =
        "pods would see the node instead of who calls them, and calico's network policies would be void";
    let hint = "remove it; with `cluster.podCIDR` only what comes from outside is masqueraded";
    Some(refused(&format!("proxy.config.{path}"), message, hint))
}

fn proxy_cidr(config: &Map<String, Value>, services: Cidr) -> Option<Refused> {
    let value = at(config, "clusterCIDR")?.as_str().filter(|text| !text.is_empty())?;
    let path = "proxy.config.clusterCIDR";
    for block in value.split(',') {
        match block.trim().parse::<Cidr>() {
            Ok(block) if services.overlaps(&block) => {
                let message =
                    format!("{block} overlaps the block of the Services, {services} (`cluster.serviceCIDR`)");
                return Some(refused(path, &message, "set `cluster.podCIDR` to the block of the pods"));
            }
            Ok(_) => {}
            Err(error) => return Some(refused(path, &error.to_string(), "set `cluster.podCIDR`")),
        }
    }
    None
}
