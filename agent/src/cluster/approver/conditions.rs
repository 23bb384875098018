//! The conditions by which a request tells what became of it.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decision::printable;
use crate::cluster::policy::Refusal;
use crate::cluster::{APPROVER_SAYS, HELD_CONDITION};

/// The longest message that is written: what others wrote into a request comes back in it.
const MAX_MESSAGE: usize = 900;

/// A condition to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// `Approved`, `Denied`, or [`HELD_CONDITION`].
    pub(super) kind: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Word {
    pub(super) fn approved(message: &str) -> Self {
        Self { kind: "Approved", reason: "KnAgentApproved".to_owned(), message: told(message) }
    }

    pub(super) fn denied(refusal: &Refusal) -> Self {
        Self { kind: "Denied", reason: refusal.code.as_str().to_owned(), message: told(&refusal.message) }
    }

    pub(super) fn held(refusal: &Refusal) -> Self {
        Self {
            kind: HELD_CONDITION,
            reason: refusal.code.as_str().to_owned(),
            message: told(&refusal.message),
        }
    }

    /// Whether `csr` says just that already.
    pub(super) fn is_said_by(&self, csr: &CertificateSigningRequest) -> bool {
        conditions(csr).iter().any(|condition| {
            condition.type_ == self.kind
                && condition.reason.as_ref() == Some(&self.reason)
                && condition.message.as_ref() == Some(&self.message)
        })
    }

    /// `csr` with this condition, and without an earlier word of ours that it waits.
    pub(super) fn added_to(&self, csr: &CertificateSigningRequest) -> CertificateSigningRequest {
        let now = Time(Timestamp::now());
        let mut changed = csr.clone();
        changed.metadata.managed_fields = None;
        let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != HELD_CONDITION);
        conditions.push(CertificateSigningRequestCondition {
            type_: self.kind.to_owned(),
            status: "True".to_owned(),
            reason: Some(self.reason.clone()),
            message: Some(self.message.clone()),
            last_update_time: Some(now.clone()),
            last_transition_time: Some(now),
        });
        changed
    }
}

fn told(message: &str) -> String {
    let mut text = format!("{APPROVER_SAYS}{}", printable(message));
    if text.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Whether nothing more can be decided about `csr`.
pub(super) fn is_decided(csr: &CertificateSigningRequest) -> bool {
    has(csr, "Approved") || has(csr, "Denied") || has(csr, "Failed")
}

/// Whether `csr` has a condition of this type.
pub(super) fn has(csr: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(csr).iter().any(|condition| condition.type_ == kind)
}

fn conditions(csr: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    csr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}
