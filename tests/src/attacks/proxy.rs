//! An HTTP proxy between the approver and the API server, which fails as it is told.
//!
//! It speaks plain HTTP on a loopback address and adds the approver's own credential on the way on.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
};

type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// What it does with requests, and with answers under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Passes them on.
    Pass,
    /// Answers 500, and breaks off what is under way.
    Fail,
    /// Nothing comes through, in either direction; it does when the mode changes.
    Blackhole,
    /// Answers 500 to requests whose path holds this.
    FailPath(&'static str),
}

impl Mode {
    fn fails(self, path: &str) -> bool {
        match self {
            Self::Fail => true,
            Self::FailPath(part) => path.contains(part),
            Self::Pass | Self::Blackhole => false,
        }
    }
}

/// A request that is stopped on its way until it is let go.
#[derive(Debug)]
struct Gate {
    path: String,
    reached: Arc<Notify>,
    open: Arc<Notify>,
}

/// The running proxy. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Proxy {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    mode: watch::Sender<Mode>,
    gate: Mutex<Option<Gate>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts it before what `upstream` speaks to.
    pub(super) async fn start(upstream: Client) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { mode: watch::Sender::new(Mode::Pass), gate: Mutex::default() });
        let task = tokio::spawn(serve(listener, upstream, shared.clone()));
        Ok(Self { address, shared, task })
    }

    /// A kubeconfig that leads here.
    pub(super) fn write_kubeconfig(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join("proxied.kubeconfig");
        let text = format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: lab, cluster: {{server: 'http://{}'}}}}]
users: [{{name: lab, user: {{}}}}]
contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]
current-context: lab
",
            self.address
        );
        std::fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }

    /// From now on.
    pub(super) fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Stops the next PUT to `path`; the first one is told when it came, the second one lets it go.
    pub(super) fn stop_at(&self, path: String) -> (Arc<Notify>, Arc<Notify>) {
        let (reached, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let gate = Gate { path, reached: reached.clone(), open: open.clone() };
        *self.shared.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate);
        (reached, open)
    }
}

impl Shared {
    /// Waits at the gate, if this request is the one.
    async fn pass_gate(&self, method: &Method, path: &str) {
        let gate = {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.take_if(|gate| method == Method::PUT && gate.path == path)
        };
        if let Some(gate) = gate {
            gate.reached.notify_one();
            gate.open.notified().await;
        }
    }

    /// Waits while nothing comes through; what then holds.
    async fn mode(&self) -> Mode {
        let mut mode = self.mode.subscribe();
        mode.wait_for(|mode| *mode != Mode::Blackhole).await.map_or(Mode::Fail, |mode| *mode)
    }
}

async fn serve(listener: TcpListener, upstream: Client, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (upstream, shared) = (upstream.clone(), shared.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (upstream, shared) = (upstream.clone(), shared.clone());
                async move { Ok::<_, std::convert::Infallible>(forward(request, upstream, shared).await) }
            });
            // A client that went away is no failure of ours.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn forward(request: Request<Incoming>, upstream: Client, shared: Arc<Shared>) -> Answer {
    let path = request.uri().path().to_owned();
    if shared.mode().await.fails(&path) {
        return failure();
    }
    shared.pass_gate(request.method(), &path).await;
    let (mut parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return failure() };
    parts.headers.remove(http::header::HOST);
    let request = Request::from_parts(parts, Body::from(body.to_bytes()));
    match upstream.send(request).await {
        Ok(answer) => answer.map(|body| metered(body, shared, path)),
        Err(_) => failure(),
    }
}

/// The answer's body, as far as the mode lets it through.
fn metered(body: Body, shared: Arc<Shared>, path: String) -> UnsyncBoxBody<Bytes, std::io::Error> {
    let stream = futures::stream::unfold((body, shared, path), |(mut body, shared, path)| async move {
        let mut changes = shared.mode.subscribe();
        loop {
            let mode = shared.mode().await;
            if mode.fails(&path) {
                return Some((Err(std::io::Error::other("broken off")), (body, shared, path)));
            }
            changes.mark_unchanged();
            tokio::select! {
                frame = body.frame() => {
                    let frame: Result<Frame<Bytes>, _> = frame?.map_err(std::io::Error::other);
                    // What came while nothing came through is late, not lost.
                    shared.mode().await;
                    return Some((frame, (body, shared, path)));
                }
                _ = changes.changed() => {}
            }
        }
    });
    StreamBody::new(stream).boxed_unsync()
}

fn failure() -> Answer {
    let text = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"the lab's proxy fails","reason":"InternalError","code":500}"#;
    let body = Full::from(text).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}
