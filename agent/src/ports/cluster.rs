//! The API server: clients for the two identities of a joining node, one-object watches, and errors told apart.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::Resource as _;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{Failure, chain};
use crate::names::{ApiServerUrl, Token};
use crate::reason::Reason;

/// No answer to a single request after this long is trouble; a healthy API server needs milliseconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Load balancers cut idle connections at 240 s; the server ends the watch before that.
const WATCH_SECONDS: u32 = 200;

/// Whom a client speaks as.
#[derive(Debug, Clone)]
pub enum Credentials<'a> {
    /// A bootstrap token: may create and watch certificate signing requests.
    Token(&'a Token),
    /// PEM files with certificate and key, or one with both: the node itself.
    Certificate(&'a Path, &'a Path),
}

/// What a watch last saw of its object.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Seen<K> {
    /// Nothing yet.
    #[default]
    NotYet,
    /// The API server says it does not exist.
    Absent,
    /// It exists.
    Present(Box<K>),
}

/// A client of the API server at `server`, which must show a certificate of `ca_pem`.
///
/// # Errors
/// The CA or the client certificate can't be used.
pub fn client(
    server: &ApiServerUrl,
    ca_pem: &[u8],
    credentials: &Credentials<'_>,
) -> Result<Client, Failure> {
    let uri = server
        .as_str()
        .parse()
        .map_err(|e| Failure::new(Reason::ApiUnreachable, format!("`{server}`: {e}")))?;
    let mut config = kube::Config::new(uri);
    let mut roots = Vec::new();
    for pem in x509_parser::pem::Pem::iter_from_buffer(ca_pem).flatten() {
        roots.push(pem.contents);
    }
    config.root_cert = Some(roots);
    // Retries are the reconcile loop's, where `status` shows them.
    config.default_retry = false;
    config.connect_timeout = Some(REQUEST_TIMEOUT);
    // Audit logs are read by people: they should see who asked.
    let program = concat!("kn-agent/", env!("CARGO_PKG_VERSION"));
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(program)));
    match credentials {
        Credentials::Token(token) => config.auth_info.token = Some(token.expose().to_owned().into()),
        Credentials::Certificate(certificate, key) => {
            config.auth_info.client_certificate = Some(certificate.to_string_lossy().into_owned());
            config.auth_info.client_key = Some(key.to_string_lossy().into_owned());
        }
    }
    Client::try_from(config).map_err(|error| classify("make a client for", server.as_str(), &error))
}

/// Creates `request`. That it exists already is success: its name comes from its key and content, so it is ours.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn create_csr(client: &Client, request: &CertificateSigningRequest) -> Result<(), Failure> {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    create(&Api::all(client.clone()), request, name).await.map(drop)
}

/// Creates the Node, and its CSINode. That the Node exists already is success: the watch then shows what it is.
///
/// The CSINode is empty, as the kubelet makes it, and goes with the Node. A kubelet that finds none makes one and is not
/// Ready before that; kubelet 1.20 looks whether it is a moment after its start and then again only after 10 s
/// (`fastStatusUpdateOnce`), so that now and then a join took so much longer. Where it can't be made the kubelet still does.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn create_node(client: &Client, node: &Node) -> Result<(), Failure> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let Some(created) = create(&Api::all(client.clone()), node, &name).await? else { return Ok(()) };
    let owner = OwnerReference {
        api_version: Node::API_VERSION.to_owned(),
        kind: Node::KIND.to_owned(),
        name: name.clone(),
        uid: created.metadata.uid.unwrap_or_default(),
        ..Default::default()
    };
    let csi_node = CSINode {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        spec: CSINodeSpec::default(),
    };
    if let Err(failure) = create(&Api::all(client.clone()), &csi_node, &name).await {
        tracing::info!(why = failure.message, "the kubelet will have to make its CSINode");
    }
    Ok(())
}

