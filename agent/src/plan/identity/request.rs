//! A request's way: key, submission, approval; and what becomes of one that is refused, deleted or not ours.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use super::{Step, Verdict, View, install};
use crate::config::TokenSource;
use crate::desired::certificates::{APPROVER_SAYS, CertificateSpec, Purpose};
use crate::observe::Fact;
use crate::observe::certificates::{Certificate, PendingKey};
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::ports::keys;
use crate::reason::Reason;

/// The condition by which the approver says why it has not decided.
const HELD: &str = "kn-agent.io/Held";

/// The pause after the first refusal, and the longest; doubled each time.
const PAUSE: (i64, i64) = (60, 1800);

/// A certificate that is wanted, and what there is for it.
pub(super) struct Ask<'a> {
    pub(super) view: View<'a>,
    pub(super) spec: &'a CertificateSpec,
    /// The key that waits.
    pub(super) key: &'a Fact<Option<PendingKey>>,
    /// The usable certificate it is to replace.
    pub(super) current: Option<&'a Certificate>,
    /// What is done right before the installation.
    pub(super) before: Vec<Step>,
}

impl Ask<'_> {
    /// What is next on the way to the certificate.
    pub(super) fn verdict(&self) -> Verdict {
        let key = match self.key {
            Ok(Some(key)) => key,
            Ok(None) => return self.new_key(0),
            Err(failure) => return Verdict::from_failure(failure, None),
        };
        let name = self.spec.request_name(&key.public_key_hash);
        match self.view.observed.watched.requests.get(&name) {
            None => self.submit(name),
            Some(Ok(Seen::Absent)) => self.deleted(&name).unwrap_or_else(|| self.submit(name)),
            Some(Ok(Seen::NotYet)) => {
                Verdict::unmet(Reason::CsrPending, format!("CSR `{name}` is submitted"))
            }
            Some(Err(failure)) => Verdict::from_failure(&self.explained(failure), None),
            Some(Ok(Seen::Present(request))) => self.follow(key, &name, request),
        }
    }

    fn new_key(&self, refusals: u32) -> Verdict {
        Verdict::Act(vec![Step::MakeKey { path: self.spec.pending_key.to_owned(), refusals }])
    }

    fn submit(&self, name: String) -> Verdict {
        let step = Step::SubmitRequest { certificate: self.spec.clone(), name };
        match super::super::held_back(self.view, &step) {
            Some(attempt) => Verdict::from_failure(&self.explained(&attempt.failure), Some(attempt.retry_at)),
            None => Verdict::Act(vec![step]),
        }
    }

    /// A request that vanished is submitted again at once, and then ever later: somebody may mean it.
    fn deleted(&self, name: &str) -> Option<Verdict> {
        let deleted = self.view.observed.watched.deleted.get(name)?;
        let pause = SignedDuration::from_secs(pause(deleted.count.checked_sub(2)?));
        let due = deleted.at.saturating_add(pause).ok()?;
        (self.view.now < due).then(|| Verdict::Unmet {
            reason: Reason::CsrDeleted,
            message: format!("CSR `{name}` was deleted {} times; submitted again at {due:.0}", deleted.count),
            until: Some(due),
        })
    }

    fn follow(&self, key: &PendingKey, name: &str, request: &CertificateSigningRequest) -> Verdict {
        if !self.spec.is_asked_for_by(&request.spec, &key.public_key_hash) {
            let message = format!(
                "CSR `{name}` is not the agent's: it has another key, signer or usages than were asked for"
            );
            return self.again(Reason::CsrForeign, key, None, &message);
        }
        let replaced = self.token_was_replaced(request);
        let refused = |reason, what: String, condition: &CertificateSigningRequestCondition| {
            if replaced {
                return self.new_key(0);
            }
            self.again(reason, key, since(condition), &format!("{what}: {}", text(condition)))
        };
        if let Some(condition) = condition(request, "Denied") {
            return refused(Reason::CsrDenied, format!("CSR `{name}` was denied"), condition);
        }
        if let Some(condition) = condition(request, "Failed") {
            return refused(Reason::CsrFailed, format!("the signer refused CSR `{name}`"), condition);
        }
        let approved = condition(request, "Approved");
        if let Some(issued) = request.status.as_ref().and_then(|status| status.certificate.as_ref()) {
            let since = approved.and_then(since);
            return install::verdict(self, key, name, &issued.0, since);
        }
        if approved.is_some() {
            return Verdict::unmet(
                Reason::CsrUnissued,
                format!("CSR `{name}` is approved and waits for its signer {}", self.spec.signer),
            );
        }
        if replaced {
            return self.new_key(0);
        }
        // Who holds it is said once: the message begins with it, too.
        let held = condition(request, HELD).map(|held| text(held).replacen(APPROVER_SAYS, "", 1));
        let held = held.map(|held| format!("; the approver holds it: {held}"));
        let message = format!("CSR `{name}` waits for approval{}", held.unwrap_or_default());
        Verdict::unmet(Reason::CsrPending, message)
    }

    /// Whether another token than the one at hand made the request: whoever judges it judges that one.
    fn token_was_replaced(&self, request: &CertificateSigningRequest) -> bool {
        let asked = request.spec.username.as_deref().and_then(|user| user.strip_prefix("system:bootstrap:"));
        let token = self.view.observed.token.as_ref().ok().and_then(Option::as_ref);
        let id = token.and_then(|token| token.id.as_deref());
        self.spec.purpose == Purpose::KubeletClient && asked.zip(id).is_some_and(|(asked, id)| asked != id)
    }

    /// What was refused is asked for again with a new key, and so under a new name, after a pause that grows. It is
    /// reckoned from what the cluster and the key's file say, so that a restart does not begin it anew.
    pub(super) fn again(
        &self,
        reason: Reason,
        key: &PendingKey,
        since: Option<Timestamp>,
        message: &str,
    ) -> Verdict {
        let now = self.view.now.as_second();
        // What is in the future was written by a clock that is not ours, or by ours before it was set back.
        let since = since.map(Timestamp::as_second).filter(|&at| at <= now).unwrap_or(key.made_at).min(now);
        let pause = match (reason, key.refusals) {
            (Reason::CsrForeign, 0) => 0,
            (_, refusals) => pause(refusals),
        };
        let spread = keys::sha256(key.public_key_hash.as_bytes());
        let spread = spread.get(..2).and_then(|hex| i64::from_str_radix(hex, 16).ok()).unwrap_or(0);
        let due = since.saturating_add(pause + pause * spread / 1280);
        if now >= due {
            return self.new_key(key.refusals.saturating_add(1));
        }
        let when = super::at(due);
        Verdict::Unmet {
            reason,
            message: format!("{message}; asked again with a new key at {when}"),
            until: Timestamp::from_second(due).ok(),
        }
    }

    /// A failure with what it is about: the address that was asked, the token, or the binding that would allow it.
    fn explained(&self, failure: &Failure) -> Failure {
        let by_token = self.spec.purpose == Purpose::KubeletClient;
        let more = match (failure.reason, self.spec.binding) {
            (Reason::ApiUnreachable | Reason::ApiUntrusted, _) => {
                format!("; asked {}", self.view.config.cluster.server)
            }
            (Reason::Unauthorized, _) if by_token => match &self.view.config.identity.token {
                Some(TokenSource::Value(token)) => format!("; it does not accept the {}", token.shown()),
                Some(TokenSource::File(path)) => {
                    format!("; it does not accept the token in `{}`", path.display())
                }
                Some(TokenSource::Credential(name)) => {
                    format!("; it does not accept the credential `{name}`")
                }
                None => String::new(),
            },
            (Reason::Unauthorized, _) => "; it does not accept the node's own certificate".to_owned(),
            (Reason::Forbidden, Some(binding)) => {
                format!("; ClusterRoleBinding `{binding}` is missing or not for this token's groups")
            }
            _ => String::new(),
        };
        Failure::new(failure.reason, format!("{}{more}", failure.message))
    }
}

/// Seconds to wait after so many refusals before the last one.
fn pause(refusals: u32) -> i64 {
    PAUSE.0.saturating_mul(1 << refusals.min(10)).min(PAUSE.1)
}

fn condition<'a>(
    request: &'a CertificateSigningRequest,
    wanted: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = request.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == wanted && condition.status != "False")
}

fn text(condition: &CertificateSigningRequestCondition) -> String {
    format!(
        "{}: {}",
        condition.reason.as_deref().unwrap_or("no reason"),
        condition.message.as_deref().unwrap_or("no message")
    )
}

fn since(condition: &CertificateSigningRequestCondition) -> Option<Timestamp> {
    let time = condition.last_transition_time.as_ref().or(condition.last_update_time.as_ref())?;
    Some(time.0)
}
