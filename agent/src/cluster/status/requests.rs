//! What certificate signing requests tell of an approver.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Approver, DeploymentState, Runs};
use crate::cluster::policy::{KUBELET_CLIENT, KUBELET_SERVING};
use crate::cluster::{APPROVER_SAYS, HELD_CONDITION, NODES_GROUP, TOKEN_GROUP};

/// An approver that runs has said something by then.
const SILENCE: SignedDuration = SignedDuration::from_secs(30);

/// A word of an approver this long ago still counts.
const RECENT: SignedDuration = SignedDuration::from_hours(1);

/// The requests of a signer that nobody has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pending {
    /// The signer.
    pub signer: String,
    /// How many there are.
    pub count: usize,
    /// When the oldest was made.
    #[schemars(with = "String")]
    pub oldest: Timestamp,
    /// Why the approver leaves them undecided, as far as it said so.
    pub held: Vec<Held>,
}

/// A reason why requests are left undecided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Held {
    /// The code.
    pub reason: String,
    /// How many requests have it.
    pub count: usize,
    /// What was said of one of them.
    pub message: String,
}

/// What an approver said of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Decision {
    /// The request.
    pub request: String,
    /// `Approved`, `Denied`, or `kn-agent.io/Held`.
    pub verdict: String,
    /// The code.
    pub reason: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// What nobody has decided, by its signer.
pub(super) fn pending(csrs: &[CertificateSigningRequest]) -> Vec<Pending> {
    let mut signers: BTreeMap<&str, Pending> = BTreeMap::new();
    for csr in csrs.iter().filter(|csr| !is_decided(csr)) {
        let (signer, made) = (csr.spec.signer_name.as_str(), made(csr));
        let fresh = || Pending { signer: signer.to_owned(), count: 0, oldest: made, held: Vec::new() };
        let pending = signers.entry(signer).or_insert_with(fresh);
        pending.count += 1;
        pending.oldest = pending.oldest.min(made);
        if let Some(condition) = held(csr) {
            count(&mut pending.held, condition);
        }
    }
    signers.into_values().collect()
}

fn count(counted: &mut Vec<Held>, condition: &CertificateSigningRequestCondition) {
    let reason = condition.reason.as_deref().unwrap_or_default();
    if let Some(found) = counted.iter_mut().find(|found| found.reason == reason) {
        found.count += 1;
        return;
    }
    let message = condition.message.as_deref().unwrap_or_default();
    let message = message.strip_prefix(APPROVER_SAYS).unwrap_or(message).to_owned();
    counted.push(Held { reason: reason.to_owned(), count: 1, message });
}

/// What is known of the approver.
pub(super) fn approver(
    csrs: &[CertificateSigningRequest],
    deployment: Option<DeploymentState>,
    now: Timestamp,
) -> Approver {
    let last_decision = csrs.iter().flat_map(decisions).max_by_key(|decision| decision.at);
    let unheard = |csr: &&CertificateSigningRequest| {
        !is_decided(csr) && held(csr).is_none() && is_for_us(csr) && now.duration_since(made(csr)) > SILENCE
    };
    let recent = last_decision.as_ref().is_some_and(|decision| now.duration_since(decision.at) <= RECENT);
    let available = deployment.as_ref().is_some_and(|deployment| deployment.available > 0);
    let runs = if csrs.iter().any(|csr| unheard(&csr)) {
        Runs::No
    } else if available || recent {
        Runs::Yes
    } else {
        Runs::Unknown
    };
    Approver { runs, deployment, last_decision }
}

/// Whether an approver says something of it in any case: a node asks, or the holder of a token of ours.
fn is_for_us(csr: &CertificateSigningRequest) -> bool {
    let is_in = |group: &str| csr.spec.groups.iter().flatten().any(|found| found == group);
    match csr.spec.signer_name.as_str() {
        KUBELET_CLIENT => is_in(TOKEN_GROUP) || is_in(NODES_GROUP),
        KUBELET_SERVING => is_in(NODES_GROUP),
        _ => false,
    }
}

fn decisions(csr: &CertificateSigningRequest) -> impl Iterator<Item = Decision> {
    let request = csr.name_any();
    conditions(csr).iter().filter_map(move |condition| {
        condition.message.as_deref().filter(|message| message.starts_with(APPROVER_SAYS))?;
        Some(Decision {
            request: request.clone(),
            verdict: condition.type_.clone(),
            reason: condition.reason.clone().unwrap_or_default(),
            at: condition.last_update_time.as_ref()?.0,
        })
    })
}

