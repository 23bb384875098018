//! Events about verdicts, for `kubectl describe csr` and `kubectl get events`. They come when there is time for them: an
//! approval never waits for an Event, and where many are to be decided, the API server has its time for these.

use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::{mpsc, watch};

use super::conditions::Word;
use crate::cluster::client::{Cluster, innermost};

/// How many Events may wait to be sent; more are dropped, and the log has them all.
const QUEUE: usize = 1_000;

/// How long an Event waits for requests that are being decided: a flood of these must not silence them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where Events go to.
#[derive(Debug)]
pub(super) struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
    /// How many requests are being decided.
    deciding: watch::Sender<usize>,
}

/// Events on their way.
#[derive(Debug)]
pub(super) struct Queue {
    events: mpsc::Receiver<(Event, ObjectReference)>,
    deciding: watch::Receiver<usize>,
}

/// While it lives, a request is being decided.
#[derive(Debug)]
pub(super) struct Deciding<'a>(&'a watch::Sender<usize>);

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Events {
    pub(super) fn new() -> (Self, Queue) {
        let (queue, events) = mpsc::channel(QUEUE);
        let (deciding, decided) = watch::channel(0);
        (Self { queue, deciding }, Queue { events, deciding: decided })
    }

    /// A request is being decided from now on.
    pub(super) fn deciding(&self) -> Deciding<'_> {
        self.deciding.send_modify(|count| *count += 1);
        Deciding(&self.deciding)
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
        if self.queue.try_send((event, csr.object_ref(&()))).is_err() {
            tracing::debug!(csr = csr.metadata.name, "too many Events wait, one is left out");
        }
    }
}

impl Queue {
    /// Sends Events one after the other while nothing is being decided, until nobody makes any more.
    pub(super) async fn send(mut self, cluster: &Cluster) {
        let instance = std::env::var("HOSTNAME").ok();
        let reporter = Reporter { controller: "kn-agent-approver".to_owned(), instance };
        let recorder = Recorder::new(cluster.client(), reporter);
        while let Some((event, about)) = self.next().await {
            if let Err(error) = recorder.publish(&event, &about).await {
                tracing::debug!(error = innermost(&error), "cannot write an Event");
            }
        }
    }

    /// The next Event, when nothing is being decided or it has waited long enough.
    async fn next(&mut self) -> Option<(Event, ObjectReference)> {
        let next = self.events.recv().await;
        let idle = self.deciding.wait_for(|count| *count == 0);
        // Late or not, and also where nothing will ever be decided again, it is sent.
        drop(tokio::time::timeout(PATIENCE, idle).await);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::policy::{Code, Refusal};

    fn told() -> (Events, Queue) {
        let (events, queue) = Events::new();
        let refusal = Refusal { code: Code::TokenUsed, message: "used".to_owned() };
        events.tell(&CertificateSigningRequest::default(), &Word::denied(&refusal));
        (events, queue)
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_waits_while_a_request_is_decided_and_not_for_ever() {
        let (events, mut queue) = told();
        let deciding = events.deciding();
        let begin = tokio::time::Instant::now();
        queue.next().await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), PATIENCE.as_secs());

        drop(deciding);
        events.tell(
            &CertificateSigningRequest::default(),
            &Word::approved("as it is when nothing is being decided"),
        );
        let begin = tokio::time::Instant::now();
        queue.next().await.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
