//! The approver: looks at certificate signing requests as they come, and approves, denies, holds or leaves alone each as
//! [`policy`] says.
//!
//! Each request is decided on its own, up to `CONCURRENCY` at a time, so that none waits for another. Whatever could not
//! be found out is tried again, and nothing is written meanwhile. Any number of approvers may run at once: an approval
//! counts for the version that was judged, and a token is claimed by an object that can be made once.

mod claims;
mod conditions;
mod decision;
mod events;
mod offline;
mod surroundings;
mod watched;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{ListParams, PostParams, Request};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::de::IgnoredAny;
use tokio::signal::unix::{SignalKind, signal};

pub use claims::{CLAIM_PREFIX, Claimed};
pub use decision::{Decision, printable};
pub use offline::{OfflineError, explain};

use crate::cluster::FIELD_MANAGER;
use crate::cluster::client::{CallError, Cluster, innermost};
use crate::cluster::csr::CsrFacts;
use crate::cluster::policy::{self, Approval, Code, Policy, Refusal, Verdict};
use claims::Claims;
use conditions::{Word, is_decided};
use events::{Events, Queue};
use surroundings::{Again, Surroundings};
use watched::Watched;

/// How many requests are decided at the same time.
const CONCURRENCY: u16 = 32;

/// How often a request is read again because it changed under our hands.
const REREADS: usize = 3;

/// How many requests to remember what was said about them; beyond, some things are said twice.
const TOLD: usize = 10_000;

/// Decides requests.
#[derive(Debug)]
pub struct Approver {
    cluster: Cluster,
    policy: Policy,
    dry_run: bool,
    surroundings: Surroundings,
    claims: Claims,
    events: Events,
    /// The last word said about each request, by its UID: each is said once.
    told: Mutex<HashMap<String, String>>,
}

/// What an approver has to be driven by.
#[derive(Debug)]
pub struct Drive {
    again: Again,
    events: Queue,
}

/// One line of what [`Approver::judge_all`] did.
#[derive(Debug)]
pub struct Row {
    /// The request's name.
    pub name: String,
    /// Its signer.
    pub signer: String,
    /// Who created it.
    pub requester: String,
    /// What became of it, or why that could not be found out.
    pub outcome: Result<Decision, CallError>,
}

impl Approver {
    /// An approver for `cluster`. With `dry_run` it only says what it would do.
    pub fn new(cluster: Cluster, policy: Policy, dry_run: bool) -> (Self, Drive) {
        let (surroundings, again) = Surroundings::new(cluster.clone());
        let (sender, events) = Events::new();
        let claims = Claims::new(cluster.clone());
        let told = Mutex::default();
        let approver = Self { cluster, policy, dry_run, surroundings, claims, events: sender, told };
        (approver, Drive { again, events })
    }

    /// Decides everything that waits for a decision now.
    ///
    /// # Errors
    /// Where requests or Nodes cannot be listed; what happened to each single request is in its row.
    pub async fn judge_all(self, drive: Drive) -> Result<Vec<Row>, CallError> {
        let (csrs, all) = (self.csrs(), ListParams::default());
        let list = self.cluster.call("list", "CertificateSigningRequests", csrs.list(&all));
        let (found, ()) = futures::try_join!(list, self.surroundings.look())?;
        self.claims.load(self.dry_run).await?;
        let open = found.items.into_iter().filter(|csr| !is_decided(csr));
        let approver = &self;
        let mut rows: Vec<Row> = stream::iter(open)
            .map(|csr| async move {
                let outcome = approver.decide(&csr).await.map(|(decision, _)| decision);
                let requester = csr.spec.username.clone().unwrap_or_default();
                Row { name: csr.name_any(), signer: csr.spec.signer_name.clone(), requester, outcome }
            })
            .buffer_unordered(usize::from(CONCURRENCY))
            .collect()
            .await;
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let cluster = self.cluster.clone();
        drop(self);
        drive.events.send(&cluster).await;
        Ok(rows)
    }

    /// Decides requests as they come, until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// Where the signals cannot be listened to.
    pub async fn run(self, drive: Drive) -> std::io::Result<()> {
        let stop = stop_signal()?.shared();
        let approver = Arc::new(self);
        let Drive { again, events } = drive;
        let beside = async { futures::join!(events.send(&approver.cluster), approver.surroundings.follow()) };
        tokio::select! {
            _ = beside => {}
            () = stop.clone() => {}
            () = Arc::clone(&approver).decide_all(again, stop) => {}
        }
        tracing::info!("stopped");
        Ok(())
    }

