//! kube-proxy's client certificate. Others ask this signer too, nodes among them: what is not kube-proxy's by its name is
//! left alone.

use super::{
    Approval, Code, Judged, Policy, Refusal, SubjectPolicy, Verdict, no_names, not_ours, readable,
    requesting_node, wrong_usages,
};
use crate::cluster::csr::{CsrFacts, Request};
use crate::cluster::inventory::Inventory;

pub(super) fn judge(csr: &CsrFacts, inventory: &Inventory, policy: &Policy) -> Judged {
    let name = requesting_node(csr)?;
    let name = name.as_str();
    let wanted = &policy.kube_proxy;
    match &csr.request {
        Ok(request) if request.common_names != [wanted.common_name.as_str()] => {
            let found = request.common_names.join("`, `");
            let message =
                format!("its common name is `{found}`, and only `{}` is served", wanted.common_name);
            return not_ours(Code::SubjectNotOurs, message);
        }
        // Whose it is can't be told.
        Err(malformed) => return not_ours(Code::Malformed, &malformed.0),
        Ok(_) => {}
    }
    shape(csr, policy).map_err(Verdict::held)?;
    if inventory.node(name).is_none() {
        let refusal = Refusal::new(Code::NodeMissing, format!("node {name} does not exist"));
        return Err(Verdict::held_for(refusal, &[name]));
    }
    Ok(Approval::plain(format!("node {name} asks for its kube-proxy")))
}

fn shape(csr: &CsrFacts, policy: &Policy) -> Result<(), Refusal> {
    const ALLOWED: [&str; 3] = ["digital signature", "key encipherment", "client auth"];
    let request = readable(csr, policy)?;
    subject(request, &policy.kube_proxy)?;
    no_names(request)?;
    let client = csr.usages.iter().any(|usage| usage == "client auth");
    let twice = |usage: &&str| csr.usages.iter().filter(|u| u == usage).count() > 1;
    let other = csr.usages.iter().any(|usage| !ALLOWED.contains(&usage.as_str()));
    if !client || other || ALLOWED.iter().any(twice) {
        return Err(wrong_usages(csr, "client auth, and at most digital signature and key encipherment"));
    }
    Ok(())
}

/// Exactly the policy's subject, in any order: an organization more would be a group more.
fn subject(request: &Request, wanted: &SubjectPolicy) -> Result<(), Refusal> {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    let mut places = request.places.clone();
    places.sort_unstable();
    if request.other_subject
        || sorted(&request.organizations) != sorted(&wanted.organizations)
        || places != wanted.places
    {
        let found = subject_text(&request.organizations, &places);
        let expected = subject_text(&wanted.organizations, &wanted.places);
        let message = format!("beside the common name its subject has {found}, expected {expected}");
        return Err(Refusal::new(Code::SubjectMismatch, message));
    }
    Ok(())
}

fn subject_text(organizations: &[String], places: &[(crate::cluster::csr::Place, String)]) -> String {
    let organizations = organizations.iter().map(|o| format!("O={o}"));
    let all: Vec<String> =
        organizations.chain(places.iter().map(|(place, text)| format!("{place}={text}"))).collect();
    if all.is_empty() { "nothing that is allowed".to_owned() } else { format!("`{}`", all.join(", ")) }
}
