//! The approver: looks at certificate signing requests as they come and approves those that [`policy`] lets pass.
//!
//! Each request is decided on its own, up to `CONCURRENCY` at a time, so that none waits for another. Whatever could
//! not be found out is tried again; nothing is ever denied.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, PostParams};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::FIELD_MANAGER;
use crate::cluster::client::{CallError, Cluster, innermost};
use crate::cluster::csr::CsrFacts;
use crate::cluster::policy::{self, NodeAddresses, NodeLookup, Policy, Refusal, Verdict};

/// How many requests are decided at the same time.
const CONCURRENCY: u16 = 32;

/// How long a request is tried again whose Node, or whose Node's address, is not there yet.
const PATIENCE: Duration = Duration::from_mins(10);

/// How often a request is read again because it changed under our hands.
const REREADS: usize = 3;

/// How many requests to remember what was said about them; beyond, some things are said twice.
const TOLD: usize = 10_000;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Somebody approved or denied it before.
    AlreadyDecided,
    /// It vanished while we looked at it.
    Gone,
    /// We approved it, with this message.
    Approved(String),
    /// It passes, and a dry run changes nothing.
    WouldApprove(String),
    /// Not yet.
    Waiting(Refusal),
    /// Left for a person.
    Ignored(Refusal),
}

/// Decides requests.
#[derive(Debug)]
pub struct Approver {
    cluster: Cluster,
    policy: Policy,
    dry_run: bool,
    /// The last word said about each request, by its UID: each is said once.
    told: Mutex<HashMap<String, String>>,
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
    pub fn new(cluster: Cluster, policy: Policy, dry_run: bool) -> Self {
        Self { cluster, policy, dry_run, told: Mutex::default() }
    }

    /// Decides everything that waits for a decision now.
    ///
    /// # Errors
    /// Where the requests cannot be listed; what happened to each single one is in its row.
    pub async fn judge_all(&self) -> Result<Vec<Row>, CallError> {
        let list = self.csrs();
        let found = self
            .cluster
            .call("list", "CertificateSigningRequests", list.list(&ListParams::default()))
            .await?;
        let open = found.items.into_iter().filter(|csr| !is_decided(csr));
        let mut rows: Vec<Row> = stream::iter(open)
            .map(|csr| async move {
                let outcome = self.decide(&csr).await;
                let requester = csr.spec.username.clone().unwrap_or_default();
                Row { name: csr.name_any(), signer: csr.spec.signer_name.clone(), requester, outcome }
            })
            .buffer_unordered(usize::from(CONCURRENCY))
            .collect()
            .await;
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    /// Decides requests as they come, until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// Where the signals cannot be listened to.
    pub async fn run(self) -> std::io::Result<()> {
        let stop = stop_signal()?.shared();
        let server = self.cluster.server().to_owned();
        let controller = Controller::new(self.csrs(), watcher::Config::default())
            .with_config(controller::Config::default().concurrency(CONCURRENCY))
            .trigger_backoff(WatchBackoff::default())
            .graceful_shutdown_on(stop.clone());
        let store = controller.store();
        let reconcile = |csr: Arc<CertificateSigningRequest>, approver: Arc<Self>| async move {
            approver.reconcile(&csr).await
        };
        let decisions = controller.run(reconcile, retry, Arc::new(self)).for_each(|result| async move {
            if let Err(controller::Error::QueueError(error)) = result {
                tracing::warn!(error = innermost(&error), "cannot watch requests, trying on");
            }
        });
        let mut decisions = std::pin::pin!(decisions);
        // Before the first list is complete nothing is under way that would be worth waiting for.
        tokio::select! {
            () = &mut decisions => {}
            () = stop => {}
            Ok(()) = store.wait_until_ready() => {
                tracing::info!(server, requests = store.state().len(), "ready");
                decisions.await;
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// One request: decide, say so once, and say when to look again.
    async fn reconcile(&self, csr: &CertificateSigningRequest) -> Result<Action, CallError> {
        let decision = self.decide(csr).await?;
        let age = age(csr);
        let again = match &decision {
            Decision::Waiting(_) if age < PATIENCE => Action::requeue(pause(age)),
            _ => Action::await_change(),
        };
        self.tell(csr, &decision);
        Ok(again)
    }

    /// Decides `csr`; where it changed meanwhile, reads it again and judges it from scratch.
    async fn decide(&self, csr: &CertificateSigningRequest) -> Result<Decision, CallError> {
        let mut fresh;
        let mut current = csr;
        for _ in 0..REREADS {
            let conflict = match self.decide_once(current).await {
                Err(error) if error.is_conflict() => error,
                Err(error) if error.is_not_found() => return Ok(Decision::Gone),
                decided => return decided,
            };
            tracing::debug!(csr = csr.name_any(), reason = %conflict, "changed while it was judged, reading it again");
            let name = csr.name_any();
            let read = self.csrs();
            fresh = match self.cluster.call("get", object(&name), read.get_opt(&name)).await? {
                Some(found) if found.uid() == csr.uid() => found,
                _ => return Ok(Decision::Gone),
            };
            current = &fresh;
        }
        self.decide_once(current).await
    }

    async fn decide_once(&self, csr: &CertificateSigningRequest) -> Result<Decision, CallError> {
        if is_decided(csr) {
            return Ok(Decision::AlreadyDecided);
        }
        let facts = CsrFacts::of(csr);
        let unseen = policy::judge(&facts, &NodeLookup::Absent, self.policy);
        // The Node is only worth a look where it is all that is missing.
        let verdict = match (&unseen, policy::node_needed(&facts)) {
            (Verdict::Wait(_), Some(name)) => {
                let node = self.look_up(name.as_str()).await?;
                policy::judge(&facts, &node, self.policy)
            }
            _ => unseen,
        };
        match verdict {
            Verdict::Approve(message) if self.dry_run => Ok(Decision::WouldApprove(message)),
            Verdict::Approve(message) => self.approve(csr, message).await,
            Verdict::Wait(refusal) => Ok(Decision::Waiting(refusal)),
            Verdict::Ignore(refusal) => Ok(Decision::Ignored(refusal)),
        }
    }

    async fn look_up(&self, name: &str) -> Result<NodeLookup, CallError> {
        let nodes: Api<Node> = Api::all(self.cluster.client());
        let found = self.cluster.call("get", format!("Node {name}"), nodes.get_opt(name)).await?;
        Ok(found.map_or(NodeLookup::Absent, |node| NodeLookup::Found(addresses(&node))))
    }

    /// Approves exactly the version that was judged: name, UID and resourceVersion are those of `csr`.
    async fn approve(&self, csr: &CertificateSigningRequest, message: String) -> Result<Decision, CallError> {
        let mut approved = csr.clone();
        approved.metadata.managed_fields = None;
        approved.status.get_or_insert_default().conditions.get_or_insert_default().push(condition(&message));
        let name = csr.name_any();
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let csrs = self.csrs();
        let request = csrs.replace_subresource("approval", &name, &params, &approved);
        self.cluster.call("approve", object(&name), request).await?;
        Ok(Decision::Approved(message))
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
        tracing::info!(
            csr = name,
            signer,
            requester,
            verdict = decision.word(),
            reason = decision.reason(),
            "{word}"
        );
    }

    fn csrs(&self) -> Api<CertificateSigningRequest> {
        Api::all(self.cluster.client())
    }
}

impl Decision {
    /// One word for a table.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::AlreadyDecided => "decided",
            Self::Gone => "gone",
            Self::Approved(_) => "approved",
            Self::WouldApprove(_) => "would approve",
            Self::Waiting(_) => "waiting",
            Self::Ignored(_) => "ignored",
        }
    }

    /// The code of the reason not to approve, where there is one.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Waiting(refusal) | Self::Ignored(refusal) => Some(refusal.code.as_str()),
            _ => None,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyDecided => f.write_str("somebody else decided it"),
            Self::Gone => f.write_str("it was deleted"),
            Self::Approved(message) | Self::WouldApprove(message) => f.write_str(message),
            Self::Waiting(refusal) | Self::Ignored(refusal) => {
                write!(f, "{}: {}", refusal.code.as_str(), printable(&refusal.message))
            }
        }
    }
}

