//! One pass, and the loop around it.

mod attempts;
mod files;
mod lock;
mod programs;
mod units;
mod wake;
mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::apply::{self, Target};
use crate::config::Config;
use crate::desired::{self, Facts, paths};
use crate::observe::access::Access;
use crate::observe::{self, Attempt, Fact, Inputs, Lately, Observed, Watched, facts, runtime};
use crate::plan::{self, Phase, Plan, Step, Verdict, View};
use crate::ports::Failure;
use crate::ports::cluster::{self, Seen};
use crate::ports::root::Root;
use crate::reason::Reason;
pub use lock::{daemon_runs, take_lock};
use units::Units;
use wake::Wake;

use crate::status::{Document, Done, History, Subject, notify};

/// A step that ended.
#[derive(Debug)]
struct Ended {
    step: Step,
    result: Result<(), Failure>,
    from: Timestamp,
    to: Timestamp,
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
    target: Target,
    bus: Option<String>,
    facts: Facts,
    engine: Option<Fact<runtime::Info>>,
    access: Option<Result<Access, String>>,
    units: Units,
    lately: Lately,
    watched: Watched,
    watches: BTreeMap<String, AbortHandle>,
    attempts: BTreeMap<String, Attempt>,
    done_at: BTreeMap<String, Timestamp>,
    busy: BTreeMap<Phase, Vec<String>>,
    work: JoinSet<(Phase, Vec<Ended>)>,
    background: JoinSet<()>,
    wake: mpsc::Sender<Wake>,
    woken: mpsc::Receiver<Wake>,
    history: History,
    subject: Subject,
    published: Option<Document>,
    is_up: bool,
}

impl Reconciler {
    /// A loop over `config`, on the system bus or the one at `bus`.
    pub async fn new(config: Arc<Config>, root: Root, bus: Option<String>, started_at: Timestamp) -> Self {
        // Sixteen: two watches, programs and signals, each with room to be ahead of the loop.
        let (wake, woken) = mpsc::channel(16);
        let systemd = Err(Failure::new(Reason::SystemdTrouble, "not connected to the system bus yet"));
        let cluster_dns = facts::written_dns(&root, &config);
        let facts = Facts { cluster_dns, ..facts::quick(&root, &config) };
        let subject = Subject {
            node: config.node.name.to_string(),
            server: config.cluster.server.to_string(),
            started_at,
        };
        let mut reconciler = Self {
            target: Target { root, systemd, config },
            bus,
            facts,
            engine: None,
            access: None,
            units: Units::default(),
            lately: Lately::default(),
            watched: Watched::default(),
            watches: BTreeMap::new(),
            attempts: BTreeMap::new(),
            done_at: BTreeMap::new(),
            busy: BTreeMap::new(),
            work: JoinSet::new(),
            background: JoinSet::new(),
            wake,
            woken,
            history: History::default(),
            subject,
            published: None,
            is_up: false,
        };
        reconciler.connect_systemd().await;
        reconciler
    }

    /// Whether the flags of kubelet and kube-proxy are to be asked for: only where the operator adds some.
    fn with_flags(&self) -> (bool, bool) {
        let config = &self.target.config;
        (!config.kubelet.extra_args.is_empty(), !config.proxy.component.extra_args.is_empty())
    }

