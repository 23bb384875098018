//! Serving certificates of kubelets: for the Node's own addresses, and for nothing that means anybody else.

use std::net::IpAddr;

use super::{
    Approval, Code, Judged, Policy, Refusal, ServingPolicy, Verdict, exact_usages, node_subject, readable,
    requesting_node,
};
use crate::cluster::csr::{CsrFacts, Request};
use crate::cluster::inventory::{Inventory, NodeFacts, plain_name};

pub(super) fn judge(csr: &CsrFacts, inventory: &Inventory, policy: &Policy) -> Judged {
    let name = requesting_node(csr)?;
    let name = name.as_str();
    let request = shape(csr, policy).map_err(Verdict::Deny)?;
    let node = inventory.node(name);
    reserved(request, inventory, node, &policy.serving).map_err(Verdict::Deny)?;
    let Some(node) = node else {
        let refusal = Refusal::new(Code::NodeMissing, format!("node {name} does not exist"));
        return Err(Verdict::held_for(refusal, &[name]));
    };
    of_node(request, node, name).map_err(|refusal| Verdict::held_for(refusal, &[name]))?;
    if let Some((what, other)) = of_another(request, inventory, name) {
        let message =
            format!("`{what}` is of node {other} too; if that one is gone: kubectl delete node {other}");
        return Err(Verdict::held_for(Refusal::new(Code::NameOfOtherNode, message), &[name, other]));
    }
    in_inventory(request, &policy.serving).map_err(Verdict::held)?;
    Ok(Approval::plain(format!("node {name} serves under its own addresses")))
}

fn shape<'a>(csr: &'a CsrFacts, policy: &Policy) -> Result<&'a Request, Refusal> {
    let request = readable(csr, policy)?;
    node_subject(request, &csr.username)?;
    exact_usages(csr, "server auth")?;
    let why = if request.other_names {
        "it has alternative names other than DNS names and IP addresses"
    } else if !request.has_names() {
        "it has no alternative name, and a serving certificate needs one"
    } else if request.dns_names.iter().any(|dns| plain_name(dns).parse::<IpAddr>().is_ok()) {
        // A Node may list it so. As a name it would get around what is said about addresses.
        "it has an address where a DNS name belongs"
    } else {
        return Ok(request);
    };
    Err(Refusal::new(Code::NamesMismatch, why))
}

/// No name means the API server, every machine or none, or what the operator excluded: whatever the Node's status lists,
/// which the node writes itself.
fn reserved(
    request: &Request,
    inventory: &Inventory,
    node: Option<&NodeFacts>,
    policy: &ServingPolicy,
) -> Result<(), Refusal> {
    let refuse = |what: &dyn std::fmt::Display, why: &str| {
        Err(Refusal::new(Code::NameReserved, format!("`{what}` {why}")))
    };
    let api = &inventory.api_server;
    // A control-plane host is where the API server is; that it is one, an administrator said.
    let of_api = |found: bool| found && !node.is_some_and(|node| node.control_plane);
    for dns in &request.dns_names {
        let plain = plain_name(dns);
        if is_everywhere_name(&plain) {
            return refuse(dns, "is a name of the cluster or of every machine");
        }
        if of_api(api.names.contains(&plain)) {
            return refuse(dns, "is the API server's name");
        }
        if policy.never_sign_names.iter().any(|never| plain_name(never) == plain) {
            return refuse(dns, "is excluded by the policy");
        }
    }
    for ip in &request.addresses {
        let plain = ip.to_canonical();
        if is_everywhere(plain) {
            return refuse(ip, "is no address of one machine");
        }
        if of_api(api.addresses.contains(&plain)) {
            return refuse(ip, "is the API server's address");
        }
        if policy.never_sign_cidrs.iter().any(|cidr| cidr.contains(plain)) {
            return refuse(ip, "is excluded by the policy");
        }
    }
    Ok(())
}

/// Every name is one of the Node's, to the letter: a longer name that begins with it is somebody else's.
fn of_node(request: &Request, node: &NodeFacts, name: &str) -> Result<(), Refusal> {
    let stray_name = request.dns_names.iter().find(|dns| !node.dns_names.contains(dns)).cloned();
    let stray_address =
        || request.addresses.iter().find(|ip| !node.addresses.contains(ip)).map(ToString::to_string);
    match stray_name.or_else(stray_address) {
        Some(stray) => Err(Refusal::new(
            Code::NameNotOfNode,
            format!("`{stray}` is not in status.addresses of node {name}"),
        )),
        None => Ok(()),
    }
}

/// A name that another Node has too, and which. Whoever listed it first can't be told from whoever stole it, so that
/// neither gets it.
fn of_another<'a>(request: &Request, inventory: &'a Inventory, own: &str) -> Option<(String, &'a str)> {
    let names = request.dns_names.iter().map(|dns| (dns.clone(), inventory.other_named(dns, own)));
    let addresses = request.addresses.iter().map(|ip| (ip.to_string(), inventory.other_at(*ip, own)));
    names.chain(addresses).find_map(|(what, other)| Some((what, other?)))
}

fn in_inventory(request: &Request, policy: &ServingPolicy) -> Result<(), Refusal> {
    let outside = |what: String, list: &str| {
        Refusal::new(Code::NameNotInInventory, format!("`{what}` is in none of the policy's serving.{list}"))
    };
    let names = &policy.allowed_names;
    let stray =
        request.dns_names.iter().find(|dns| !names.iter().any(|pattern| matches(pattern, &plain_name(dns))));
    if let Some(dns) = stray.filter(|_| !names.is_empty()) {
        return Err(outside(dns.clone(), "allowedNames"));
    }
    let cidrs = &policy.allowed_cidrs;
    let stray =
        request.addresses.iter().find(|ip| !cidrs.iter().any(|cidr| cidr.contains(ip.to_canonical())));
    if let Some(ip) = stray.filter(|_| !cidrs.is_empty()) {
        return Err(outside(ip.to_string(), "allowedCIDRs"));
    }
    Ok(())
}

/// Whether `name` is `pattern`, where a `*` stands for any characters but a dot.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    let ends = rest.find('.').unwrap_or(rest.len());
    (0..=ends).any(|skipped| rest.get(skipped..).is_some_and(|rest| matches(after, rest)))
}

/// Names that mean the API server or the machine itself to whoever looks them up, and patterns.
fn is_everywhere_name(plain: &str) -> bool {
    plain.is_empty()
        || plain.contains('*')
        || plain == "localhost"
        || plain.ends_with(".localhost")
        || ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].contains(&plain)
        || plain.starts_with("kubernetes.default.svc.")
}

/// Addresses that mean every machine, or none.
fn is_everywhere(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_characters_within_one_label() {
        for (pattern, name, expected) in [
            ("n1.corp", "n1.corp", true),
            ("n1.corp", "n1.corp.evil", false),
            ("*.corp", "n1.corp", true),
            ("*.corp", "a.n1.corp", false),
            ("*.corp", ".corp", true),
            ("n*.corp", "n.corp", true),
            ("n*", "n1", true),
            ("n*", "n1.evil", false),
            ("n*-*", "n1-2", true),
            ("n*-*", "n1", false),
            ("*", "n1", true),
            ("*", "n1.corp", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
