//! The kubelet asks for its serving certificate by itself; we tell what became of it.
//!
//! Its request has a random name, and the API server has no selector for whose a request is: finding it would be a list
//! of everybody's, which no node should make. What stands here is what the node itself can see.

use k8s_openapi::api::core::v1::NodeAddress;

use super::{Verdict, View, at, supplied, valid_for};
use crate::desired::paths;
use crate::observe::certificates::Certificate;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

/// Whether there is one, valid, and for the Node's addresses.
pub(crate) fn verdict(view: View<'_>) -> Verdict {
    if let Some(verdict) = supplied::serving(view) {
        return verdict;
    }
    let path = paths::kubelet_server().display();
    let certificate = match &view.observed.serving_certificate {
        Ok(Some(certificate)) => certificate,
        Ok(None) => {
            return Verdict::unmet(
                Reason::ServingCertPending,
                "the kubelet has asked for it; nobody has approved the request yet",
            );
        }
        Err(failure) => return Verdict::from_failure(failure, None),
    };
    if view.now.as_second() < certificate.not_before {
        let until = jiff::Timestamp::from_second(certificate.not_before).ok();
        let message = format!("`{path}` is valid from {} on", at(certificate.not_before));
        return Verdict::Unmet { reason: Reason::NotYetValid, message, until };
    }
    if !certificate.is_valid_at(view.now) {
        return Verdict::unmet(
            Reason::ServingCertExpired,
            format!("`{path}` expired at {}", at(certificate.not_after)),
        );
    }
    let missing = missing(view, certificate);
    if !missing.is_empty() {
        return Verdict::unmet(
            Reason::ServingCertNames,
            format!(
                "`{path}` is for {}, and not for {} of the Node",
                certificate.names.join(", "),
                missing.join(", ")
            ),
        );
    }
    Verdict::Satisfied(valid_for(certificate, view.now))
}

/// The Node's addresses that the certificate is not for. The API server connects to the first of the kinds it prefers,
/// and checks the certificate for that.
fn missing<'a>(view: View<'a>, certificate: &Certificate) -> Vec<&'a str> {
    let Some(Ok(Seen::Present(node))) = &view.observed.watched.node else { return Vec::new() };
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let covered = |address: &&NodeAddress| {
        certificate.names.iter().any(|name| name.eq_ignore_ascii_case(&address.address))
    };
    let asked = |address: &&NodeAddress| matches!(address.type_.as_str(), "Hostname" | "InternalIP");
    addresses
        .into_iter()
        .flatten()
        .filter(asked)
        .filter(|address| !covered(address))
        .map(|address| address.address.as_str())
        .collect()
}
