//! Fragment → [`Config`]: every problem, not the first.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::{
    CaSource, Cluster, Component, Config, Dns, Identity, KeyAlgorithm, Network, NetworkPlugin, Node,
    Preflight, Problem, Proxy, ProxyMode, Runtime, RuntimeKind, Taint, TokenSource, fragment, labels,
};
use crate::names::Invalid;

/// The image of the pod sandbox where none is configured.
pub const SANDBOX_IMAGE: &str = "registry.k8s.io/pause:3.10";

struct Findings(Vec<Problem>);

impl Findings {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        self.0.push(Problem::at(path, message));
    }

    fn parse<T: FromStr<Err = Invalid>>(&mut self, path: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error: Invalid| self.add(path, error.0)).ok()
    }

    fn address(&mut self, path: &str, text: Option<&String>) -> Option<std::net::IpAddr> {
        let parsed = text?.parse();
        if parsed.is_err() {
            self.add(path, format!("`{}` is no address; expected e.g. 10.0.0.11", text?));
        }
        parsed.ok()
    }

    fn parse_some<T: FromStr<Err = Invalid>>(&mut self, path: &str, text: Option<&String>) -> Option<T> {
        text.and_then(|text| self.parse(path, text))
    }
}

/// Checks the merged fragment. `hostname` is the machine's name, for `node.name`.
///
/// # Errors
/// Every problem found.
pub fn validate(merged: &fragment::Fragment, hostname: &str) -> Result<Config, Vec<Problem>> {
    let mut findings = Findings(Vec::new());
    for (path, found, expected) in
        [("apiVersion", &merged.api_version, "kn-agent.io/v1alpha1"), ("kind", &merged.kind, "NodeConfig")]
    {
        if let Some(found) = found.as_deref().filter(|found| *found != expected) {
            findings.add(path, format!("is `{found}`, expected `{expected}`"));
        }
    }
    let cluster = cluster(&merged.cluster.clone().unwrap_or_default(), &mut findings);
    let identity = identity(&merged.identity.clone().unwrap_or_default(), &mut findings);
    let node = node(&merged.node.clone().unwrap_or_default(), hostname, &mut findings);
    let runtime = runtime(merged.runtime.clone().unwrap_or_default());
    let network = network(merged.network.clone().unwrap_or_default());
    let kubelet = component(merged.kubelet.clone().unwrap_or_default(), &mut findings);
    let proxy = proxy(merged.proxy.clone().unwrap_or_default(), node.as_ref(), &mut findings);
    let ignore = merged.preflight.clone().unwrap_or_default().ignore.unwrap_or_default();
    for name in ignore.iter().filter(|name| !crate::plan::preflight::NAMES.contains(&name.as_str())) {
        findings.add(
            "preflight.ignore",
            format!("there is no check `{name}`; there are: {}", crate::plan::preflight::NAMES.join(", ")),
        );
    }
    match (cluster, node, findings.0.is_empty()) {
        (Some(cluster), Some(node), true) => Ok(Config {
            cluster,
            identity,
            node,
            runtime,
            network,
            kubelet,
            proxy,
            preflight: Preflight { ignore: ignore.into_iter().collect() },
        }),
        _ => Err(findings.0),
    }
}

fn cluster(written: &fragment::Cluster, findings: &mut Findings) -> Option<Cluster> {
    let server = if let Some(server) = &written.server {
        findings.parse("cluster.server", server)
    } else {
        let example = "is missing: the address of the API server, e.g. `server: https://10.0.0.10:6443`";
        findings.add("cluster.server", example);
        None
    };
    let ca = ca(&written.ca.clone().unwrap_or_default(), findings);
    let dns = written.dns.clone().unwrap_or_default();
    let address = findings.address("cluster.dns.address", dns.address.as_ref());
    let domain = dns.domain.unwrap_or_else(|| "cluster.local".to_owned()).trim_end_matches('.').to_owned();
    let pod_cidr = findings.parse_some::<crate::names::Cidr>("cluster.podCIDR", written.pod_cidr.as_ref());
    let service_cidr =
        findings.parse_some::<crate::names::Cidr>("cluster.serviceCIDR", written.service_cidr.as_ref());
    if let (Some(pods), Some(services)) = (&pod_cidr, &service_cidr)
        && pods.overlaps(services)
    {
        findings.add(
            "cluster.podCIDR",
            format!("{pods} overlaps cluster.serviceCIDR {services}: pods would look like Services to kube-proxy, or the reverse"),
        );
    }
    Some(Cluster { server: server?, ca: ca?, dns: Dns { address, domain }, pod_cidr, service_cidr })
}

fn ca(written: &fragment::Ca, findings: &mut Findings) -> Option<CaSource> {
    match (&written.file, &written.data) {
        (Some(file), None) => Some(CaSource::File(file.clone())),
        (None, Some(pem)) => match crate::observe::certificates::parse(pem.as_bytes()) {
            Ok(_) => Some(CaSource::Pem(pem.clone())),
            Err(why) => {
                findings.add("cluster.ca.data", format!("is no PEM certificate: {why}"));
                None
            }
        },
        (None, None) => {
            findings.add("cluster.ca", "is missing: give `file: PATH` or `data: PEM`; without it nothing the server says can be trusted");
            None
        }
        (Some(_), Some(_)) => {
            findings.add("cluster.ca", "has both file and data; expected one");
            None
        }
    }
}

