//! What programs say of themselves: slow to ask, asked once and not in the way of a pass.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Reconciler, Wake};
use crate::config::Config;
use crate::desired::address::{self, ByName};
use crate::desired::{Facts, Program, engine, units};
use crate::observe::{Observed, access, active_since, facts, route, runtime};
use crate::plan::{Phase, Plan, Verdict};
use crate::ports::cluster::Seen;

/// The pause before an engine is asked again that did not answer: as long as it is, `status` says so.
const AGAIN: Duration = Duration::from_millis(250);

/// The pause where only an operator can mend what it said; its restart is noticed at once.
const MENDED_AGAIN: Duration = Duration::from_secs(10);

/// The pause before a program is executed again that failed: each time costs up to 30 s.
const EXECUTE_AGAIN: Duration = Duration::from_secs(10);

/// The pause before the API server's name is looked up again, where it led nowhere.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(2);

/// How long a person waits for a name service.
const PATIENCE: Duration = Duration::from_secs(3);

/// The name under which the way to the API server is asked for.
const ROUTE: &str = "route";

/// The name under which the kubelet is asked.
pub(super) const KUBELET: &str = "kubelet";

/// The name under which kube-proxy is asked.
pub(super) const KUBE_PROXY: &str = "kube-proxy";

impl Reconciler {
    /// Asks the engine once a start of its, and kube-proxy when the node is Ready: nothing waits for its version, and until
    /// then the processors are wanted elsewhere.
    pub(super) fn follow_programs(&mut self, observed: &Observed, plan: &Plan) {
        match active_since(&observed.units, engine::unit(self.target.config.runtime.kind)) {
            Some(since) => self.follow_engine(since),
            None => self.forget_engine(),
        }
        self.follow_access(observed, plan);
        if plan.is_ready() && !self.watches.contains_key(KUBE_PROXY) {
            let ask = ask(self.facts.proxy.clone(), self.with_flags().1, self.wake.clone(), Wake::Proxy);
            self.watches.insert(KUBE_PROXY.to_owned(), self.background.spawn(ask));
        }
    }

    /// Remembers who answered well in this pass.
    pub(super) fn learn_answers(&mut self, observed: &Observed) {
        for (unit, well) in [
            (engine::unit(self.target.config.runtime.kind), observed.engine.is_well()),
            (units::CRI_DOCKERD, observed.engine.shim.is_ok()),
            (units::KUBELET, observed.kubelet_health.is_ok()),
            (units::KUBE_PROXY, observed.proxy_health.is_ok()),
        ] {
            let since = active_since(&observed.units, unit);
            self.lately.learn(unit, since.unwrap_or_default(), since.is_some() && well);
        }
    }

    /// Asks the kubelet as a stranger would, once a start of its; when the node is Ready, since nothing waits for that, and
    /// when it has a certificate to answer with.
    fn follow_access(&mut self, observed: &Observed, plan: &Plan) {
        let serves = plan.verdicts.get(&Phase::ServingCert).is_some_and(Verdict::is_satisfied);
        let since = active_since(&observed.units, units::KUBELET);
        let Some(Ok(Seen::Present(node))) = &observed.watched.node else { return };
        let (Some(since), Some(at)) = (since, access::endpoint(node)) else { return };
        let name = format!("access {since} {at}");
        if !(plan.is_ready() && serves) || self.watches.contains_key(&name) {
            return;
        }
        self.drop_watches("access ");
        self.access = None;
        let wake = self.wake.clone();
        let ask = async move {
            loop {
                let access = access::ask(at).await;
                let told = access.is_ok();
                if wake.send(Wake::Access(access)).await.is_err() || told {
                    return;
                }
                tokio::time::sleep(MENDED_AGAIN).await;
            }
        };
        self.watches.insert(name, self.background.spawn(ask));
    }

    /// Everything waits for the kubelet's version: it is asked before all other programs.
    pub(super) fn ask_kubelet(&mut self) {
        self.drop_watches(KUBELET);
        let ask = ask(self.facts.kubelet.clone(), self.with_flags().0, self.wake.clone(), Wake::Kubelet);
        self.watches.insert(KUBELET.to_owned(), self.background.spawn(ask));
    }

    /// Looks an API server up that goes by a name, while the node's address hangs on that.
    pub(super) fn follow_route(&mut self) {
        let is_asked = address::is_looked_up(&self.target.config, &self.facts);
        if !is_asked || address::is_outdated(&self.facts) {
            self.drop_watches(ROUTE);
            self.facts.by_name = ByName::Unknown;
        }
        if !is_asked {
            return;
        }
        if self.watches.contains_key(ROUTE) {
            return;
        }
        let (config, wake) = (self.target.config.clone(), self.wake.clone());
        let ask = async move {
            loop {
                let found = route::by_name(&config).await;
                let failed = matches!(found, ByName::Failed(_));
                if wake.send(Wake::Route(found)).await.is_err() || !failed {
                    return;
                }
                tokio::time::sleep(LOOK_UP_AGAIN).await;
            }
        };
        self.watches.insert(ROUTE.to_owned(), self.background.spawn(ask));
    }

    fn follow_engine(&mut self, since: u64) {
        let name = format!("engine {since}");
        if self.watches.contains_key(&name) {
            return;
        }
        self.forget_engine();
        let (root, kind, wake) =
            (self.target.root.clone(), self.target.config.runtime.kind, self.wake.clone());
        let ask = async move {
            loop {
                let info = runtime::info(&root, kind).await;
                let told = info.is_ok();
                let is_lasting = info.as_ref().is_err_and(|failure| failure.reason.needs_operator());
                if wake.send(Wake::Engine(info)).await.is_err() || told {
                    return;
                }
                tokio::time::sleep(if is_lasting { MENDED_AGAIN } else { AGAIN }).await;
            }
        };
        self.watches.insert(name, self.background.spawn(ask));
    }

    fn forget_engine(&mut self) {
        self.drop_watches("engine ");
        self.engine = None;
    }
}

/// The same once, for a person who waits.
pub(super) async fn route_once(config: &Config, facts: &Facts) -> ByName {
    if !address::is_looked_up(config, facts) {
        return ByName::Unknown;
    }
    let found = tokio::time::timeout(PATIENCE, route::by_name(config)).await;
    found.unwrap_or_else(|_| ByName::Failed(format!("no answer within {PATIENCE:?}")))
}

/// Asks a program for its version until it has told it.
async fn ask(program: Program, flags: bool, wake: mpsc::Sender<Wake>, told: fn(Box<Program>) -> Wake) {
    loop {
        let asked = facts::ask(&program, flags).await;
        let failed = asked.error.is_some();
        if wake.send(told(Box::new(asked))).await.is_err() || !failed {
            return;
        }
        tokio::time::sleep(EXECUTE_AGAIN).await;
    }
}
