//! What is watched at the API server: exactly what the phases wait for.

use std::fmt::Debug;

use jiff::Timestamp;
use kube::Client;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{Reconciler, Wake};
use crate::apply;
use crate::desired;
use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::observe::{Fact, Observed};
use crate::plan::{Phase, Plan, Verdict};
use crate::ports::cluster::{self, Seen};
use crate::ports::keys::sha256;

impl Reconciler {
    /// Watches exactly what the phases wait for.
    pub(super) fn follow_api(&mut self, observed: &Observed, plan: &Plan) {
        let satisfied = |phase| plan.verdicts.get(&phase).is_some_and(Verdict::is_satisfied);
        let config = self.hands.config.clone();
        if satisfied(Phase::Identity) {
            // The certificate's hash is in the watch's name, so that another one gets a connection of its own.
            let certificate = observed.client_certificate.as_ref().ok().and_then(Option::as_ref);
            let name = format!("node {}", certificate.map_or_else(String::new, |c| sha256(&c.der)));
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

    pub(super) fn drop_watches(&mut self, prefix: &str) {
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
        let task = async move { forward(apply::node_client(&hands), node, wake, Wake::Node).await };
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
            let client = apply::request_client(&hands, purpose);
            forward(client, request.clone(), wake, |seen| Wake::Request(request.clone(), seen)).await;
        };
        self.watches.insert(name, self.background.spawn(task));
    }
}

/// Watches one object and wakes the loop with what is seen of it, or with why there is no client to see it.
async fn forward<K>(
    client: Fact<Client>,
    name: String,
    wake: mpsc::Sender<Wake>,
    told: impl Fn(Fact<Seen<K>>) -> Wake,
) where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (sink, mut seen) = mpsc::channel(1);
    let client = match client {
        Ok(client) => client,
        Err(failure) => return drop(wake.send(told(Err(failure))).await),
    };
    let forward = async {
        while let Some(seen) = seen.recv().await {
            if wake.send(told(seen)).await.is_err() {
                return;
            }
        }
    };
    futures::join!(cluster::watch_one(client, name, sink), forward);
}
