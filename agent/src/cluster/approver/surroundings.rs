//! What is around the requests, kept current by watches: Nodes, and the API server's own addresses; and its version, which
//! is asked for whenever a watch of Nodes begins anew. Requests that wait for a Node are judged again when it changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError, RwLock};

use futures::channel::mpsc;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Endpoints, Node, Service};
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, watch_object, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::{Notify, watch};

use super::WatchBackoff;
use super::watched::Watched;
use crate::cluster::client::{CallError, Cluster, innermost};
use crate::cluster::inventory::{ApiServer, Inventory, NodeFacts};
use crate::cluster::policy::{Hold, Verdict};

/// The API server's own Service and Endpoints.
const API_NAMESPACE: &str = "default";
const API_NAME: &str = "kubernetes";

/// Which of the four things there are to know is known.
#[expect(clippy::struct_excessive_bools, reason = "each is learnt by itself, in any order")]
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    nodes: bool,
    service: bool,
    endpoints: bool,
    /// Asked for, whatever the answer was.
    version: bool,
}

/// The inventory, and who waits for what in it.
#[derive(Debug)]
pub(super) struct Surroundings {
    cluster: Cluster,
    inventory: RwLock<Inventory>,
    /// The Nodes each held request waits for. Changed only under the inventory's lock, so that no change slips through
    /// between a verdict and its note.
    held: Mutex<HashMap<String, Vec<String>>>,
    again: mpsc::UnboundedSender<ObjectRef<Watched>>,
    known: watch::Sender<Known>,
    /// The Nodes were listed anew: perhaps by another API server.
    relisted: Notify,
    api: Mutex<(Option<Service>, Option<Endpoints>)>,
}

/// Requests to be judged again.
pub(super) type Again = mpsc::UnboundedReceiver<ObjectRef<Watched>>;

impl Surroundings {
    pub(super) fn new(cluster: Cluster) -> (Self, Again) {
        let (again, receiver) = mpsc::unbounded();
        let surroundings = Self {
            cluster,
            inventory: RwLock::default(),
            held: Mutex::default(),
            again,
            known: watch::Sender::new(Known::default()),
            relisted: Notify::new(),
            api: Mutex::default(),
        };
        (surroundings, receiver)
    }

    /// Judges with what is known now, and takes note of what a held request waits for.
    pub(super) fn judge(&self, name: &str, judge: impl FnOnce(&Inventory) -> Verdict) -> Verdict {
        let inventory = self.inventory.read().unwrap_or_else(PoisonError::into_inner);
        let verdict = judge(&inventory);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &verdict {
            Verdict::Hold(Hold { on, .. }) if !on.is_empty() => held.insert(name.to_owned(), on.clone()),
            _ => held.remove(name),
        };
        verdict
    }

    /// Learns everything once.
    pub(super) async fn look(&self) -> Result<(), CallError> {
        let client = self.cluster.client();
        let nodes: Api<Node> = Api::all(client.clone());
        let services: Api<Service> = Api::namespaced(client.clone(), API_NAMESPACE);
        let endpoints: Api<Endpoints> = Api::namespaced(client, API_NAMESPACE);
        let all = ListParams::default();
        self.look_for_version().await;
        let (nodes, service, behind) = futures::try_join!(
            self.cluster.call("list", "Nodes", nodes.list(&all)),
            self.cluster.call("get", "Service default/kubernetes", services.get_opt(API_NAME)),
            self.cluster.call("get", "Endpoints default/kubernetes", endpoints.get_opt(API_NAME)),
        )?;
        self.replace_nodes(nodes.items.iter().map(|node| (node.name_any(), NodeFacts::of(node))).collect());
        self.set_api(|api| *api = (service, behind));
        Ok(())
    }

