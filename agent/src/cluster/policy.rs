//! What may be approved: one pure function from what is known about a request to a verdict.
//!
//! Three signers, each with an exact shape of request. Whatever is not recognised is left for a person: nothing is ever
//! denied, because a denial is for ever and an approval can still be given by hand.

use std::net::IpAddr;

use crate::cluster::NODES_GROUP;
use crate::cluster::csr::{CsrFacts, Request};
use crate::names::NodeName;

/// Client certificates of kubelets.
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of kubelets.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Client certificates of anybody; here, of kube-proxy alone.
pub const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// The signers this approver serves, and has the right to approve for.
pub const SIGNERS: [&str; 3] = [KUBELET_CLIENT, KUBELET_SERVING, API_CLIENT];

/// The one identity that is approved for [`API_CLIENT`].
const KUBE_PROXY: &str = "system:kube-proxy";

/// The bounds an operator may set.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The longest lifetime a request may ask for. One that asks for none gets the signer's default.
    pub max_expiration_seconds: i32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_expiration_seconds: 367 * 24 * 3600 }
    }
}

/// What a look-up of the requester's Node brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeLookup {
    /// There is no such Node, or none was looked for.
    Absent,
    /// The Node exists.
    Found(NodeAddresses),
}

/// The addresses in a Node's status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeAddresses {
    /// Host names and DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Approve it; the message goes into the condition.
    Approve(String),
    /// Not yet: what is missing may still come.
    Wait(Refusal),
    /// Leave it as it is, for a person.
    Ignore(Refusal),
}

/// Why a request is not approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of reason.
    pub code: Code,
    /// What was found and what was expected.
    pub message: String,
}

/// The kinds of reason not to approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The signer is none of [`SIGNERS`].
    SignerNotOurs,
    /// A machine's first client certificate: in-tree auto-approval or a person decides.
    BootstrapNotOurs,
    /// The PKCS#10 request is malformed, unsigned, weak, or asks for what no node needs.
    Malformed,
    /// The requester is no node, or one with an impossible name.
    RequesterNotANode,
    /// The common name is not the requester's own.
    CommonNameMismatch,
    /// The subject is not exactly what this signer's certificates have.
    SubjectMismatch,
    /// The usages are not exactly what this signer's certificates have.
    UsageMismatch,
    /// Alternative names where there must be none, of a wrong kind, or none where one is needed.
    NamesMismatch,
    /// An alternative name that no node may have.
    NameReserved,
    /// An alternative name that is none of the Node's addresses.
    NameNotOfNode,
    /// The requester's Node does not exist.
    NodeMissing,
    /// A longer lifetime than the policy allows.
    LifetimeTooLong,
}

impl Code {
    /// The word for it in logs and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignerNotOurs => "SignerNotOurs",
            Self::BootstrapNotOurs => "BootstrapNotOurs",
            Self::Malformed => "Malformed",
            Self::RequesterNotANode => "RequesterNotANode",
            Self::CommonNameMismatch => "CommonNameMismatch",
            Self::SubjectMismatch => "SubjectMismatch",
            Self::UsageMismatch => "UsageMismatch",
            Self::NamesMismatch => "NamesMismatch",
            Self::NameReserved => "NameReserved",
            Self::NameNotOfNode => "NameNotOfNode",
            Self::NodeMissing => "NodeMissing",
            Self::LifetimeTooLong => "LifetimeTooLong",
        }
    }
}

/// The Node that must be looked up before [`judge`] can approve, if any.
pub fn node_needed(csr: &CsrFacts) -> Option<NodeName> {
    if matches!(csr.signer.as_str(), KUBELET_SERVING | API_CLIENT) { requesting_node(csr) } else { None }
}

/// Whether `csr` may be approved.
pub fn judge(csr: &CsrFacts, node: &NodeLookup, policy: Policy) -> Verdict {
    match examine(csr, node, policy) {
        Ok(message) => Verdict::Approve(message),
        // A Node that registers reports itself and its addresses shortly after it asked.
        Err(refusal) if matches!(refusal.code, Code::NodeMissing | Code::NameNotOfNode) => {
            Verdict::Wait(refusal)
        }
        Err(refusal) => Verdict::Ignore(refusal),
    }
}

fn examine(csr: &CsrFacts, node: &NodeLookup, policy: Policy) -> Result<String, Refusal> {
    if !SIGNERS.contains(&csr.signer.as_str()) {
        return refuse(Code::SignerNotOurs, format!("its signer is `{}`", csr.signer));
    }
    let Some(name) = requesting_node(csr) else {
        return if csr.signer == KUBELET_CLIENT && !csr.groups.iter().any(|group| group == NODES_GROUP) {
            refuse(
                Code::BootstrapNotOurs,
                format!("`{}` is no node yet; decide with: kubectl certificate", csr.username),
            )
        } else {
            refuse(
                Code::RequesterNotANode,
                format!("`{}` is no node in the group {NODES_GROUP}", csr.username),
            )
        };
    };
    let request = match &csr.request {
        Ok(request) => request,
        Err(malformed) => return refuse(Code::Malformed, malformed.0.clone()),
    };
    if let Some(seconds) = csr.expiration_seconds.filter(|s| *s > policy.max_expiration_seconds) {
        let max = policy.max_expiration_seconds;
        return refuse(Code::LifetimeTooLong, format!("it asks for {seconds} s, the policy allows {max} s"));
    }
    match csr.signer.as_str() {
        KUBELET_CLIENT => renewal(csr, request, &name),
        KUBELET_SERVING => serving(csr, request, &name, node),
        _ => kube_proxy(csr, request, &name, node),
    }
}

