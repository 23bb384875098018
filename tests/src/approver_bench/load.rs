//! Requests in numbers, and how long each took.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{
    api::{
        certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    ControlPlane,
    requests::{API_CLIENT, CLIENT_USAGES, Envelope, Fate, History, Requesters, pkcs10::Pkcs10},
};

/// Requests a second, sent whatever becomes of them.
pub(super) const RATE: u32 = 50;

/// As many at a time as the approver decides.
const CONCURRENCY: usize = 32;

/// Nodes that ask.
const NODES: usize = 20;

/// How long all of them may take before something is broken.
const LIMIT: Duration = Duration::from_mins(1);

/// The first and the last approval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) first: Instant,
    pub(super) last: Instant,
}

impl Times {
    /// Approvals a second.
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    pub(super) fn rate(self, count: usize) -> f64 {
        count.saturating_sub(1) as f64 / self.last.duration_since(self.first).as_secs_f64()
    }
}

/// A request ready to be sent.
struct Ready {
    client: Client,
    name: String,
    envelope: Envelope,
}

/// Who asks, and the watch that sees what becomes of it.
pub(super) struct Load<'a> {
    requesters: Requesters<'a>,
    admin: Client,
    history: History,
    nodes: Vec<(String, Client)>,
}

impl<'a> Load<'a> {
    /// Makes Nodes that list their names and addresses.
    pub(super) async fn prepare(control_plane: &'a ControlPlane, program: PathBuf) -> Result<Self> {
        let requesters = Requesters::new(control_plane, program);
        let admin = requesters.admin().await?;
        let history = History::watch(admin.clone()).await?;
        let api: Api<Node> = Api::all(admin.clone());
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let name = format!("node-{number}");
            api.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": name}}))?)
                .await?;
            let addresses = json!([
                {"type": "Hostname", "address": name},
                {"type": "InternalIP", "address": format!("10.77.1.{number}")},
            ]);
            let status = json!({"status": {"addresses": addresses}});
            let client = requesters.node(&name).await?;
            let own: Api<Node> = Api::all(client.clone());
            own.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
            nodes.push((name, client));
        }
        Ok(Self { requesters, admin, history, nodes })
    }

    /// Requests at [`RATE`] for a while; of each, milliseconds until it was approved since it was sent, and since it was
    /// seen.
    pub(super) async fn steady(&self, how_long: Duration) -> Result<Vec<(f64, f64)>> {
        let count = usize::try_from(how_long.as_millis() * u128::from(RATE) / 1000)?;
        let ready: Vec<Ready> =
            stream::iter(0..count).map(|number| self.mixed(number)).buffered(4).try_collect().await?;
        let begin = Instant::now() + Duration::from_millis(100);
        let sent = ready.into_iter().enumerate().map(|(number, ready)| {
            let due = begin + Duration::from_secs(1) / RATE * u32::try_from(number).unwrap_or(u32::MAX);
            tokio::spawn(async move {
                tokio::time::sleep_until(due.into()).await;
                let uid = ready.envelope.send(&ready.client, &ready.name).await?;
                Ok::<_, kube::Error>((due, uid))
            })
        });
        let mut latencies = Vec::new();
        for task in sent.collect::<Vec<_>>() {
            let (due, uid) = task.await??;
            let fate = self.wait(&uid).await?;
            let approved = fate.approved.context("approved at no time")?;
            let since = |begin: Instant| approved.saturating_duration_since(begin).as_secs_f64() * 1000.0;
            latencies.push((since(due), since(fate.seen)));
        }
        Ok(latencies)
    }

    /// Requests at once; seconds from the first until all were sent, and until all were approved.
    pub(super) async fn burst(&self, count: usize) -> Result<(f64, f64)> {
        let ready = self.serving(count, "burst")?;
        let begin = Instant::now();
        let uids = send(ready, 2 * CONCURRENCY).await?;
        let sent = begin.elapsed();
        let times = self.approved(&uids).await?;
        Ok((sent.as_secs_f64(), times.last.duration_since(begin).as_secs_f64()))
    }

    /// Sends requests that nobody decides now; their UIDs.
    pub(super) async fn pending(&self, count: usize) -> Result<Vec<String>> {
        send(self.serving(count, "pending")?, CONCURRENCY).await
    }

    /// Waits until all are approved.
    pub(super) async fn approved(&self, uids: &[String]) -> Result<Times> {
        let mut times: Option<Times> = None;
        for uid in uids {
            let at = self.wait(uid).await?.approved.context("approved at no time")?;
            let known = times.get_or_insert(Times { first: at, last: at });
            *known = Times { first: known.first.min(at), last: known.last.max(at) };
        }
        times.context("nothing to wait for")
    }

    /// Approves all without a look, over connections of its own: the approver begins without any, too.
    pub(super) async fn approve_all(&self, uids: &[String]) -> Result<Times> {
        let api: Api<CertificateSigningRequest> = Api::all(self.requesters.admin().await?);
        let found = api.list(&ListParams::default()).await?;
        let approval = CertificateSigningRequestCondition {
            type_: "Approved".to_owned(),
            status: "True".to_owned(),
            reason: Some("Bare".to_owned()),
            message: Some("approved by a loop that looks at nothing".to_owned()),
            last_update_time: Some(Time(Timestamp::now())),
            last_transition_time: None,
        };
        stream::iter(found.items)
            .map(|mut csr| {
                let (api, approval) = (&api, approval.clone());
                async move {
                    csr.status.get_or_insert_default().conditions = Some(vec![approval]);
                    csr.metadata.managed_fields = None;
                    let name = csr.metadata.name.clone().unwrap_or_default();
                    api.replace_subresource("approval", &name, &PostParams::default(), &csr).await.map(drop)
                }
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<()>()
            .await?;
        self.approved(uids).await
    }

    /// Deletes every request.
    pub(super) async fn clear(&self) -> Result<()> {
        let api: Api<CertificateSigningRequest> = Api::all(self.admin.clone());
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        Ok(())
    }

    /// One of the three kinds in turn.
    async fn mixed(&self, number: usize) -> Result<Ready> {
        let (node, client) = &self.nodes[number % NODES];
        let name = format!("steady-{number}");
        Ok(match number % 3 {
            0 => {
                let node = format!("new-{number}");
                let client = self.requesters.token(&["--node", &node]).await?;
                Ready { client, name, envelope: Envelope::kubelet_client(Pkcs10::node(&node).pem()?) }
            }
            1 => {
                let envelope = Envelope::kubelet_serving(Pkcs10::node(node).dns(node).pem()?);
                Ready { client: client.clone(), name, envelope }
            }
            _ => {
                let pem = Pkcs10::of("system:kube-proxy", &[]).pem()?;
                let envelope = Envelope::of(API_CLIENT, CLIENT_USAGES, pem);
                Ready { client: client.clone(), name, envelope }
            }
        })
    }

    fn serving(&self, count: usize, name: &str) -> Result<Vec<Ready>> {
        (0..count)
            .map(|number| {
                let (node, client) = &self.nodes[number % NODES];
                let envelope = Envelope::kubelet_serving(Pkcs10::node(node).dns(node).pem()?);
                Ok(Ready { client: client.clone(), name: format!("{name}-{number}"), envelope })
            })
            .collect()
    }

    async fn wait(&self, uid: &str) -> Result<Fate> {
        let waited = self.history.wait(uid, LIMIT, Fate::is_decided).await;
        let fate =
            waited.map_err(|fate| anyhow::anyhow!("not approved in {} s: {fate:?}", LIMIT.as_secs()))?;
        ensure!(fate.approved.is_some(), "not approved: {:?}", fate.conditions);
        Ok(fate)
    }
}

async fn send(ready: Vec<Ready>, concurrency: usize) -> Result<Vec<String>> {
    stream::iter(ready)
        .map(|ready| async move { Ok(ready.envelope.send(&ready.client, &ready.name).await?) })
        .buffer_unordered(concurrency)
        .try_collect()
        .await
}
