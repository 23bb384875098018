//! What may be approved: one pure function from what is known about a request to a verdict.
//!
//! Three signers, each with an exact shape of request. Denied is only what can never become right, and only where the
//! requester is one of ours: a denial is for ever. What may still come right is held, and its requester can read why.
//! Of what is not ours nothing is touched: another approver may serve it.

mod client;
mod code;
mod file;
mod proxy;
mod serving;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

pub use client::{TOKEN_USER, claim_of};
pub use code::Code;
pub use file::{PolicyError, parse, read};

use crate::cluster::csr::{CsrFacts, Place, Request};
use crate::cluster::inventory::Inventory;
use crate::cluster::{NODES_GROUP, TOKEN_GROUP};
use crate::names::{Cidr, NodeName};

/// Client certificates of kubelets.
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of kubelets.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Client certificates of anybody; here, of kube-proxy alone.
pub const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// The signers this approver serves, and has the right to approve for.
pub const SIGNERS: [&str; 3] = [KUBELET_CLIENT, KUBELET_SERVING, API_CLIENT];

/// The bounds an operator may set. The default fits a cluster made by kubeadm.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How long a Node must not have been Ready before a token bound to it may take its place.
    pub takeover_after: SignedDuration,
    /// The longest lifetime a request may ask for. One that asks for none gets the signer's default.
    pub max_lifetime: SignedDuration,
    /// What kubelets may serve under.
    pub serving: ServingPolicy,
    /// The subject of kube-proxy's certificate.
    pub kube_proxy: SubjectPolicy,
}

/// Bounds for the names in serving certificates, beyond that they must be the Node's own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServingPolicy {
    /// Blocks the addresses must be in; empty: any.
    pub allowed_cidrs: Vec<Cidr>,
    /// Patterns the DNS names must match, where `*` stands for characters within one label; empty: any.
    pub allowed_names: Vec<String>,
    /// Names that no node gets, whatever its status lists.
    pub never_sign_names: Vec<String>,
    /// Blocks of addresses that no node gets.
    pub never_sign_cidrs: Vec<Cidr>,
}

/// A subject, to the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectPolicy {
    /// CN
    pub common_name: String,
    /// O, never one of `system:`
    pub organizations: Vec<String>,
    /// C, ST, L and OU, sorted.
    pub places: Vec<(Place, String)>,
}

impl Default for SubjectPolicy {
    fn default() -> Self {
        let common_name = "system:kube-proxy".to_owned();
        Self { common_name, organizations: Vec::new(), places: Vec::new() }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            takeover_after: SignedDuration::from_mins(5),
            max_lifetime: SignedDuration::from_hours(367 * 24),
            serving: ServingPolicy::default(),
            kube_proxy: SubjectPolicy::default(),
        }
    }
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Approve it.
    Approve(Approval),
    /// Deny it: it can never become right.
    Deny(Refusal),
    /// Leave it pending, and say why.
    Hold(Hold),
    /// Leave it alone.
    NotOurs(Refusal),
}

/// Why a request is approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// For the condition.
    pub message: String,
    /// The token that is used up by it, where one is: it must be claimed for this key first.
    pub claim: Option<Claim>,
}

/// The use of a token: one key, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The public part of the token.
    pub token_id: String,
    /// SHA-256 of the public key it is used for, hexadecimal.
    pub key: String,
}

/// Why a request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub refusal: Refusal,
    /// The Nodes with whose change it may become right.
    pub on: Vec<String>,
    /// The instant at which it may.
    pub until: Option<Timestamp>,
}

/// Why a request is not approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of reason.
    pub code: Code,
    /// What was found and what was expected.
    pub message: String,
}

/// Whether `csr` may be approved at `now`, in a cluster that looks like `inventory`.
pub fn judge(csr: &CsrFacts, inventory: &Inventory, policy: &Policy, now: Timestamp) -> Verdict {
    let judged = match csr.signer.as_str() {
        KUBELET_CLIENT => client::judge(csr, inventory, policy, now),
        KUBELET_SERVING => serving::judge(csr, inventory, policy),
        API_CLIENT => proxy::judge(csr, inventory, policy),
        other => not_ours(Code::SignerNotOurs, format!("its signer is `{other}`")),
    };
    let judged = judged.and_then(|approval| match csr.signer.as_str() {
        KUBELET_CLIENT | KUBELET_SERVING => {
            signable(csr, inventory).map(|()| approval).map_err(Verdict::Deny)
        }
        _ => Ok(approval),
    });
    judged.map_or_else(|refused| refused, Verdict::Approve)
}