    /// Keeps everything current, for ever.
    pub(super) async fn follow(&self) {
        let client = self.cluster.client();
        let services: Api<Service> = Api::namespaced(client.clone(), API_NAMESPACE);
        let endpoints: Api<Endpoints> = Api::namespaced(client.clone(), API_NAMESPACE);
        let nodes = watcher(Api::<Node>::all(client), watcher::Config::default());
        let service = watch_object(services, API_NAME).backoff(WatchBackoff::default());
        let behind = watch_object(endpoints, API_NAME).backoff(WatchBackoff::default());
        futures::join!(
            self.follow_version(),
            self.follow_nodes(nodes.backoff(WatchBackoff::default())),
            each(service, "Service default/kubernetes", |found| {
                self.set_api(|api| api.0 = found);
                self.known.send_modify(|known| known.service = true);
            }),
            each(behind, "Endpoints default/kubernetes", |found| {
                self.set_api(|api| api.1 = found);
                self.known.send_modify(|known| known.endpoints = true);
            }),
        );
    }

    /// Completes when everything is known: before that nothing may be approved.
    pub(super) async fn complete(&self) {
        let mut known = self.known.subscribe();
        // The sender lives as long as we do.
        let _ =
            known.wait_for(|known| known.nodes && known.service && known.endpoints && known.version).await;
    }

    async fn follow_version(&self) {
        loop {
            self.relisted.notified().await;
            self.look_for_version().await;
            self.known.send_modify(|known| known.version = true);
        }
    }

    /// Every user may ask; where an administrator took that away, nothing is made of a version.
    async fn look_for_version(&self) {
        let client = self.cluster.client();
        match self.cluster.call("get", "/version", client.apiserver_version()).await {
            Ok(version) => {
                let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
                let mut inventory = self.inventory.write().unwrap_or_else(PoisonError::into_inner);
                inventory.minor = digits.parse().ok().filter(|_| version.major == "1");
            }
            Err(error) => tracing::warn!(%error, "the API server's version is not known"),
        }
    }

    async fn follow_nodes(&self, events: impl Stream<Item = watcher::Result<watcher::Event<Node>>>) {
        let mut listed = HashMap::new();
        each(events, "Nodes", |event| match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(node) => {
                listed.insert(node.name_any(), NodeFacts::of(&node));
            }
            watcher::Event::InitDone => {
                self.replace_nodes(std::mem::take(&mut listed));
                self.known.send_modify(|known| known.nodes = true);
                self.relisted.notify_one();
            }
            watcher::Event::Apply(node) => {
                let name = node.name_any();
                let facts = NodeFacts::of(&node);
                self.change(|inventory| {
                    inventory.set(&name, facts).then(|| name.clone()).into_iter().collect()
                });
            }
            watcher::Event::Delete(node) => {
                let name = node.name_any();
                self.change(|inventory| inventory.remove(&name).then(|| name.clone()).into_iter().collect());
            }
        })
        .await;
    }

    fn replace_nodes(&self, nodes: HashMap<String, NodeFacts>) {
        self.change(|inventory| {
            let gone: Vec<String> =
                inventory.names().filter(|name| !nodes.contains_key(*name)).cloned().collect();
            let mut changed: BTreeSet<String> =
                gone.into_iter().filter(|name| inventory.remove(name)).collect();
            changed.extend(
                nodes.into_iter().filter_map(|(name, facts)| inventory.set(&name, facts).then_some(name)),
            );
            changed
        });
    }

    /// Changes the inventory, and has those judged again who wait for a Node that changed.
    fn change(&self, change: impl FnOnce(&mut Inventory) -> BTreeSet<String>) {
        let mut inventory = self.inventory.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut inventory);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|request, nodes| {
            let waits = nodes.iter().any(|node| changed.contains(node));
            if waits {
                // Nobody listens where requests are judged once only.
                let _ = self.again.unbounded_send(ObjectRef::new(request));
            }
            !waits
        });
    }

    fn set_api(&self, set: impl FnOnce(&mut (Option<Service>, Option<Endpoints>))) {
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        set(&mut api);
        let host = self.cluster.host();
        let known = ApiServer::of(api.0.as_ref(), api.1.as_ref(), host.as_deref());
        self.inventory.write().unwrap_or_else(PoisonError::into_inner).api_server = known;
    }
}

/// Hands on what a watch sees; that it fails now and then is told, and it goes on.
async fn each<T>(events: impl Stream<Item = watcher::Result<T>>, what: &str, mut seen: impl FnMut(T)) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => seen(event),
            Err(error) => tracing::warn!(error = innermost(&error), "cannot watch {what}, trying on"),
        }
    }
}
