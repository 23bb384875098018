//! Events about verdicts, for `kubectl describe csr` and `kubectl get events`. They come when there is time for them: an
//! approval never waits for an Event.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use super::conditions::Word;
use crate::cluster::client::{Cluster, innermost};

/// How many Events may wait to be sent; more are dropped, and the log has them all.
const QUEUE: usize = 1_000;

/// Where Events go to.
#[derive(Debug, Clone)]
pub(super) struct Events(mpsc::Sender<(Event, ObjectReference)>);

/// Events on their way.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Receiver<(Event, ObjectReference)>);

impl Events {
    pub(super) fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), Queue(receiver))
    }

    /// Tells what was written into `csr`.
    pub(super) fn tell(&self, csr: &CertificateSigningRequest, word: &Word) {
        let (type_, action) = match word.kind {
            "Approved" => (EventType::Normal, "Approve"),
            "Denied" => (EventType::Warning, "Deny"),
            _ => (EventType::Warning, "Hold"),
        };
        let event = Event {
            type_,
            reason: word.reason.clone(),
            note: Some(word.message.clone()),
            action: action.to_owned(),
            secondary: None,
        };
        if self.0.try_send((event, csr.object_ref(&()))).is_err() {
            tracing::debug!(csr = csr.metadata.name, "too many Events wait, one is left out");
        }
    }
}

impl Queue {
    /// Sends Events one after the other, until nobody makes any more.
    pub(super) async fn send(mut self, cluster: &Cluster) {
        let instance = std::env::var("HOSTNAME").ok();
        let reporter = Reporter { controller: "kn-agent-approver".to_owned(), instance };
        let recorder = Recorder::new(cluster.client(), reporter);
        while let Some((event, about)) = self.0.recv().await {
            if let Err(error) = recorder.publish(&event, &about).await {
                tracing::debug!(error = innermost(&error), "cannot write an Event");
            }
        }
    }
}