/// A node's client certificate, renewed with the one it has.
fn renewal(csr: &CsrFacts, request: &Request, name: &NodeName) -> Result<String, Refusal> {
    node_subject(csr, request)?;
    no_names(request)?;
    exact_usages(csr, "client auth")?;
    Ok(format!("node {name} renews its own client certificate"))
}

/// A kubelet's serving certificate for its own addresses.
fn serving(csr: &CsrFacts, request: &Request, name: &NodeName, node: &NodeLookup) -> Result<String, Refusal> {
    node_subject(csr, request)?;
    exact_usages(csr, "server auth")?;
    if request.other_names {
        return refuse(Code::NamesMismatch, "it has alternative names other than DNS names and IP addresses");
    }
    if !request.has_names() {
        return refuse(
            Code::NamesMismatch,
            "it has no alternative name, and a serving certificate needs one",
        );
    }
    if let Some(dns) = request.dns_names.iter().find(|dns| is_reserved(dns)) {
        return refuse(Code::NameReserved, format!("`{dns}` is a name of the cluster or of every machine"));
    }
    if let Some(ip) = request.addresses.iter().find(|ip| is_everywhere(**ip)) {
        return refuse(Code::NameReserved, format!("{ip} is no address of one machine"));
    }
    let known = existing(node, name)?;
    let stray_name = request.dns_names.iter().find(|dns| !known.dns_names.contains(dns)).cloned();
    let stray_address =
        || request.addresses.iter().find(|ip| !known.addresses.contains(ip)).map(ToString::to_string);
    if let Some(stray) = stray_name.or_else(stray_address) {
        return refuse(Code::NameNotOfNode, format!("`{stray}` is not in status.addresses of node {name}"));
    }
    Ok(format!("node {name} serves under its own addresses"))
}

/// kube-proxy's client certificate, asked for by a node that exists.
fn kube_proxy(
    csr: &CsrFacts,
    request: &Request,
    name: &NodeName,
    node: &NodeLookup,
) -> Result<String, Refusal> {
    if request.common_names != [KUBE_PROXY] {
        let found = request.common_names.join("`, `");
        return refuse(
            Code::CommonNameMismatch,
            format!("its common name is `{found}`, expected `{KUBE_PROXY}`"),
        );
    }
    if !request.organizations.is_empty() || request.other_subject {
        return refuse(Code::SubjectMismatch, "its subject has more than the common name");
    }
    no_names(request)?;
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if !csr.usages.iter().any(|u| u == "client auth")
        || csr.usages.iter().any(|u| !allowed.contains(&u.as_str()))
    {
        return wrong_usages(csr, "client auth, and at most digital signature and key encipherment");
    }
    existing(node, name)?;
    Ok(format!("node {name} asks for its kube-proxy"))
}

/// The node that asks, where it is one: `system:node:<name>` in the group of nodes, both asserted by the API server.
fn requesting_node(csr: &CsrFacts) -> Option<NodeName> {
    if !csr.groups.iter().any(|group| group == NODES_GROUP) {
        return None;
    }
    csr.username.strip_prefix("system:node:")?.parse().ok()
}

/// Exactly the requester's own name and the organization of nodes.
fn node_subject(csr: &CsrFacts, request: &Request) -> Result<(), Refusal> {
    if request.common_names != [csr.username.as_str()] {
        let found = request.common_names.join("`, `");
        let message = format!("its common name is `{found}`, its requester `{}`", csr.username);
        return refuse(Code::CommonNameMismatch, message);
    }
    if request.organizations != [NODES_GROUP] || request.other_subject {
        let found = request.organizations.join("`, `");
        let message = format!(
            "its organizations are `{found}`, expected `{NODES_GROUP}` and nothing else in the subject"
        );
        return refuse(Code::SubjectMismatch, message);
    }
    Ok(())
}

fn no_names(request: &Request) -> Result<(), Refusal> {
    if request.has_names() {
        return refuse(
            Code::NamesMismatch,
            "it has alternative names, and a client certificate must have none",
        );
    }
    Ok(())
}

/// `digital signature` and `purpose`, with or without `key encipherment`: what the signers accept.
fn exact_usages(csr: &CsrFacts, purpose: &str) -> Result<(), Refusal> {
    let mut found: Vec<&str> =
        csr.usages.iter().map(String::as_str).filter(|u| *u != "key encipherment").collect();
    found.sort_unstable();
    let mut expected = ["digital signature", purpose];
    expected.sort_unstable();
    let twice = csr.usages.iter().filter(|u| *u == "key encipherment").count() > 1;
    if found != expected || twice {
        return wrong_usages(csr, &format!("digital signature, {purpose}, and at most key encipherment"));
    }
    Ok(())
}

fn existing<'a>(node: &'a NodeLookup, name: &NodeName) -> Result<&'a NodeAddresses, Refusal> {
    match node {
        NodeLookup::Found(known) => Ok(known),
        NodeLookup::Absent => refuse(Code::NodeMissing, format!("node {name} does not exist")),
    }
}

/// Names that mean the API server or the machine itself to whoever looks them up, and patterns.
fn is_reserved(dns: &str) -> bool {
    let lower = dns.trim_end_matches('.').to_ascii_lowercase();
    lower.is_empty()
        || lower.contains('*')
        || lower == "localhost"
        || lower.ends_with(".localhost")
        || ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].contains(&lower.as_str())
        || lower.starts_with("kubernetes.default.svc.")
}

/// Addresses that mean every machine, or none.
fn is_everywhere(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local
}

fn wrong_usages<T>(csr: &CsrFacts, expected: &str) -> Result<T, Refusal> {
    refuse(Code::UsageMismatch, format!("its usages are {}; expected {expected}", csr.usages.join(", ")))
}

fn refuse<T>(code: Code, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