/// The object as it was created; `None` where there is one of the name already.
async fn create<K>(api: &Api<K>, object: &K, name: &str) -> Result<Option<K>, Failure>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + serde::Serialize + Debug,
{
    let what = format!("{} `{name}`", K::kind(&()));
    match tokio::time::timeout(REQUEST_TIMEOUT, api.create(&PostParams::default(), object)).await {
        Err(_) => Err(Failure::new(
            Reason::ApiUnreachable,
            format!("cannot create {what}: no answer within {REQUEST_TIMEOUT:?}"),
        )),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(None),
        Ok(Err(error)) => Err(classify("create", &what, &error)),
        Ok(Ok(created)) => Ok(Some(created)),
    }
}

/// Watches the one object `name` for ever, sending what is seen and what is in the way.
///
/// A watch that failed begins anew with a list: one that was resumed would say nothing until the object changes, and
/// what was in the way would seem to stay. Ends when `sink` is closed. The watch is scoped by a field selector, which a
/// node's own identity needs from 1.32 on.
pub async fn watch_one<K>(api: Api<K>, name: String, sink: mpsc::Sender<Result<Seen<K>, Failure>>)
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let what = format!("{} `{name}`", K::kind(&()));
    // 0.8 s to 30 s, with jitter: a fleet that lost its API server does not come back in one second.
    let mut backoff = DefaultBackoff::default();
    loop {
        let Err(error) = watch_until_it_fails(&api, &name, &sink, &mut backoff).await else { return };
        if sink.send(Err(classify_watch(&what, &error))).await.is_err() {
            return;
        }
        let Some(pause) = backoff.next() else { return };
        tokio::time::sleep(pause).await;
    }
}

/// `Ok` when nobody listens any more. What was seen begins the backoff anew.
async fn watch_until_it_fails<K>(
    api: &Api<K>,
    name: &str,
    sink: &mpsc::Sender<Result<Seen<K>, Failure>>,
    backoff: &mut DefaultBackoff,
) -> Result<(), watcher::Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    let mut events = watcher(api.clone(), config).boxed();
    let mut listed = Seen::Absent;
    while let Some(event) = events.next().await {
        let seen = match event? {
            watcher::Event::Init => {
                listed = Seen::Absent;
                continue;
            }
            watcher::Event::InitApply(object) => {
                listed = Seen::Present(Box::new(object));
                continue;
            }
            watcher::Event::InitDone => std::mem::take(&mut listed),
            watcher::Event::Apply(object) => Seen::Present(Box::new(object)),
            watcher::Event::Delete(_) => Seen::Absent,
        };
        backoff.reset();
        if sink.send(Ok(seen)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn classify_watch(what: &str, error: &watcher::Error) -> Failure {
    match error {
        watcher::Error::InitialListFailed(inner)
        | watcher::Error::WatchStartFailed(inner)
        | watcher::Error::WatchFailed(inner) => classify("watch", what, inner),
        watcher::Error::WatchError(status) => {
            Failure::new(by_code(status.code), format!("cannot watch {what}: {}", status.message))
        }
        watcher::Error::NoResourceVersion => {
            Failure::new(Reason::ApiBusy, format!("cannot watch {what}: the answer had no resourceVersion"))
        }
    }
}

fn by_code(code: u16) -> Reason {
    match code {
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        _ => Reason::ApiBusy,
    }
}

fn classify(verb: &str, what: &str, error: &kube::Error) -> Failure {
    if let kube::Error::Api(status) = error {
        return Failure::new(
            by_code(status.code),
            format!("cannot {verb} {what}: {} (HTTP {})", status.message, status.code),
        );
    }
    let reason = if is_certificate_error(error) { Reason::ApiUntrusted } else { Reason::ApiUnreachable };
    Failure::new(reason, format!("cannot {verb} {what}: {}", chain(error)))
}

/// Whether TLS refused the server's certificate somewhere down the chain of causes.
pub(super) fn is_certificate_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        next = match current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    false
}
