//! One pass, and the loop around it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::apply::{self, Hands, Outcome};
use crate::config::Config;
use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::desired::{self, Facts, Program, paths, units};
use crate::observe::{self, Attempt, Eyes, Fact, Observed, Watched, facts};
use crate::plan::{self, Phase, Plan, Step, Verdict, View};
use crate::ports::cluster::{self, Seen};
use crate::ports::root::Root;
use crate::ports::systemd::Systemd;
use crate::status::{Document, Done, Story, Subject, notify};

/// First pause after a failed step, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What wakes the loop.
enum Wake {
    Units,
    Node(Fact<Seen<Node>>),
    Request(String, Fact<Seen<CertificateSigningRequest>>),
    Programs(Box<(Program, Program)>),
    BusLost,
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// The configuration changed on disk: load it and start anew.
    ConfigChanged,
}

/// The daemon between two configurations.
#[derive(Debug)]
pub struct Reconciler {
    hands: Hands,
    bus: Option<String>,
    facts: Facts,
    watched: Watched,
    watches: BTreeMap<String, AbortHandle>,
    attempts: BTreeMap<String, Attempt>,
    busy: BTreeMap<Phase, Timestamp>,
    work: JoinSet<(Phase, Vec<(Outcome, Timestamp, Timestamp)>)>,
    background: JoinSet<()>,
    wake: mpsc::Sender<Wake>,
    woken: mpsc::Receiver<Wake>,
    story: Story,
    subject: Subject,
    published: Option<Document>,
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Units => "units",
            Self::Node(_) => "node",
            Self::Request(..) => "request",
            Self::Programs(_) => "programs",
            Self::BusLost => "bus lost",
        })
    }
}

impl Reconciler {
    /// A loop over `config`, on the system bus or the one at `bus`.
    pub async fn new(config: Arc<Config>, root: Root, bus: Option<String>, started_at: Timestamp) -> Self {
        // Sixteen: two watches, programs and signals, each with room to be ahead of the loop.
        let (wake, woken) = mpsc::channel(16);
        let systemd = Systemd::connect(bus.as_deref()).await;
        let facts = facts::quick(&root, &config);
        let subject = Subject {
            node: config.node.name.to_string(),
            server: config.cluster.server.to_string(),
            started_at,
        };
        let mut reconciler = Self {
            hands: Hands { root, systemd, config },
            bus,
            facts,
            watched: Watched::default(),
            watches: BTreeMap::new(),
            attempts: BTreeMap::new(),
            busy: BTreeMap::new(),
            work: JoinSet::new(),
            background: JoinSet::new(),
            wake,
            woken,
            story: Story::default(),
            subject,
            published: None,
        };
        reconciler.ask_programs();
        reconciler.follow_units();
        reconciler
    }

    fn ask_programs(&mut self) {
        let (kubelet, proxy, wake) =
            (self.facts.kubelet.clone(), self.facts.proxy.clone(), self.wake.clone());
        self.background.spawn(async move {
            let asked = futures::join!(facts::ask(&kubelet), facts::ask(&proxy));
            // The loop is gone when this fails, and with it the need.
            let _ = wake.send(Wake::Programs(Box::new(asked))).await;
        });
    }

    fn follow_units(&mut self) {
        let Ok(systemd) = self.hands.systemd.clone() else { return };
        let wake = self.wake.clone();
        self.background.spawn(async move {
            let (signal, mut signals) = mpsc::channel(1);
            let names: Vec<String> = units::ALL.iter().map(|&unit| unit.to_owned()).collect();
            let follow = systemd.notify_changes(&names, signal);
            let forward = async {
                while signals.recv().await.is_some() {
                    if wake.send(Wake::Units).await.is_err() {
                        return;
                    }
                }
            };
            // Whichever ends first means that no signal comes any more.
            tokio::select! { _ = follow => {}, () = forward => {} }
            let _ = wake.send(Wake::BusLost).await;
        });
    }

