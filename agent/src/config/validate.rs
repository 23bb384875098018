//! Merged values → [`Config`], or every problem found.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::fragment::{
    ClusterFragment, DnsFragment, Fragment, IdentityFragment, KubeletFragment, NetworkFragment, NodeFragment,
    PreflightFragment, ProxyFragment, RuntimeFragment, TextOrList, TokenFragment,
};
use super::problem::{Findings, Problem, shown};
use super::{
    Cluster, Component, Config, Dns, Identity, Network, Node, Origin, Preflight, Provenance, Proxy, Reserved,
    Runtime, Taint, TokenSource, components, labels, subject,
};
use crate::names::{Cidr, Invalid, NodeName};

/// Checks every value. `None` where something that is needed is missing or was refused; the reasons are in `findings`.
pub(super) fn validate(
    fragment: Fragment,
    provenance: &Provenance,
    findings: &mut Findings,
) -> Option<Config> {
    let mut check = Check { provenance, findings, services: None };
    // Each part is checked even where one before it failed.
    let cluster = check.cluster(fragment.cluster.unwrap_or_default());
    let identity = check.identity(fragment.identity.unwrap_or_default());
    let node = check.node(fragment.node.unwrap_or_default());
    let runtime = check.runtime(fragment.runtime.unwrap_or_default());
    let network = check.network(fragment.network.unwrap_or_default());
    let kubelet = check.kubelet(fragment.kubelet.unwrap_or_default());
    let proxy = check.proxy(fragment.proxy.unwrap_or_default());
    let preflight = preflight(fragment.preflight.unwrap_or_default());
    let firewall = check.firewall(fragment.firewall.unwrap_or_default());
    if identity.supplied.is_some() {
        check.follows_from_the_certificate(&kubelet);
    }
    if let Some(cluster) = &cluster {
        check.pins_need_a_bootstrap_token(cluster, &identity);
    }
    let name = node.as_ref().map(|node| &node.name);
    let services = check.services;
    for refused in components::check(&kubelet, &proxy.component, name, services, network.plugin) {
        check.refuse_with(&refused.path, &refused.message, &refused.hint);
    }
    Some(Config {
        cluster: cluster?,
        identity,
        node: node?,
        runtime,
        network,
        kubelet,
        proxy,
        preflight,
        firewall,
    })
}

pub(super) struct Check<'a> {
    pub(super) provenance: &'a Provenance,
    pub(super) findings: &'a mut Findings,
    /// `cluster.serviceCIDR`, known even where the rest of `cluster` was refused.
    services: Option<Cidr>,
}

