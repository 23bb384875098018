//! What became of each request, and when: a watch that forgets nothing, the deleted ones included.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use tokio::{sync::watch, task::JoinHandle};

/// What is known of one request.
#[derive(Debug, Clone)]
pub(crate) struct Fate {
    pub(crate) name: String,
    pub(crate) requester: String,
    pub(crate) signer: String,
    /// When the watch first brought it.
    pub(crate) seen: Instant,
    /// When the watch first brought it with a condition.
    pub(crate) judged: Option<Instant>,
    /// When the watch first brought it approved.
    pub(crate) approved: Option<Instant>,
    /// The last conditions seen.
    pub(crate) conditions: Vec<CertificateSigningRequestCondition>,
    /// Every pair of type and reason that it ever had.
    pub(crate) ever: Vec<(String, String)>,
    /// Whether a certificate was issued.
    pub(crate) issued: bool,
}

impl Fate {
    /// The condition of a type.
    pub(crate) fn condition(&self, kind: &str) -> Option<&CertificateSigningRequestCondition> {
        self.conditions.iter().find(|condition| condition.type_ == kind)
    }

    /// Whether somebody decided it for good.
    pub(crate) fn is_decided(&self) -> bool {
        self.conditions
            .iter()
            .any(|condition| matches!(condition.type_.as_str(), "Approved" | "Denied" | "Failed"))
    }

    fn update(&mut self, csr: &CertificateSigningRequest) {
        let status = csr.status.clone().unwrap_or_default();
        self.issued |= status.certificate.is_some();
        self.conditions = status.conditions.unwrap_or_default();
        if self.conditions.is_empty() {
            return;
        }
        let now = Instant::now();
        self.judged.get_or_insert(now);
        if self.condition("Approved").is_some() {
            self.approved.get_or_insert(now);
        }
        for condition in &self.conditions {
            let pair = (condition.type_.clone(), condition.reason.clone().unwrap_or_default());
            if !self.ever.contains(&pair) {
                self.ever.push(pair);
            }
        }
    }
}

type Fates = Arc<Mutex<HashMap<String, Fate>>>;

/// Every request by UID, kept up to date by a watch until dropped.
#[derive(Debug)]
pub(crate) struct History {
    fates: Fates,
    changes: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl History {
    /// Watches from now on; returns when the watch is established.
    pub(crate) async fn watch(client: Client) -> Result<Self> {
        let fates = Fates::default();
        let (sender, mut changes) = watch::channel(0);
        let task = tokio::spawn(follow(client, fates.clone(), sender));
        changes.changed().await.context("the watch of requests ended")?;
        Ok(Self { fates, changes, task })
    }

    /// What is known of a request.
    pub(crate) fn fate(&self, uid: &str) -> Option<Fate> {
        self.lock().get(uid).cloned()
    }

    /// Everything ever seen.
    pub(crate) fn all(&self) -> Vec<(String, Fate)> {
        self.lock().iter().map(|(uid, fate)| (uid.clone(), fate.clone())).collect()
    }

    /// Waits until `met` holds of the request; what is known of it then, or after `limit` in vain.
    pub(crate) async fn wait(
        &self,
        uid: &str,
        limit: Duration,
        met: impl Fn(&Fate) -> bool,
    ) -> Result<Fate, Option<Fate>> {
        let mut changes = self.changes.clone();
        let found = tokio::time::timeout(limit, async {
            loop {
                if let Some(fate) = self.fate(uid).filter(&met) {
                    return Some(fate);
                }
                changes.changed().await.ok()?;
            }
        });
        found.await.ok().flatten().ok_or_else(|| self.fate(uid))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Fate>> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(client: Client, fates: Fates, changed: watch::Sender<u64>) {
    let api: Api<CertificateSigningRequest> = Api::all(client);
    let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::InitApply(csr)) => record(&fates, &csr),
            Ok(Event::Apply(csr)) => {
                record(&fates, &csr);
                changed.send_modify(|count| *count += 1);
            }
            Ok(Event::InitDone) => changed.send_modify(|count| *count += 1),
            // The watcher tries again by itself; who waits has a limit.
            Ok(Event::Init | Event::Delete(_)) | Err(_) => {}
        }
    }
}

fn record(fates: &Fates, csr: &CertificateSigningRequest) {
    let uid = csr.metadata.uid.clone().unwrap_or_default();
    let mut fates = fates.lock().unwrap_or_else(PoisonError::into_inner);
    let fate = fates.entry(uid).or_insert_with(|| Fate {
        name: csr.metadata.name.clone().unwrap_or_default(),
        requester: csr.spec.username.clone().unwrap_or_default(),
        signer: csr.spec.signer_name.clone(),
        seen: Instant::now(),
        judged: None,
        approved: None,
        conditions: Vec::new(),
        ever: Vec::new(),
        issued: false,
    });
    fate.update(csr);
}