    async fn decide_all(
        self: Arc<Self>,
        again: Again,
        stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
    ) {
        self.surroundings.complete().await;
        self.load_claims().await;
        let requests: Api<Watched> = Api::all(self.cluster.client());
        let controller = Controller::new(requests, watcher::Config::default())
            .with_config(controller::Config::default().concurrency(CONCURRENCY))
            .trigger_backoff(WatchBackoff::default())
            .reconcile_on(again)
            .graceful_shutdown_on(stop);
        let store = controller.store();
        let server = self.cluster.server().to_owned();
        // Boxed: the controller moves what it is given about, and this is large.
        let reconcile =
            |csr: Arc<Watched>, approver: Arc<Self>| async move { approver.reconcile(&csr).await }.boxed();
        let decisions = controller.run(reconcile, retry, self).for_each(|result| async move {
            if let Err(controller::Error::QueueError(error)) = result {
                tracing::warn!(error = innermost(&error), "cannot watch requests, trying on");
            }
        });
        let listed = async {
            if store.wait_until_ready().await.is_ok() {
                tracing::info!(server, requests = store.state().len(), "ready");
            }
        };
        futures::join!(decisions, listed);
    }

    /// Without the claims nothing may be approved for a token: tried until they are known.
    async fn load_claims(&self) {
        let mut backoff = WatchBackoff::default();
        while let Err(error) = self.claims.load(self.dry_run).await {
            tracing::warn!("{error}; trying on");
            tokio::time::sleep(backoff.next().unwrap_or_default()).await;
        }
    }

    /// One request: decide, say so once, and say when to look again.
    async fn reconcile(&self, csr: &CertificateSigningRequest) -> Result<Action, CallError> {
        let (decision, until) = self.decide(csr).await?;
        self.tell(csr, &decision);
        let wait = until.map(|instant| Timestamp::now().duration_until(instant));
        Ok(wait.map_or_else(Action::await_change, |wait| {
            Action::requeue(Duration::try_from(wait).unwrap_or_default())
        }))
    }

    /// Decides `csr`; where it changed meanwhile, reads it again and judges it from scratch. Tells when to look again.
    async fn decide(
        &self,
        csr: &CertificateSigningRequest,
    ) -> Result<(Decision, Option<Timestamp>), CallError> {
        let _deciding = self.events.deciding();
        let mut fresh;
        let mut current = csr;
        for _ in 0..REREADS {
            let conflict = match self.decide_once(current).await {
                Err(error) if error.is_conflict() => error,
                Err(error) if error.is_not_found() && self.is_gone(csr).await? => {
                    return Ok((Decision::Gone, None));
                }
                decided => return decided,
            };
            tracing::debug!(csr = csr.name_any(), reason = %conflict, "changed while it was judged, reading it again");
            fresh = match self.read(&csr.name_any()).await? {
                Some(found) if found.uid() == csr.uid() => found,
                _ => return Ok((Decision::Gone, None)),
            };
            current = &fresh;
        }
        self.decide_once(current).await
    }

    async fn decide_once(
        &self,
        csr: &CertificateSigningRequest,
    ) -> Result<(Decision, Option<Timestamp>), CallError> {
        if is_decided(csr) {
            self.claim_for_others(csr).await?;
            return Ok((Decision::AlreadyDecided, None));
        }
        let facts = CsrFacts::of(csr);
        let now = Timestamp::now();
        let judge = |inventory: &_| policy::judge(&facts, inventory, &self.policy, now);
        let decision = match self.surroundings.judge(&csr.name_any(), judge) {
            Verdict::Approve(approval) => self.approve(csr, approval).await?,
            Verdict::Deny(refusal) => self.deny(csr, refusal).await?,
            Verdict::Hold(hold) => {
                let word = Word::held(&hold.refusal);
                if !word.is_said_by(csr) {
                    self.write(csr, &word).await?;
                }
                return Ok((Decision::Held(hold.refusal), hold.until));
            }
            Verdict::NotOurs(refusal) => Decision::NotOurs(refusal),
        };
        Ok((decision, None))
    }

    /// A token that somebody else approved a request for is used up too.
    async fn claim_for_others(&self, csr: &CertificateSigningRequest) -> Result<(), CallError> {
        // A request is read, signature and all, only where a token is behind it: each comes by twice more after its
        // approval, without and with its certificate.
        let is_token = csr.spec.username.as_deref().is_some_and(|user| user.starts_with(policy::TOKEN_USER));
        if !is_token || !conditions::has(csr, "Approved") {
            return Ok(());
        }
        if let Some(claim) = policy::claim_of(&CsrFacts::of(csr)) {
            self.claims.claim(&claim, self.dry_run).await?;
        }
        Ok(())
    }