    /// Runs until `stop` ends or `config_changed` does. Each arm of the `select!` is cancel-safe: channels, a join set,
    /// a timer and two futures that are polled on.
    pub async fn run(
        &mut self,
        stop: impl Future<Output = ()>,
        config_changed: impl Future<Output = ()>,
    ) -> End {
        tokio::pin!(stop, config_changed);
        let watchdog = notify::watchdog_interval().unwrap_or(Duration::from_secs(3600));
        loop {
            let plan = self.pass().await;
            notify::alive();
            let pause = plan.requeue().map_or(watchdog, |at| until(at)).min(watchdog);
            tokio::select! {
                () = &mut stop => return End::Stopped,
                () = &mut config_changed => return End::ConfigChanged,
                Some(wake) = self.woken.recv() => self.take(wake).await,
                Some(done) = self.work.join_next() => if let Ok((phase, outcomes)) = done { self.finish(phase, outcomes) },
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(wake) = self.woken.try_recv() {
                self.take(wake).await;
            }
        }
    }

    async fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Units => {}
            Wake::Node(seen) => self.watched.node = Some(seen),
            Wake::Request(name, seen) => {
                self.watched.requests.insert(name, seen);
            }
            Wake::Programs(asked) => (self.facts.kubelet, self.facts.proxy) = *asked,
            Wake::BusLost => {
                tracing::warn!("the connection to the system bus was lost; connecting anew");
                self.hands.systemd = Systemd::connect(self.bus.as_deref()).await;
                self.follow_units();
            }
        }
    }

    async fn look(&mut self) -> (Observed, Option<desired::Desired>) {
        if self.hands.systemd.is_err() {
            self.hands.systemd = Systemd::connect(self.bus.as_deref()).await;
            self.follow_units();
        }
        let fresh = facts::quick(&self.hands.root, &self.hands.config);
        self.facts = Facts { kubelet: self.facts.kubelet.clone(), proxy: self.facts.proxy.clone(), ..fresh };
        let desired = desired::desired(&self.hands.config, &self.facts);
        let eyes = Eyes {
            root: &self.hands.root,
            systemd: &self.hands.systemd,
            config: &self.hands.config,
            watched: &self.watched,
            attempts: &self.attempts,
        };
        (observe::observe(&eyes, &self.facts, desired.as_ref()).await, desired)
    }

    async fn pass(&mut self) -> Plan {
        let (observed, desired) = self.look().await;
        let now = Timestamp::now();
        let view =
            View { config: &self.hands.config.clone(), desired: desired.as_ref(), observed: &observed, now };
        let plan = plan::plan(view);
        self.follow_api(&observed, &plan);
        for (&phase, verdict) in &plan.verdicts {
            if let Verdict::Act(steps) = verdict {
                self.start(phase, steps.clone(), now);
            }
        }
        self.publish(&plan, now);
        plan
    }

    /// Watches exactly what the phases wait for.
    fn follow_api(&mut self, observed: &Observed, plan: &Plan) {
        let satisfied = |phase| plan.verdicts.get(&phase).is_some_and(Verdict::is_satisfied);
        let config = self.hands.config.clone();
        if satisfied(Phase::Identity) {
            // The key's hash is in the watch's name, so that a rotated certificate gets a connection of its own.
            let hash = observed
                .client_certificate
                .as_ref()
                .ok()
                .and_then(Option::as_ref)
                .map(|c| c.not_before)
                .unwrap_or(0);
            let name = format!("node {hash}");
            if !self.watches.contains_key(&name) {
                self.drop_watches("node ");
                self.watch_node(name);
            }
        }
        let waiting = [
            (Phase::Identity, desired::certificates::kubelet_client(&config), &observed.pending_client_key),
            (Phase::ProxyIdentity, desired::certificates::proxy(&config), &observed.pending_proxy_key),
        ];
        for (phase, spec, key) in waiting {
            let prefix = format!("csr {} ", spec.purpose.as_str());
            let held = plan.verdicts.get(&phase).is_none_or(|v| matches!(v, Verdict::Held));
            match key {
                Ok(Some(key)) if !held && !satisfied(phase) => {
                    let request = spec.request_name(&key.public_key_hash);
                    self.watch_request(format!("{prefix}{request}"), request, &spec);
                }
                _ if satisfied(phase) => self.drop_watches(&prefix),
                _ => {}
            }
        }
    }

    fn drop_watches(&mut self, prefix: &str) {
        self.watches.retain(|name, watch| {
            let keep = !name.starts_with(prefix);
            if !keep {
                watch.abort();
            }
            keep
        });
    }

    fn watch_node(&mut self, name: String) {
        let (hands, wake, node) = (self.hands.clone(), self.wake.clone(), self.subject.node.clone());
        let task = async move {
            let (sink, mut seen) = mpsc::channel(1);
            let client = match apply::node_client(&hands) {
                Ok(client) => client,
                Err(failure) => return drop(wake.send(Wake::Node(Err(failure))).await),
            };
            let forward = async {
                while let Some(seen) = seen.recv().await {
                    if wake.send(Wake::Node(seen)).await.is_err() {
                        return;
                    }
                }
            };
            futures::join!(cluster::watch_one(client, node, sink), forward);
        };
        self.watches.insert(name, self.background.spawn(task));
    }

    fn watch_request(&mut self, name: String, request: String, spec: &CertificateSpec) {
        // A failed watch of the first identity is begun anew: the token may have been replaced.
        let failed = spec.purpose == Purpose::KubeletClient
            && matches!(self.watched.requests.get(&request), Some(Err(_)));
        let due = self.attempts.get(&name).is_none_or(|a| Timestamp::now() >= a.retry_at);
        if self.watches.contains_key(&name) && !(failed && due) {
            return;
        }
        if failed {
            self.drop_watches(&name);
            self.failed(&name, self.watched.requests.get(&request).and_then(|r| r.as_ref().err().cloned()));
        }
        let (hands, wake, purpose) = (self.hands.clone(), self.wake.clone(), spec.purpose);
        let task = async move {
            let (sink, mut seen) = mpsc::channel(1);
            let client = match apply::request_client(&hands, purpose) {
                Ok(client) => client,
                Err(failure) => return drop(wake.send(Wake::Request(request, Err(failure))).await),
            };
            let forward = async {
                while let Some(seen) = seen.recv().await {
                    if wake.send(Wake::Request(request.clone(), seen)).await.is_err() {
                        return;
                    }
                }
            };
            futures::join!(cluster::watch_one(client, request.clone(), sink), forward);
        };
        self.watches.insert(name, self.background.spawn(task));
    }

    fn start(&mut self, phase: Phase, steps: Vec<Step>, now: Timestamp) {
        if self.busy.contains_key(&phase) {
            return;
        }
        self.busy.insert(phase, now);
        let hands = self.hands.clone();
        self.work.spawn(async move {
            let mut outcomes = Vec::with_capacity(steps.len());
            for step in steps {
                let from = Timestamp::now();
                let done = apply::apply(vec![step], &hands).await;
                let failed = done.iter().any(|o| o.result.is_err());
                outcomes.extend(done.into_iter().map(|o| (o, from, Timestamp::now())));
                if failed {
                    break;
                }
            }
            (phase, outcomes)
        });
    }

    fn finish(&mut self, phase: Phase, outcomes: Vec<(Outcome, Timestamp, Timestamp)>) {
        self.busy.remove(&phase);
        for (outcome, from, to) in outcomes {
            match &outcome.result {
                Ok(()) => {
                    tracing::info!(phase = phase.as_str(), step = outcome.key, "done");
                    self.attempts.remove(&outcome.key);
                    self.remember(&outcome.step);
                }
                Err(failure) => {
                    tracing::warn!(
                        phase = phase.as_str(),
                        step = outcome.key,
                        reason = failure.reason.as_str(),
                        "{}",
                        failure.message
                    );
                    self.failed(&outcome.key, Some(failure.clone()));
                }
            }
            let ms = |at: Timestamp| {
                i64::try_from(at.duration_since(self.subject.started_at).as_millis()).unwrap_or(i64::MAX)
            };
            self.story.note(Done { phase, what: outcome.key, from_ms: ms(from), to_ms: ms(to) });
        }
    }

    /// A created object is known to be there before the watch shows it; without this it would be created twice.
    fn remember(&mut self, step: &Step) {
        match step {
            Step::SubmitRequest { name, .. } => {
                let entry = self.watched.requests.entry(name.clone()).or_insert(Ok(Seen::NotYet));
                if !matches!(entry, Ok(Seen::Present(_))) {
                    *entry = Ok(Seen::NotYet);
                }
            }
            Step::CreateNode(_) if matches!(self.watched.node, Some(Ok(Seen::Absent))) => {
                self.watched.node = Some(Ok(Seen::NotYet))
            }
            _ => {}
        }
    }

    fn failed(&mut self, key: &str, failure: Option<crate::ports::Failure>) {
        let Some(failure) = failure else { return };
        let count = self.attempts.get(key).map_or(0, |a| a.count);
        let pause = BACKOFF.0.saturating_mul(1 << count.min(6)).min(BACKOFF.1);
        let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::from_secs(30));
        let now = Timestamp::now();
        let retry_at = now.saturating_add(pause).unwrap_or(now);
        self.attempts.insert(key.to_owned(), Attempt { failure, count: count + 1, retry_at });
    }

    /// Writes the document when it says something new.
    fn publish(&mut self, plan: &Plan, now: Timestamp) {
        let document = self.story.tell(&self.subject, plan, now);
        let first = self.published.is_none();
        let same = self.published.as_ref().is_some_and(|before| {
            Document { published_at: before.published_at, ..document.clone() } == *before
        });
        if same {
            return;
        }
        let text = serde_json::to_vec_pretty(&document).unwrap_or_default();
        if let Err(failure) = self.hands.root.write(paths::status(), &text, 0o644) {
            tracing::error!("{}", failure.message);
        }
        notify::status(&document.headline());
        if first {
            notify::ready();
        }
        let news = self.published.as_ref().map(Document::headline) != Some(document.headline());
        if news {
            tracing::info!(node = self.subject.node, "{}", document.headline());
        }
        self.published = Some(document);
    }

    /// Looks once and tells, changing nothing: `status` with the daemon dead, `plan`, `check`.
    pub async fn look_once(&mut self) -> (Observed, Plan, Document) {
        (self.facts.kubelet, self.facts.proxy) =
            futures::join!(facts::ask(&self.facts.kubelet), facts::ask(&self.facts.proxy));
        let (mut observed, desired) = self.look().await;
        self.watched.node = self.node_once(&observed).await;
        observed.watched = self.watched.clone();
        let now = Timestamp::now();
        let config = self.hands.config.clone();
        let plan = plan::plan(View { config: &config, desired: desired.as_ref(), observed: &observed, now });
        let document = self.story.tell(&self.subject, &plan, now);
        (observed, plan, document)
    }

    async fn node_once(&self, observed: &Observed) -> Option<Fact<Seen<Node>>> {
        observed.client_certificate.as_ref().ok()?.as_ref()?;
        let client = apply::node_client(&self.hands).ok()?;
        let (sink, mut seen) = mpsc::channel(1);
        tokio::select! {
            () = cluster::watch_one(client, self.subject.node.clone(), sink) => None,
            seen = tokio::time::timeout(Duration::from_secs(3), seen.recv()) => seen.ok().flatten(),
        }
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.hands.config
    }
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now()))
        .unwrap_or(Duration::from_millis(1))
        .max(Duration::from_millis(1))
}

/// Whether the daemon runs: it holds a lock while it does.
pub fn daemon_runs(root: &Root) -> bool {
    let Ok(file) = std::fs::File::open(root.path(paths::lock())) else { return false };
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
}

/// Takes the lock, for as long as the file lives. `None`: another daemon holds it.
///
/// # Errors
/// The file can't be made.
pub fn take_lock(root: &Root) -> Result<Option<std::fs::File>, crate::ports::Failure> {
    let failure = |error: std::io::Error| {
        crate::ports::Failure::new(
            crate::reason::Reason::FileTrouble,
            format!("cannot lock `{}`: {error}", paths::lock().display()),
        )
    };
    root.make_dir(paths::lock().parent().unwrap_or(Path::new("/run")), 0o755)?;
    let file = std::fs::File::create(root.path(paths::lock())).map_err(failure)?;
    Ok(rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok().then_some(file))
}