/// Text that others wrote, fit for a line of a log or a table.
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
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
fn retry(csr: Arc<CertificateSigningRequest>, error: &CallError, _: Arc<Approver>) -> Action {
    let pause = pause(age(&csr));
    tracing::warn!(csr = csr.name_any(), again_in = ?pause, "{error}");
    Action::requeue(pause)
}

/// The pause before the next look at a request of this age: longer as it ages, never longer than 8 s. A function of
/// its age, so that there is no count to keep.
fn pause(age: Duration) -> Duration {
    (age / 2).clamp(Duration::from_millis(500), Duration::from_secs(8))
}

fn age(csr: &CertificateSigningRequest) -> Duration {
    let created = csr.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Timestamp::now().duration_since(created).try_into().unwrap_or(Duration::ZERO)
}

fn is_decided(csr: &CertificateSigningRequest) -> bool {
    let conditions = csr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| matches!(condition.type_.as_str(), "Approved" | "Denied" | "Failed"))
}

fn condition(message: &str) -> CertificateSigningRequestCondition {
    let now = Time(Timestamp::now());
    CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("KnAgentApproved".to_owned()),
        message: Some(format!("kn-agent approver: {message}")),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    }
}

/// What a kubelet may put into its serving certificate: it makes its request from these same addresses.
fn addresses(node: &Node) -> NodeAddresses {
    let mut known = NodeAddresses::default();
    let reported = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    for address in reported {
        match (address.type_.as_str(), address.address.parse()) {
            ("Hostname" | "InternalIP" | "ExternalIP", Ok(ip)) => known.addresses.push(ip),
            ("Hostname" | "InternalDNS" | "ExternalDNS", _) => known.dns_names.push(address.address.clone()),
            _ => {}
        }
    }
    known
}

fn object(name: &str) -> String {
    format!("CertificateSigningRequest {name}")
}

#[cfg(test)]
#[path = "approver_tests.rs"]
mod tests;