    async fn approve(
        &self,
        csr: &CertificateSigningRequest,
        approval: Approval,
    ) -> Result<Decision, CallError> {
        // Before the approval: a claim without one is made good by the same key, an approval without a claim by nobody.
        if let Some(claim) = &approval.claim
            && let Claimed::ByAnother(since) = self.claims.claim(claim, self.dry_run).await?
        {
            let since = since.map(|since| format!(" at {since:.0}")).unwrap_or_default();
            let message = format!(
                "token {} was used{since} for another key, and counts for one; make a new one: kn-agent token create",
                claim.token_id
            );
            return self.deny(csr, Refusal { code: Code::TokenUsed, message }).await;
        }
        self.write(csr, &Word::approved(&approval.message)).await?;
        Ok(Decision::Approved(approval.message))
    }

    async fn deny(&self, csr: &CertificateSigningRequest, refusal: Refusal) -> Result<Decision, CallError> {
        self.write(csr, &Word::denied(&refusal)).await?;
        Ok(Decision::Denied(refusal))
    }

    /// Writes into exactly the version that was judged: name, UID and resourceVersion are those of `csr`.
    async fn write(&self, csr: &CertificateSigningRequest, word: &Word) -> Result<(), CallError> {
        if self.dry_run {
            return Ok(());
        }
        let name = csr.name_any();
        self.cluster.call("decide", object(&name), self.replace(&name, &word.added_to(csr))).await?;
        self.events.tell(csr, word);
        Ok(())
    }

    /// As [`Api::replace_subresource`], but nothing is made of the answer: the watch brings the same, and reading it twice
    /// is a tenth of what a decision costs.
    async fn replace(&self, name: &str, changed: &CertificateSigningRequest) -> kube::Result<()> {
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let body = serde_json::to_vec(changed).map_err(kube::Error::SerdeError)?;
        let request = Request::new(CertificateSigningRequest::url_path(&(), None))
            .replace_subresource("approval", name, &params, body)
            .map_err(kube::Error::BuildRequest)?;
        self.cluster.client().request::<IgnoredAny>(request).await.map(drop)
    }

    /// Whether it was `csr` that was not found: it may be a claim's namespace.
    async fn is_gone(&self, csr: &CertificateSigningRequest) -> Result<bool, CallError> {
        Ok(self.read(&csr.name_any()).await?.is_none_or(|found| found.uid() != csr.uid()))
    }

    async fn read(&self, name: &str) -> Result<Option<CertificateSigningRequest>, CallError> {
        let read = self.csrs();
        self.cluster.call("get", object(name), read.get_opt(name)).await
    }

    /// Logs a decision, unless this was the last thing said about the request.
    fn tell(&self, csr: &CertificateSigningRequest, decision: &Decision) {
        let uid = csr.uid().unwrap_or_default();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(decision, Decision::AlreadyDecided | Decision::Gone) {
            told.remove(&uid);
            return;
        }
        if told.len() >= TOLD {
            told.clear();
        }
        let word = decision.to_string();
        if told.insert(uid, word.clone()).as_ref() == Some(&word) {
            return;
        }
        let (name, signer) = (csr.name_any(), printable(&csr.spec.signer_name));
        let requester = printable(csr.spec.username.as_deref().unwrap_or_default());
        let code = decision.code().map(Code::as_str);
        tracing::info!(csr = name, signer, requester, verdict = decision.word(), code, "{word}");
    }

    fn csrs(&self) -> Api<CertificateSigningRequest> {
        Api::all(self.cluster.client())
    }
}

/// Completes at SIGTERM or SIGINT, which are listened to from now on.
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    })
}

/// Pauses between attempts to watch: doubling from half a second, and so short at most that a node does not wait long
/// for its certificate after an outage.
#[derive(Debug, Default)]
struct WatchBackoff {
    failures: u32,
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(500) * 2_u32.pow(self.failures);
        self.failures = (self.failures + 1).min(3);
        Some(pause)
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// When to look again after a failed call.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn retry(csr: Arc<Watched>, error: &CallError, _: Arc<Approver>) -> Action {
    let pause = pause(age(&csr));
    tracing::warn!(csr = csr.name_any(), again_in = ?pause, "{error}");
    Action::requeue(pause)
}

/// The pause before the next look at a request of this age that could not be decided: longer as it ages, never longer
/// than 8 s. A function of its age, so that there is no count to keep.
fn pause(age: Duration) -> Duration {
    (age / 2).clamp(Duration::from_millis(500), Duration::from_secs(8))
}

fn age(csr: &CertificateSigningRequest) -> Duration {
    let created = csr.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Timestamp::now().duration_since(created).try_into().unwrap_or(Duration::ZERO)
}

fn object(name: &str) -> String {
    format!("CertificateSigningRequest {name}")
}

#[cfg(test)]
mod tests;