impl Check<'_> {
    pub(super) fn refuse(&mut self, path: &str, message: &str) {
        self.findings.add(Problem::new(path, message).at(self.provenance.locate(path)));
    }

    pub(super) fn refuse_with(&mut self, path: &str, message: &str, hint: &str) {
        self.findings.add(Problem::new(path, message).at(self.provenance.locate(path)).hint(hint));
    }

    pub(super) fn missing(&mut self, path: &str, hint: &str) {
        if !self.findings.excuses(path) {
            self.findings.add(Problem::new(path, "missing").hint(hint));
        }
    }

    /// `text` as what it must be; a problem where it is not.
    pub(super) fn parse<T: FromStr<Err = Invalid>>(&mut self, path: &str, text: Option<&str>) -> Option<T> {
        match text?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(path, &error.to_string());
                None
            }
        }
    }

    fn address(&mut self, path: &str, text: &str) -> Option<IpAddr> {
        let address = text.trim().parse().ok();
        if address.is_none() {
            self.refuse(path, &format!("`{}` is no IP address", shown(text)));
        }
        address
    }

    pub(super) fn absolute(&mut self, path: &str, text: Option<String>) -> Option<PathBuf> {
        let text = text?;
        if !text.starts_with('/') {
            self.refuse_with(path, &format!("`{}` is no absolute path", shown(&text)), "begin it with `/`");
            return None;
        }
        // It stands in units, where a line's end would begin a directive and a backslash there would swallow the next one.
        if text.contains(char::is_control) || text.ends_with(['\\', ' ']) {
            let message =
                format!("`{}` holds a control character, or ends in a space or a backslash", shown(&text));
            self.refuse_with(path, &message, "give the file another name");
            return None;
        }
        Some(PathBuf::from(text))
    }

    fn cluster(&mut self, fragment: ClusterFragment) -> Option<Cluster> {
        if fragment.server.is_none() {
            self.missing("cluster.server", "write e.g. `cluster: {server: https://10.0.0.10:6443}`");
        }
        let server = self.parse("cluster.server", fragment.server.as_deref());
        let ca = self.ca(fragment.ca.unwrap_or_default());
        let client_ca = fragment.client_ca.and_then(|client_ca| self.client_ca(client_ca));
        let dns = self.dns(fragment.dns.unwrap_or_default());
        let pod_cidr: Option<Cidr> = self.parse("cluster.podCIDR", fragment.pod_cidr.as_deref());
        let service_cidr: Option<Cidr> = self.parse("cluster.serviceCIDR", fragment.service_cidr.as_deref());
        self.services = service_cidr;
        if let Some((pods, services)) =
            pod_cidr.zip(service_cidr).filter(|(pods, services)| pods.overlaps(services))
        {
            let message = format!("{pods} overlaps {services} (`cluster.serviceCIDR`)");
            self.refuse_with("cluster.podCIDR", &message, "pods and Services need blocks of their own");
        } else if let Some((pods, service)) =
            pod_cidr.zip(dns.address).filter(|(pods, service)| pods.contains(*service))
        {
            let message = format!("{pods} holds {service} (`cluster.dns.address`), which is a Service");
            self.refuse_with("cluster.podCIDR", &message, "pods and Services need blocks of their own");
        }
        let name = fragment.name.unwrap_or_default();
        if name.trim().is_empty() && !self.findings.excuses("cluster.name") {
            self.refuse_with("cluster.name", "empty", "write e.g. `kubernetes`, or leave it out");
        }
        Some(Cluster { name, server: server?, ca: ca?, client_ca, dns, pod_cidr, service_cidr })
    }

    fn dns(&mut self, fragment: DnsFragment) -> Dns {
        let path = "cluster.dns.address";
        let addresses = match fragment.address {
            None => Vec::new(),
            Some(TextOrList::Text(one)) => vec![one],
            Some(TextOrList::List(several)) => several,
        };
        if addresses.len() > 1 {
            self.refuse_with(path, "more than one address", "give the one of the cluster's DNS Service");
        }
        let address = addresses.first().and_then(|text| self.address(path, text));
        let domain = fragment.domain.unwrap_or_default();
        let domain = domain.strip_suffix('.').unwrap_or(&domain);
        // A Node's name has the syntax of a domain.
        if domain.parse::<NodeName>().is_err() && !self.findings.excuses("cluster.dns.domain") {
            self.refuse_with(
                "cluster.dns.domain",
                &format!("`{}` is no DNS domain", shown(domain)),
                "write e.g. `cluster.local`",
            );
        }
        Dns { address, domain: domain.to_owned() }
    }

    fn identity(&mut self, fragment: IdentityFragment) -> Identity {
        let supplied = self.supplied(fragment.mode, fragment.cert_file, fragment.key_file);
        let token = fragment.token.and_then(|token| self.token(token));
        Identity { token, key: fragment.key.unwrap_or_default(), supplied }
    }

    /// Where the token is. No message shows what was written: it may be the token in the wrong place.
    fn token(&mut self, fragment: TokenFragment) -> Option<TokenSource> {
        match fragment {
            TokenFragment { value: Some(value), .. } => {
                self.parse("identity.token.value", Some(&value.0)).map(TokenSource::Value)
            }
            TokenFragment { file: Some(file), .. } if file.starts_with('/') => {
                Some(TokenSource::File(file.into()))
            }
            TokenFragment { file: Some(_), .. } => {
                self.refuse_with("identity.token.file", "no absolute path", "begin it with `/`");
                None
            }
            TokenFragment { credential: Some(name), .. } => {
                if !name.is_empty() && !name.starts_with('.') && !name.contains('/') {
                    return Some(TokenSource::Credential(name));
                }
                let hint = "write the name given to `LoadCredential=`";
                self.refuse_with("identity.token.credential", "no name of a systemd credential", hint);
                None
            }
            TokenFragment { file: None, credential: None, value: None } => None,
        }
    }

    fn node(&mut self, fragment: NodeFragment) -> Option<Node> {
        let address = fragment.address.and_then(|text| self.address("node.address", &text));
        let address_from = self.address_from(fragment.address_from.unwrap_or_default(), address.is_some());
        let labels = fragment.labels.unwrap_or_default();
        for (key, value) in &labels {
            if let Err(refusal) = labels::check_label(key, value) {
                self.refusal("node.labels", &format!("node.labels.{key}"), refusal);
            }
        }
        let mut taints: Vec<Taint> = Vec::new();
        for (index, text) in fragment.taints.unwrap_or_default().iter().enumerate() {
            match labels::parse_taint(text) {
                Ok(taint) => taints.push(taint),
                Err(refusal) => self.refusal("node.taints", &format!("node.taints[{index}]"), refusal),
            }
        }
        let name = self.node_name(&fragment.name.unwrap_or_default())?;
        Some(Node { name, address, address_from, labels, taints })
    }

    fn address_from(&mut self, networks: Vec<String>, is_written: bool) -> Vec<Cidr> {
        if is_written && !networks.is_empty() {
            let hint = "leave one of the two out";
            self.refuse_with("node.addressFrom", "`node.address` says already which address it is", hint);
        }
        let mut parsed: Vec<Cidr> = Vec::new();
        for text in networks {
            parsed.extend(self.parse::<Cidr>("node.addressFrom", Some(text.trim())));
        }
        parsed
    }

    fn refusal(&mut self, group: &str, path: &str, refusal: labels::Refusal) {
        let origin = self.provenance.locate(path).or_else(|| self.provenance.locate(group));
        let problem = Problem::new(path, &refusal.message).at(origin);
        self.findings.add(match refusal.hint {
            Some(hint) => problem.hint(&hint),
            None => problem,
        });
    }

    fn node_name(&mut self, text: &str) -> Option<NodeName> {
        let error = match text.parse() {
            Ok(name) => return Some(name),
            Err(error) => error,
        };
        if self.findings.excuses("node.name") {
            return None;
        }
        let lower = text.to_ascii_lowercase();
        if matches!(self.provenance.locate("node.name"), Some(Origin::Computed { .. })) {
            let message = format!("the host name does not do: {error}");
            self.refuse_with("node.name", &message, "write `node: {name: …}`, or rename the machine");
        } else if lower != text && lower.parse::<NodeName>().is_ok() {
            let message = format!("`{text}` has upper-case letters, which Kubernetes refuses in a node name");
            self.refuse_with("node.name", &message, &format!("write `{lower}`"));
        } else {
            self.refuse("node.name", &error.to_string());
        }
        None
    }

    fn runtime(&mut self, fragment: RuntimeFragment) -> Runtime {
        let sandbox_image = fragment.sandbox_image.unwrap_or_default();
        if sandbox_image.is_empty() || sandbox_image.contains(char::is_whitespace) {
            let message = format!("`{}` is no image", shown(&sandbox_image));
            self.refuse_with("runtime.sandboxImage", &message, "write e.g. `registry.k8s.io/pause:3.10`");
        }
        Runtime {
            kind: fragment.kind.unwrap_or_default(),
            sandbox_image,
            images: self.absolute("runtime.images", fragment.images),
            cri_dockerd: self.absolute("runtime.criDockerd", fragment.cri_dockerd),
            daemon_json: fragment.daemon_json.unwrap_or_default(),
        }
    }

    fn network(&mut self, fragment: NetworkFragment) -> Network {
        Network {
            plugin: fragment.plugin.unwrap_or_default(),
            conf_dir: self.absolute("network.confDir", fragment.conf_dir).unwrap_or_default(),
            bin_dir: self.absolute("network.binDir", fragment.bin_dir),
        }
    }

    fn kubelet(&mut self, fragment: KubeletFragment) -> Component {
        let is_computed = fragment.config.as_ref().is_some_and(|config| config.contains_key("kubeReserved"));
        if fragment.reserved == Some(Reserved::Auto) && !is_computed {
            let message = "this machine tells neither its memory nor its processors";
            self.refuse_with("kubelet.reserved", message, "set `kubelet.config.kubeReserved`");
        }
        Component {
            binary: self.absolute("kubelet.binary", fragment.binary),
            config: fragment.config.unwrap_or_default(),
            extra_args: fragment.extra_args.unwrap_or_default(),
        }
    }

    fn proxy(&mut self, fragment: ProxyFragment) -> Proxy {
        let component = Component {
            binary: self.absolute("proxy.binary", fragment.binary),
            config: fragment.config.unwrap_or_default(),
            extra_args: fragment.extra_args.unwrap_or_default(),
        };
        let (subject, refused) =
            subject::of(fragment.certificate.and_then(|certificate| certificate.subject).unwrap_or_default());
        for (key, why, what) in refused {
            self.refuse_with(&format!("proxy.certificate.subject.{key}"), &why, what);
        }
        Proxy {
            enabled: fragment.enabled.unwrap_or(true),
            mode: fragment.mode.unwrap_or_default(),
            kubeconfig: self.absolute("proxy.kubeconfig", fragment.kubeconfig),
            subject,
            component,
        }
    }
}

fn preflight(fragment: PreflightFragment) -> Preflight {
    Preflight { ignore: fragment.ignore.unwrap_or_default().into_iter().collect() }
}
