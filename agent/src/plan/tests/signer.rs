//! Who decides on requests in the model, and what time does to certificates.

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::fixture::{FIXTURE, Issued};
use super::world::World;
use crate::desired::certificates::Purpose;
use crate::observe::Deleted;
use crate::observe::certificates::Certificate;
use crate::ports::cluster::Seen;

/// What the approver of the model does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Approver {
    Approves,
    Denies,
    Sleeps,
}

impl World {
    /// Approver and signer; whether they did anything.
    pub(super) fn judge_requests(&mut self) -> bool {
        let (now, life, issued, mut moved) = (self.now, self.life, self.issued, false);
        let verdict = match self.approver {
            Approver::Approves => "Approved",
            Approver::Denies => "Denied",
            Approver::Sleeps => return false,
        };
        for request in self.observed.watched.requests.values_mut() {
            let Ok(Seen::Present(request)) = request else { continue };
            if request.status.is_some() {
                continue;
            }
            let pem = || {
                let span = (now.as_second() - 300, now.as_second() + life);
                ByteString(FIXTURE.issue(request, issued, span).into_bytes())
            };
            let certificate = (verdict == "Approved").then(pem);
            let condition = CertificateSigningRequestCondition {
                type_: verdict.to_owned(),
                status: "True".to_owned(),
                last_transition_time: Some(Time(now)),
                ..Default::default()
            };
            request.status =
                Some(CertificateSigningRequestStatus { conditions: Some(vec![condition]), certificate });
            moved = true;
        }
        moved
    }

    /// Time goes by. A kubelet that runs renews its own certificate at 80 % of its life.
    pub(super) fn wait(&mut self, seconds: i64) {
        self.now = self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
        if let Ok(Some(client)) = &mut self.observed.client_certificate {
            let life = client.not_after - client.not_before;
            if self.observed.kubelet_health.is_ok() && self.now.as_second() > client.not_after - life / 5 {
                client.not_before = self.now.as_second() - 300;
                client.not_after = self.now.as_second() + self.life;
            }
        }
    }

    /// Waits for what the planner waits for, at most a day.
    pub(super) fn wait_as_planned(&mut self) {
        let due = self.plan().requeue().map_or(86_400, |at| at.as_second() - self.now.as_second() + 1);
        self.wait(due.clamp(1, 86_400));
    }

    pub(super) fn certificate(&mut self, purpose: Purpose) -> &mut Certificate {
        let found = match purpose {
            Purpose::KubeletClient => &mut self.observed.client_certificate,
            Purpose::KubeProxy => &mut self.observed.proxy_certificate,
        };
        found.as_mut().unwrap().as_mut().unwrap()
    }

    /// The requests that nobody has decided on.
    pub(super) fn undecided(&self) -> Vec<&CertificateSigningRequest> {
        let requests = self.observed.watched.requests.values();
        let present = requests.filter_map(|request| match request {
            Ok(Seen::Present(request)) => Some(&**request),
            _ => None,
        });
        present.filter(|request| request.status.is_none()).collect()
    }

    /// Somebody deletes every request.
    pub(super) fn delete_requests(&mut self) {
        let at = self.now;
        for (name, request) in &mut self.observed.watched.requests {
            if matches!(request, Ok(Seen::Present(_))) {
                let deleted = &mut self.observed.watched.deleted;
                let once_more = Deleted::once_more(deleted.get(name).copied(), at);
                deleted.insert(name.clone(), once_more);
                *request = Ok(Seen::Absent);
            }
        }
    }

    pub(super) fn issue_as(&mut self, issued: Issued) {
        self.issued = issued;
    }

    /// Another token in the place of the one before; `None`: none.
    pub(super) fn put_token(&mut self, id: Option<&str>) {
        let seen =
            id.map(|id| crate::observe::token::SeenToken { id: Some(id.to_owned()), is_fleeting: false });
        self.observed.token = Ok(seen);
        if id.is_none() {
            self.config.identity.token = None;
        }
    }
}