/// The first minor version whose signers take a kubelet's usages with and without `key encipherment`: those of 1.24 know
/// one set, those of 1.25 both (`pkg/apis/certificates/helpers.go`).
const EITHER_WAY: u32 = 25;

/// An approval, or any verdict but that.
type Judged = Result<Approval, Verdict>;

impl Approval {
    fn plain(message: String) -> Self {
        Self { message, claim: None }
    }
}

impl Verdict {
    /// Pending until a person or a new version of the policy decides.
    fn held(refusal: Refusal) -> Self {
        Self::Hold(Hold { refusal, on: Vec::new(), until: None })
    }

    /// Pending until one of these Nodes changes.
    fn held_for(refusal: Refusal, nodes: &[&str]) -> Self {
        let on = nodes.iter().map(|&name| name.to_owned()).collect();
        Self::Hold(Hold { refusal, on, until: None })
    }
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

fn not_ours<T>(code: Code, message: impl Into<String>) -> Result<T, Verdict> {
    Err(Verdict::NotOurs(Refusal::new(code, message)))
}

/// The node that asks, where it is one: `system:node:<name>` in the group of nodes, both asserted by the API server.
fn requesting_node(csr: &CsrFacts) -> Result<NodeName, Verdict> {
    let in_group = csr.groups.iter().any(|group| group == NODES_GROUP);
    let name =
        csr.username.strip_prefix("system:node:").filter(|_| in_group).and_then(|name| name.parse().ok());
    name.map_or_else(
        || {
            let message = format!(
                "`{}` is neither a node in the group {NODES_GROUP} nor a token in {TOKEN_GROUP}",
                csr.username
            );
            not_ours(Code::RequesterNotOurs, message)
        },
        Ok,
    )
}

/// The request, where it can be read and does not ask to live too long.
fn readable<'a>(csr: &'a CsrFacts, policy: &Policy) -> Result<&'a Request, Refusal> {
    let request = csr.request.as_ref().map_err(|malformed| Refusal::new(Code::Malformed, &malformed.0))?;
    let asked = csr.expiration_seconds.map(|seconds| SignedDuration::from_secs(i64::from(seconds)));
    match asked.filter(|asked| *asked > policy.max_lifetime) {
        Some(asked) => {
            let max = policy.max_lifetime;
            let message = format!("it asks for a lifetime of {asked:#}, the policy allows {max:#}");
            Err(Refusal::new(Code::LifetimeTooLong, message))
        }
        None => Ok(request),
    }
}

/// Exactly the common name `expected` and the organization of nodes.
fn node_subject(request: &Request, expected: &str) -> Result<(), Refusal> {
    if request.common_names != [expected] {
        let found = request.common_names.join("`, `");
        return Err(Refusal::new(
            Code::CommonNameMismatch,
            format!("its common name is `{found}`, expected `{expected}`"),
        ));
    }
    if request.organizations != [NODES_GROUP] || request.other_subject || !request.places.is_empty() {
        let found = request.organizations.join("`, `");
        let message = format!(
            "its organizations are `{found}`, expected `{NODES_GROUP}` and nothing else in the subject"
        );
        return Err(Refusal::new(Code::SubjectMismatch, message));
    }
    Ok(())
}

fn no_names(request: &Request) -> Result<(), Refusal> {
    if request.has_names() {
        let message = "it has alternative names, and a client certificate must have none";
        return Err(Refusal::new(Code::NamesMismatch, message));
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
        return Err(wrong_usages(
            csr,
            &format!("digital signature, {purpose}, and at most key encipherment"),
        ));
    }
    Ok(())
}

/// An old signer fails for good what it does not like, approved or not.
fn signable(csr: &CsrFacts, inventory: &Inventory) -> Result<(), Refusal> {
    let Some(minor) = inventory.minor.filter(|minor| *minor < EITHER_WAY) else { return Ok(()) };
    if csr.usages.iter().any(|usage| usage == "key encipherment") {
        return Ok(());
    }
    let expected = format!("key encipherment too, which the signers of Kubernetes 1.{minor} demand");
    Err(wrong_usages(csr, &format!("{expected} (those from 1.{EITHER_WAY} on do not)")))
}

fn wrong_usages(csr: &CsrFacts, expected: &str) -> Refusal {
    let message = format!("its usages are {}; expected {expected}", csr.usages.join(", "));
    Refusal::new(Code::UsageMismatch, message)
}
