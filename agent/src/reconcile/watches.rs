//! What is watched at the API server: exactly what the phases wait for.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{Reconciler, Wake};
use crate::apply;
use crate::desired;
use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::desired::dns;
use crate::observe::certificates::PendingKey;
use crate::observe::{Deleted, Fact, Observed};
use crate::plan::{Phase, Plan, Step, Verdict};
use crate::ports::cluster::{self, Seen};
use crate::ports::keys::sha256;
use crate::reason::Reason;

impl Reconciler {
    /// Watches exactly what the phases wait for.
    pub(super) fn follow_api(&mut self, observed: &Observed, plan: &Plan) {
        let satisfied = |phase| plan.verdicts.get(&phase).is_some_and(Verdict::is_satisfied);
        let config = self.target.config.clone();
        if satisfied(Phase::Identity) {
            // The certificate's hash is in the watch's name, so that another one gets a connection of its own.
            let certificate = observed.client_certificate.as_ref().ok().and_then(Option::as_ref);
            let key = certificate.map_or("", |c| c.public_key_hash.as_str());
            let name = format!("node {}", certificate.map_or_else(String::new, |c| sha256(&c.der)));
            if !self.watches.contains_key(&name) {
                self.drop_watches("node ");
                self.watch_node(name, key.to_owned());
            }
        }
        let asks = |phases: &[Phase]| {
            let verdicts = phases.iter().filter_map(|phase| plan.verdicts.get(phase));
            verdicts.into_iter().any(|verdict| !matches!(verdict, Verdict::Satisfied(_) | Verdict::Held))
        };
        let client = desired::certificates::kubelet_client(&config);
        let key = observed.pending_client_key.as_ref().ok().and_then(Option::as_ref);
        self.follow_request(&client, key.filter(|_| asks(&[Phase::Identity])));
        let proxy = desired::certificates::proxy(&config);
        let key = observed.pending_proxy_key.as_ref().ok().and_then(Option::as_ref);
        self.follow_request(&proxy, key.filter(|_| asks(&[Phase::ProxyIdentity, Phase::Renewal])));
    }

    /// Watches the request made with `key`, and forgets all others of its purpose.
    fn follow_request(&mut self, spec: &CertificateSpec, key: Option<&PendingKey>) {
        let request = key.map(|key| spec.request_name(&key.public_key_hash));
        let ours = spec.name_prefix();
        let other = |name: &str| name.starts_with(&ours) && request.as_deref() != Some(name);
        self.watched.requests.retain(|name, _| !other(name));
        self.watched.deleted.retain(|name, _| !other(name));
        let watch = request.as_ref().map(|request| format!("csr {request}"));
        let others = format!("csr {ours}");
        let stale = |name: &String| name.starts_with(&others) && watch.as_ref() != Some(name);
        let stale: Vec<String> = self.watches.keys().filter(|name| stale(name)).cloned().collect();
        for name in stale {
            self.drop_watches(&name);
        }
        if let Some((name, request)) = watch.zip(request) {
            self.watch_request(name, request, spec);
        }
    }

    /// What the API server says of our Node, asked with the certificate of the key of this hash.
    pub(super) fn saw_node(&mut self, key: String, seen: Fact<Seen<Node>>) {
        match &seen {
            Err(failure) if failure.reason == Reason::Unauthorized => self.watched.refused_key = Some(key),
            Err(_) => {}
            Ok(_) => self.watched.refused_key = None,
        }
        self.watched.node = Some(seen);
    }

    /// What the API server says of a request. One that was there and is not any more was deleted.
    pub(super) fn saw_request(&mut self, name: String, seen: Fact<Seen<CertificateSigningRequest>>) {
        let was_there = matches!(self.watched.requests.get(&name), Some(Ok(Seen::Present(_))));
        if was_there && matches!(seen, Ok(Seen::Absent)) {
            let before = self.watched.deleted.get(&name).copied();
            self.watched.deleted.insert(name.clone(), Deleted::once_more(before, Timestamp::now()));
        }
        self.watched.requests.insert(name, seen);
    }

    /// The token may be another one: what failed with the last one is tried with it at once.
    pub(super) fn try_the_token_again(&mut self) {
        let ours = desired::certificates::kubelet_client(&self.target.config).name_prefix();
        self.drop_watches(&format!("csr {ours}"));
        // The search for the CA, too: a token signs what it is told there.
        self.attempts.retain(|step, _| !step.contains(&ours) && !step.starts_with(Step::DISCOVER_CA));
        self.watched.requests.retain(|name, seen| !(name.starts_with(&ours) && seen.is_err()));
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

    fn watch_node(&mut self, name: String, key: String) {
        let (target, wake, node) = (self.target.clone(), self.wake.clone(), self.subject.node.clone());
        let task = async move {
            let client = apply::node_client(&target);
            let asks_dns = dns::is_asked(&target.config);
            // One connection for both; a client that can't be made is the Node's failure.
            let service = client.as_ref().ok().filter(|_| asks_dns);
            let service = service.map(|client| Api::namespaced(client.clone(), dns::NAMESPACE));
            let dns = async {
                if let Some(service) = service {
                    forward(Ok(service), dns::SERVICE.to_owned(), wake.clone(), Wake::Dns).await;
                }
            };
            let node =
                forward(client.map(Api::all), node, wake.clone(), |seen| Wake::Node(key.clone(), seen));
            futures::join!(node, dns);
        };
        self.watches.insert(name, self.background.spawn(task));
    }

    fn watch_request(&mut self, name: String, request: String, spec: &CertificateSpec) {
        // A failed watch is begun anew where the credentials may have been replaced: by an operator the token, by the
        // kubelet the certificate that a long wait has outlived.
        let failed = self.watched.requests.get(&request).and_then(|seen| seen.as_ref().err());
        let failed = failed.is_some_and(|failure| {
            spec.purpose == Purpose::KubeletClient || failure.reason == Reason::Unauthorized
        });
        let due = self.attempts.get(&name).is_none_or(|a| Timestamp::now() >= a.retry_at);
        if self.watches.contains_key(&name) && !(failed && due) {
            return;
        }
        if failed {
            self.drop_watches(&name);
            self.failed(&name, self.watched.requests.get(&request).and_then(|r| r.as_ref().err().cloned()));
        }
        let (target, wake, purpose) = (self.target.clone(), self.wake.clone(), spec.purpose);
        let task = async move {
            let client = apply::request_client(&target, purpose).map(Api::all);
            forward(client, request.clone(), wake, |seen| Wake::Request(request.clone(), seen)).await;
        };
        self.watches.insert(name, self.background.spawn(task));
    }
}

/// Watches one object and wakes the loop with what is seen of it, or with why there is no client to see it.
async fn forward<K>(
    api: Fact<Api<K>>,
    name: String,
    wake: mpsc::Sender<Wake>,
    told: impl Fn(Fact<Seen<K>>) -> Wake,
) where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (sink, mut seen) = mpsc::channel(1);
    let api = match api {
        Ok(api) => api,
        Err(failure) => return drop(wake.send(told(Err(failure))).await),
    };
    let forward = async {
        while let Some(seen) = seen.recv().await {
            if wake.send(told(seen)).await.is_err() {
                return;
            }
        }
    };
    futures::join!(cluster::watch_one(api, name, sink), forward);
}