fn identity(written: &fragment::Identity, findings: &mut Findings) -> Identity {
    let token = written.token.as_ref().and_then(|from| match (&from.file, &from.credential, &from.value) {
        (Some(file), None, None) => Some(TokenSource::File(file.clone())),
        (None, Some(name), None) => Some(TokenSource::Credential(name.clone())),
        (None, None, Some(value)) => findings.parse("identity.token.value", value).map(TokenSource::Value),
        _ => {
            findings.add("identity.token", "expected exactly one of file, credential, value");
            None
        }
    });
    let key = match written.key {
        Some(fragment::Key::Rsa2048) => KeyAlgorithm::Rsa2048,
        _ => KeyAlgorithm::EcdsaP256,
    };
    Identity { token, key }
}

fn node(written: &fragment::Node, hostname: &str, findings: &mut Findings) -> Option<Node> {
    let name = match &written.name {
        Some(name) => findings.parse("node.name", name),
        None => findings.parse("node.name", &hostname.to_ascii_lowercase()),
    };
    let address = findings.address("node.address", written.address.as_ref());

    let labels = written.labels.clone().unwrap_or_default();
    for key in labels.keys() {
        if let Some(why) = labels::refusal(key) {
            findings.add("node.labels", why);
        }
    }
    let taint = |text: &String| {
        let taint = parse_taint(text);
        if taint.is_none() {
            let expected = "expected key=value:Effect with NoSchedule, PreferNoSchedule or NoExecute";
            findings.add("node.taints", format!("`{text}` is no taint; {expected}"));
        }
        taint
    };
    let taints = written.taints.iter().flatten().filter_map(taint).collect();
    Some(Node { name: name?, address, labels, taints })
}

fn parse_taint(text: &str) -> Option<Taint> {
    let (rest, effect) = text.rsplit_once(':')?;
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    let known = matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute");
    (known && !key.is_empty()).then(|| Taint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect: effect.to_owned(),
    })
}

fn runtime(written: fragment::Runtime) -> Runtime {
    Runtime {
        kind: RuntimeKind::Docker,
        sandbox_image: written.sandbox_image.unwrap_or_else(|| SANDBOX_IMAGE.to_owned()),
        cri_dockerd: written.cri_dockerd,
        daemon_json: written.daemon_json.unwrap_or_default(),
    }
}

fn network(written: fragment::Network) -> Network {
    Network {
        plugin: match written.plugin {
            Some(fragment::Plugin::Bridge) => NetworkPlugin::Bridge,
            Some(fragment::Plugin::Calico) => NetworkPlugin::Calico,
            Some(fragment::Plugin::Flannel) => NetworkPlugin::Flannel,
            Some(fragment::Plugin::None) | None => NetworkPlugin::None,
        },
        conf_dir: written.conf_dir.unwrap_or_else(|| "/etc/cni/net.d".into()),
        bin_dir: written.bin_dir,
    }
}

/// Flags whose value follows from the configuration, and the key that sets it.
const OWNED_FLAGS: &[(&str, &str)] = &[
    ("config", "kubelet.config"),
    ("kubeconfig", "cluster.server"),
    ("bootstrap-kubeconfig", "identity.token"),
    ("hostname-override", "node.name"),
    ("cert-dir", "the agent's own paths"),
    ("node-ip", "node.address"),
    ("node-labels", "node.labels"),
    ("register-with-taints", "node.taints"),
];

/// Whether a value breaks what must hold.
type Breaks = fn(&Value) -> bool;

fn component(written: fragment::Component, findings: &mut Findings) -> Component {
    let config = written.config.unwrap_or_default();
    let pointer = Value::Object(config.clone());
    let broken: [(&str, Breaks, &str); 5] = [
        (
            "/authentication/anonymous/enabled",
            |v| v == true,
            "would let anybody who reaches port 10250 run commands in pods",
        ),
        ("/authentication/x509/clientCAFile", |_| true, "follows from cluster.ca"),
        (
            "/authorization/mode",
            |v| v == "AlwaysAllow",
            "would let every authenticated user run commands in pods",
        ),
        ("/readOnlyPort", |v| v != 0, "opens an unauthenticated port"),
        ("/rotateCertificates", |v| v == false, "the node would drop out when its certificate ends"),
    ];
    for (path, is_broken, why) in broken {
        if pointer.pointer(path).is_some_and(is_broken) {
            findings.add(&format!("kubelet.config{}", path.replace('/', ".")), format!("is refused: {why}"));
        }
    }
    let extra_args = written.extra_args.unwrap_or_default();
    for (flag, key) in OWNED_FLAGS.iter().filter(|(flag, _)| extra_args.contains_key(*flag)) {
        findings.add(&format!("kubelet.extraArgs.{flag}"), format!("is refused: set {key} instead"));
    }
    Component { binary: written.binary, config, extra_args }
}

fn proxy(written: fragment::Proxy, node: Option<&Node>, findings: &mut Findings) -> Proxy {
    let config: Map<String, Value> = written.config.unwrap_or_default();
    if let (Some(named), Some(node)) = (config.get("hostnameOverride").and_then(Value::as_str), node)
        && named != node.name.as_str()
    {
        findings.add(
            "proxy.config.hostnameOverride",
            format!("names `{named}`, but this node is `{}`: kube-proxy would not find its Node; set node.name instead", node.name),
        );
    }
    Proxy {
        enabled: written.enabled.unwrap_or(true),
        mode: match written.mode {
            Some(fragment::ProxyMode::Nftables) => ProxyMode::Nftables,
            _ => ProxyMode::Iptables,
        },
        component: Component {
            binary: written.binary,
            config,
            extra_args: written.extra_args.unwrap_or_default(),
        },
    }
}