    /// Runs until `stop` ends or `config_changed` does. Each arm of the `select!` is cancel-safe: channels, a join set,
    /// a timer and two futures that are polled on.
    pub async fn run(
        &mut self,
        stop: impl Future<Output = ()>,
        config_changed: impl Future<Output = ()>,
    ) -> End {
        tokio::pin!(stop, config_changed);
        let watchdog = notify::watchdog_interval().unwrap_or(Duration::from_hours(1));
        loop {
            // Tasks that have ended keep their place until they are asked for.
            while self.background.try_join_next().is_some() {}
            let plan = self.pass().await;
            notify::alive();
            let pause = plan.requeue().map_or(watchdog, until).min(watchdog);
            let pause = self.lately.due().map_or(pause, |at| pause.min(at.duration_since(Instant::now())));
            tokio::select! {
                () = &mut stop => return End::Stopped,
                () = &mut config_changed => return End::ConfigChanged,
                Some(wake) = self.woken.recv() => self.take(wake).await,
                Some(done) = self.work.join_next() => if let Ok((phase, ended)) = done { self.finish(phase, ended) },
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(wake) = self.woken.try_recv() {
                self.take(wake).await;
            }
        }
    }

    async fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Units | Wake::Files => {}
            Wake::UnitFiles => self.units.touch_all(),
            Wake::Node(key, seen) => self.saw_node(key, seen),
            Wake::Request(name, seen) => self.saw_request(name, seen),
            Wake::Dns(seen) => self.facts.cluster_dns = self.facts.cluster_dns.after(&seen),
            Wake::Token => self.try_the_token_again(),
            Wake::Kubelet(asked) => self.facts.kubelet = *asked,
            Wake::Proxy(asked) => self.facts.proxy = *asked,
            Wake::Engine(info) => self.engine = Some(info),
            Wake::Access(access) => self.access = Some(access),
            Wake::Route(found) => self.facts.by_name = found,
            Wake::BusLost => {
                tracing::warn!("the connection to the system bus was lost; connecting anew");
                self.connect_systemd().await;
            }
        }
    }

    async fn look(&mut self) -> (Observed, Option<desired::Desired>) {
        if self.target.systemd.is_err() {
            self.connect_systemd().await;
        }
        let fresh = facts::quick(&self.target.root, &self.target.config);
        let other_kubelet = fresh.kubelet.file != self.facts.kubelet.file;
        if fresh.proxy.file != self.facts.proxy.file {
            self.drop_watches(programs::KUBE_PROXY);
        }
        let engine = self.engine.as_ref().and_then(|info| info.as_ref().ok());
        self.facts = facts::after(&self.facts, fresh, engine.map(|info| info.cgroup_driver.clone()));
        if other_kubelet {
            self.ask_kubelet();
        }
        let desired = desired::desired(&self.target.config, &self.facts);
        let stale = self.units.stale(&self.target.config);
        self.lately.begin();
        let inputs = Inputs {
            root: &self.target.root,
            systemd: &self.target.systemd,
            units: &self.units.known,
            stale: &stale,
            lately: &self.lately,
            config: &self.target.config,
            engine: self.engine.as_ref(),
            access: self.access.as_ref(),
            watched: &self.watched,
            attempts: &self.attempts,
            under_way: self.busy.values().flatten().cloned().collect(),
        };
        // Large enough to be moved about slowly otherwise.
        let observed = Box::pin(observe::observe(&inputs, &self.facts, desired.as_ref())).await;
        self.units.learn(&observed.units);
        self.learn_answers(&observed);
        (observed, desired)
    }

    async fn pass(&mut self) -> Plan {
        let begun = Timestamp::now();
        let (observed, desired) = self.look().await;
        let now = Timestamp::now();
        let view =
            View { config: &self.target.config.clone(), desired: desired.as_ref(), observed: &observed, now };
        let plan = plan::plan(view);
        tracing::debug!(looked = %now.duration_since(begun), "pass");
        self.follow_api(&observed, &plan);
        self.follow_programs(&observed, &plan);
        self.follow_files(&plan);
        self.follow_token();
        self.follow_route();
        for (&phase, verdict) in &plan.verdicts {
            if let Verdict::Act(steps) = verdict {
                self.start(phase, steps.clone());
            }
        }
        // What is to be done is under way before it is told.
        tokio::task::yield_now().await;
        self.publish(&plan, now);
        if !self.is_up && self.published.is_some() && self.target.systemd.is_ok() {
            self.is_up = true;
            notify::ready();
        }
        // Not before: on two processors it would be in the way of the first pass, which starts the engine.
        if !self.watches.contains_key(programs::KUBELET) {
            self.ask_kubelet();
        }
        plan
    }

    fn start(&mut self, phase: Phase, steps: Vec<Step>) {
        if self.busy.contains_key(&phase) {
            return;
        }
        self.busy.insert(phase, steps.iter().map(Step::key).collect());
        let target = self.target.clone();
        self.work.spawn(async move {
            let mut ended = Vec::with_capacity(steps.len());
            for step in steps {
                let from = Timestamp::now();
                let result = apply::apply(&step, &target).await;
                let failed = result.is_err();
                ended.push(Ended { step, result, from, to: Timestamp::now() });
                if failed {
                    break;
                }
            }
            (phase, ended)
        });
    }

    fn finish(&mut self, phase: Phase, ended: Vec<Ended>) {
        self.busy.remove(&phase);
        for Ended { step, result, from, to } in ended {
            let key = step.key();
            self.units.touched_by(&step);
            match result {
                Ok(()) => {
                    tracing::info!(phase = phase.as_str(), step = key, "done");
                    self.succeeded(&key);
                    self.remember(&step);
                }
                Err(failure) => {
                    tracing::warn!(
                        phase = phase.as_str(),
                        step = key,
                        reason = failure.reason.as_str(),
                        "{}",
                        failure.message
                    );
                    self.failed(&key, Some(failure));
                }
            }
            let ms = |at: Timestamp| {
                i64::try_from(at.duration_since(self.subject.started_at).as_millis()).unwrap_or(i64::MAX)
            };
            self.history.note(Done { phase, what: key, from_ms: ms(from), to_ms: ms(to) });
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
                self.watched.node = Some(Ok(Seen::NotYet));
            }
            _ => {}
        }
    }

    /// Writes the document when it says something new.
    fn publish(&mut self, plan: &Plan, now: Timestamp) {
        let document = self.history.tell(&self.subject, plan, now);
        let same = self.published.as_ref().is_some_and(|before| {
            Document { published_at: before.published_at, ..document.clone() } == *before
        });
        if same {
            return;
        }
        let text = serde_json::to_vec_pretty(&document).unwrap_or_default();
        let written = self.target.root.write(paths::status(), &text, 0o644);
        notify::status(&document.headline());
        let news = self.published.as_ref().map(Document::headline) != Some(document.headline());
        if news {
            tracing::info!(node = self.subject.node, "{}", document.headline());
        }
        match written {
            Ok(()) => self.published = Some(document),
            Err(failure) => tracing::error!("{}", failure.message),
        }
    }

    /// Looks once and tells, changing nothing: `status` with the daemon dead, `plan`, `check`.
    pub async fn look_once(&mut self) -> (Observed, Plan, Document) {
        let flags = self.with_flags();
        let kind = self.target.config.runtime.kind;
        let engine;
        (self.facts.kubelet, self.facts.proxy, engine, self.facts.by_name) = futures::join!(
            facts::ask(&self.facts.kubelet, flags.0),
            facts::ask(&self.facts.proxy, flags.1),
            runtime::info(&self.target.root, kind),
            programs::route_once(&self.target.config, &self.facts)
        );
        self.engine = Some(engine);
        let (mut observed, desired) = self.look().await;
        self.watched.node = self.node_once(&observed).await;
        observed.watched = self.watched.clone();
        let now = Timestamp::now();
        let config = self.target.config.clone();
        let plan = plan::plan(View { config: &config, desired: desired.as_ref(), observed: &observed, now });
        let document = self.history.tell(&self.subject, &plan, now);
        (observed, plan, document)
    }

    async fn node_once(&self, observed: &Observed) -> Option<Fact<Seen<Node>>> {
        observed.client_certificate.as_ref().ok()?.as_ref()?;
        let client = apply::node_client(&self.target).ok()?;
        let (sink, mut seen) = mpsc::channel(1);
        tokio::select! {
            () = cluster::watch_one(Api::all(client), self.subject.node.clone(), sink) => None,
            seen = tokio::time::timeout(Duration::from_secs(3), seen.recv()) => seen.ok().flatten(),
        }
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.target.config
    }
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now()))
        .unwrap_or(Duration::from_millis(1))
        .max(Duration::from_millis(1))
}
