//! Client certificates of kubelets: the first one, with a token, and every renewal.

use jiff::Timestamp;

use super::{
    Approval, Claim, Code, Hold, Judged, KUBELET_CLIENT, Policy, Refusal, Verdict, exact_usages, no_names,
    node_subject, not_ours, readable, requesting_node,
};
use crate::cluster::csr::{CsrFacts, Request};
use crate::cluster::inventory::Inventory;
use crate::cluster::{AUTO_APPROVE_GROUP, NODE_GROUP_PREFIX, NODES_GROUP, TOKEN_GROUP, node_group};
use crate::names::NodeName;

/// What the API server calls the holder of a token, before the token's id.
pub const TOKEN_USER: &str = "system:bootstrap:";

pub(super) fn judge(csr: &CsrFacts, inventory: &Inventory, policy: &Policy, now: Timestamp) -> Judged {
    let has = |wanted: &str| csr.groups.iter().any(|group| group == wanted);
    match csr.username.strip_prefix(TOKEN_USER) {
        // A node is never in the groups of tokens, nor a token in that of nodes: who is in both is neither.
        Some(id) if has(TOKEN_GROUP) && !has(NODES_GROUP) => first(csr, id, inventory, policy, now),
        Some(_) => not_ours(
            Code::RequesterNotOurs,
            format!(
                "the token of `{}` is not in {TOKEN_GROUP}: kn-agent token create did not make it",
                csr.username
            ),
        ),
        None => renewal(csr, policy),
    }
}

/// The use of a token that an approval of `csr` is, whoever gave it.
pub fn claim_of(csr: &CsrFacts) -> Option<Claim> {
    let id = csr.username.strip_prefix(TOKEN_USER)?;
    let ours = csr.signer == KUBELET_CLIENT && csr.groups.iter().any(|group| group == TOKEN_GROUP);
    let request = csr.request.as_ref().ok().filter(|_| ours)?;
    Some(Claim { token_id: id.to_owned(), key: request.public_key_hash.clone() })
}

/// A machine's first certificate, asked for with a token that is bound to its name.
fn first(csr: &CsrFacts, id: &str, inventory: &Inventory, policy: &Policy, now: Timestamp) -> Judged {
    let bound: Vec<&str> =
        csr.groups.iter().map(String::as_str).filter(|group| group.starts_with(NODE_GROUP_PREFIX)).collect();
    if bound.is_empty() && csr.groups.iter().any(|group| group == AUTO_APPROVE_GROUP) {
        let message = format!("the controller-manager approves for the group {AUTO_APPROVE_GROUP}");
        return not_ours(Code::RequesterNotOurs, message);
    }
    let [bound] = bound[..] else {
        let message = format!(
            "token {id} is bound to {} nodes, expected one (kn-agent token create --node NAME); if you know who asks: \
             kubectl certificate approve",
            bound.len()
        );
        return Err(Verdict::held(Refusal::new(Code::TokenNotBound, message)));
    };
    let (request, name) = node_request(csr, policy).map_err(Verdict::Deny)?;
    if node_group(&name) != bound {
        let message = format!(
            "token {id} is bound to another node than {name}; make one: kn-agent token create --node {name}"
        );
        return Err(Verdict::Deny(Refusal::new(Code::TokenNodeMismatch, message)));
    }
    not_live(&name, inventory, policy, now)?;
    let claim = Claim { token_id: id.to_owned(), key: request.public_key_hash.clone() };
    Ok(Approval { message: format!("token {id} is bound to node {name}"), claim: Some(claim) })
}

/// The shape of a kubelet's client certificate for any node; which, is in it.
fn node_request<'a>(csr: &'a CsrFacts, policy: &Policy) -> Result<(&'a Request, NodeName), Refusal> {
    let request = readable(csr, policy)?;
    let found = request.common_names.join("`, `");
    let name: NodeName =
        found.strip_prefix("system:node:").and_then(|name| name.parse().ok()).ok_or_else(|| {
            Refusal::new(
                Code::CommonNameMismatch,
                format!("its common name is `{found}`, expected `system:node:NAME`"),
            )
        })?;
    node_subject(request, &name.user())?;
    no_names(request)?;
    exact_usages(csr, "client auth")?;
    Ok((request, name))
}

/// No Node of this name is at work.
fn not_live(name: &NodeName, inventory: &Inventory, policy: &Policy, now: Timestamp) -> Result<(), Verdict> {
    let Some(node) = inventory.node(name.as_str()) else { return Ok(()) };
    let window = policy.takeover_after;
    let free_at = node.not_ready_since.map(|since| since.saturating_add(window).unwrap_or(Timestamp::MAX));
    if free_at.is_some_and(|instant| instant <= now) {
        return Ok(());
    }
    let state = if free_at.is_some() { "was Ready a short time ago" } else { "is Ready" };
    let message = format!(
        "node {name} exists and {state}: who asks with a token would take its place; if it is meant to: kubectl delete \
         node {name}, or wait until it has not been Ready for {window:#}"
    );
    let refusal = Refusal::new(Code::NodeIsLive, message);
    let until = free_at.filter(|instant| *instant != Timestamp::MAX);
    Err(Verdict::Hold(Hold { refusal, on: vec![name.as_str().to_owned()], until }))
}

/// A node's client certificate, renewed with the one it has.
fn renewal(csr: &CsrFacts, policy: &Policy) -> Judged {
    let name = requesting_node(csr)?;
    let check = || {
        let request = readable(csr, policy)?;
        node_subject(request, &csr.username)?;
        no_names(request)?;
        exact_usages(csr, "client auth")
    };
    check().map_err(Verdict::Deny)?;
    Ok(Approval::plain(format!("node {name} renews its own client certificate")))
}