fn conditions(csr: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    csr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn held(csr: &CertificateSigningRequest) -> Option<&CertificateSigningRequestCondition> {
    conditions(csr).iter().find(|condition| condition.type_ == HELD_CONDITION)
}

fn is_decided(csr: &CertificateSigningRequest) -> bool {
    conditions(csr)
        .iter()
        .any(|condition| matches!(condition.type_.as_str(), "Approved" | "Denied" | "Failed"))
}

fn made(csr: &CertificateSigningRequest) -> Timestamp {
    csr.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: &str = "2026-01-01T12:00:00Z";

    fn csr(
        name: &str,
        signer: &str,
        group: &str,
        made: &str,
        conditions: &Value,
    ) -> CertificateSigningRequest {
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": made},
            "spec": {"signerName": signer, "groups": [group], "request": "", "usages": []},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn condition(kind: &str, reason: &str, at: &str) -> Value {
        let message = format!("{APPROVER_SAYS}because");
        json!([{"type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": at}])
    }

    fn runs(csrs: &[CertificateSigningRequest], deployment: Option<DeploymentState>) -> Runs {
        approver(csrs, deployment, NOW.parse().unwrap()).runs
    }

    #[test]
    fn undecided_requests_are_counted_by_signer_with_their_oldest_and_why() {
        let waiting = condition(HELD_CONDITION, "NodeIsLive", NOW);
        let csrs = [
            csr("a", KUBELET_CLIENT, TOKEN_GROUP, "2026-01-01T11:00:00Z", &waiting),
            csr("b", KUBELET_CLIENT, TOKEN_GROUP, "2026-01-01T10:00:00Z", &waiting),
            csr("c", KUBELET_CLIENT, TOKEN_GROUP, "2026-01-01T09:00:00Z", &condition("Approved", "x", NOW)),
            csr("d", "example.com/x", "g", NOW, &json!([])),
        ];
        let found = pending(&csrs);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].signer.as_str(), found[0].count, found[0].held.len()), ("example.com/x", 1, 0));
        assert_eq!((found[1].count, found[1].oldest), (2, "2026-01-01T10:00:00Z".parse().unwrap()));
        let held = &found[1].held[0];
        assert_eq!((held.reason.as_str(), held.count, held.message.as_str()), ("NodeIsLive", 2, "because"));
    }

    #[test]
    fn silence_over_a_request_of_ours_means_that_no_approver_runs() {
        let old = "2026-01-01T11:59:00Z";
        let none = json!([]);
        assert_eq!(runs(&[csr("a", KUBELET_CLIENT, TOKEN_GROUP, old, &none)], None), Runs::No);
        assert_eq!(runs(&[csr("a", KUBELET_SERVING, NODES_GROUP, old, &none)], None), Runs::No);
        let available = DeploymentState { image: String::new(), replicas: 1, available: 1 };
        let deaf = runs(&[csr("a", KUBELET_SERVING, NODES_GROUP, old, &none)], Some(available.clone()));
        assert_eq!(deaf, Runs::No);
        // It may just be about to: and of others' requests it says nothing ever.
        assert_eq!(runs(&[csr("a", KUBELET_CLIENT, TOKEN_GROUP, NOW, &none)], None), Runs::Unknown);
        let kubeadm = "system:bootstrappers:kubeadm:default-node-token";
        assert_eq!(runs(&[csr("a", KUBELET_CLIENT, kubeadm, old, &none)], None), Runs::Unknown);
        assert_eq!(runs(&[], Some(available)), Runs::Yes);
    }

    #[test]
    fn last_word_of_an_approver_of_ours_is_told() {
        let mut other = condition("Approved", "AutoApproved", NOW);
        other[0]["message"] = json!("Auto approving");
        let csrs = [
            csr(
                "old",
                KUBELET_CLIENT,
                TOKEN_GROUP,
                NOW,
                &condition("Approved", "KnAgentApproved", "2026-01-01T11:30:00Z"),
            ),
            csr(
                "new",
                KUBELET_CLIENT,
                TOKEN_GROUP,
                NOW,
                &condition("Denied", "TokenUsed", "2026-01-01T11:40:00Z"),
            ),
            csr("other", KUBELET_CLIENT, TOKEN_GROUP, NOW, &other),
        ];
        let found = approver(&csrs, None, NOW.parse().unwrap());
        let last = found.last_decision.unwrap();
        assert_eq!((last.request.as_str(), last.reason.as_str()), ("new", "TokenUsed"));
        assert_eq!(found.runs, Runs::Yes);
        let late = approver(&csrs, None, "2026-01-02T12:00:00Z".parse().unwrap());
        assert_eq!(late.runs, Runs::Unknown);
    }
}
