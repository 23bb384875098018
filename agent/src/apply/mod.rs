//! Steps are done here, and nothing is decided.

mod discover;

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use kube::Client;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::desired::paths;
use crate::names::Token;
use crate::observe::certificates::{self, REFUSALS};
use crate::observe::{token, trust};
use crate::plan::Step;
use crate::ports::cluster::{self, Credentials};
use crate::ports::root::Root;
use crate::ports::systemd::Systemd;
use crate::ports::{Failure, keys};
use crate::reason::Reason;

/// Everything a step may act on.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file system.
    pub root: Root,
    /// systemd, or why it can't be reached.
    pub systemd: Result<Systemd, Failure>,
    /// The configuration: where credentials are.
    pub config: Arc<Config>,
}

/// Does one step.
///
/// # Errors
/// It was not done, or not wholly; doing it again is safe.
pub async fn apply(step: &Step, target: &Target) -> Result<(), Failure> {
    let root = target.root.clone();
    let systemd = || target.systemd.as_ref().map_err(Clone::clone);
    match step.clone() {
        Step::WriteFile(file) => on_disk(move || root.write(&file.path, &file.content, file.mode)).await,
        Step::MakeDirectory { path, mode } => on_disk(move || root.make_dir(&path, mode)).await,
        Step::RemoveFile(path) => on_disk(move || root.remove(&path)).await,
        Step::DiscoverCa { server, pins } => discover::discover(target, &server, &pins).await,
        Step::EnableUnits(units) => systemd()?.enable(&units).await,
        Step::ReloadSystemd => systemd()?.reload().await,
        Step::RetireUnit(unit) => {
            let systemd = systemd()?;
            systemd.disable(unit).await?;
            systemd.stop(unit).await?;
            // Last: while it is there, the rest is still to be done.
            on_disk(move || root.remove(&paths::units().join(unit))).await
        }
        Step::AwaitUnit(unit) => systemd()?.await_up(unit).await,
        Step::StartUnit(unit) => systemd()?.start(unit, false).await,
        Step::RestartUnit { unit, .. } => systemd()?.start(unit, true).await,
        Step::MakeKey { path, refusals } => {
            let config = Arc::clone(&target.config);
            on_disk(move || make_key(&root, &path, refusals, &config)).await
        }
        Step::KeepToken => {
            let config = Arc::clone(&target.config);
            on_disk(move || keep_token(&root, &config)).await
        }
        Step::SubmitRequest { certificate, name } => submit(target, &certificate, &name).await,
        Step::InstallCertificate { certificate, pem, path, link } => {
            on_disk(move || install(&root, &certificate, &pem, &path, link.as_deref())).await
        }
        Step::CreateNode(node) => cluster::create_node(&node_client(target)?, &node).await,
    }
}

/// What waits for a disk or computes a key is done on a thread of its own: everything else goes on.
async fn on_disk(work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Result<(), Failure> {
    let ended = |error| Failure::new(Reason::FileTrouble, format!("the step was cut short: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

fn make_key(root: &Root, path: &Path, refusals: u32, config: &Config) -> Result<(), Failure> {
    let key = keys::generate(config.identity.key).map_err(|why| Failure::new(Reason::FileTrouble, why))?;
    if let Some(directory) = path.parent() {
        root.make_dir(directory, 0o700)?;
    }
    let mut text = Zeroizing::new(String::new());
    if refusals > 0 {
        let _ = writeln!(text, "{REFUSALS}{refusals}");
    }
    text.push_str(key.expose_secret());
    root.write(path, text.as_bytes(), 0o600)
}

fn keep_token(root: &Root, config: &Config) -> Result<(), Failure> {
    let gone = || Failure::new(Reason::TokenMissing, "identity.token is not set");
    let token = token::read(root, config)?.ok_or_else(gone)?;
    root.write(paths::kept_token(), token.expose().as_bytes(), 0o600)
}

fn waiting_key(root: &Root, path: &Path) -> Result<SecretString, Failure> {
    let gone = || Failure::new(Reason::FileTrouble, format!("the key `{}` is gone", path.display()));
    let file = root.read(path)?.ok_or_else(gone)?;
    certificates::key_in(&Zeroizing::new(file.content)).ok_or_else(gone)
}

async fn submit(target: &Target, certificate: &CertificateSpec, name: &str) -> Result<(), Failure> {
    let key = waiting_key(&target.root, certificate.pending_key)?;
    let pem =
        keys::request(&key, &certificate.subject).map_err(|why| Failure::new(Reason::FileTrouble, why))?;
    let client = request_client(target, certificate.purpose)?;
    cluster::create_csr(&client, &certificate.request_object(name, pem)).await
}

fn install(
    root: &Root,
    certificate: &CertificateSpec,
    pem: &[u8],
    path: &Path,
    link: Option<&Path>,
) -> Result<(), Failure> {
    let key = waiting_key(root, certificate.pending_key)?;
    let mut both = Zeroizing::new(pem.to_vec());
    if !both.ends_with(b"\n") {
        both.push(b'\n');
    }
    both.extend_from_slice(key.expose_secret().as_bytes());
    if let Some(directory) = path.parent() {
        root.make_dir(directory, 0o750)?;
    }
    root.write(path, &both, 0o600)?;
    match (link, path.file_name().and_then(|name| name.to_str())) {
        (Some(link), Some(name)) => root.link(link, name),
        _ => Ok(()),
    }
}

/// A client with the node's own certificate.
///
/// # Errors
/// Certificate or CA can't be used.
pub fn node_client(target: &Target) -> Result<Client, Failure> {
    let (certificate, key) = match &target.config.identity.supplied {
        Some(pair) => (target.root.path(&pair.certificate), target.root.path(&pair.key)),
        None => (target.root.path(paths::kubelet_client()), target.root.path(paths::kubelet_client())),
    };
    let ca = trust::bundle(&target.root, &target.config)?;
    cluster::client(&target.config.cluster.server, &ca, &Credentials::Certificate(&certificate, &key))
}

/// A client that may ask for the certificate: by token for the node's first, as the node itself for kube-proxy's.
///
/// # Errors
/// The token can't be read, or the CA can't be used.
pub fn request_client(target: &Target, purpose: Purpose) -> Result<Client, Failure> {
    if purpose == Purpose::KubeProxy {
        return node_client(target);
    }
    let token = token(target)?;
    let ca = trust::bundle(&target.root, &target.config)?;
    cluster::client(&target.config.cluster.server, &ca, &Credentials::Token(&token))
}

/// The token, read anew each time, so that one that was replaced is used at once.
fn token(target: &Target) -> Result<Token, Failure> {
    let missing = || Failure::new(Reason::TokenMissing, "identity.token is not set");
    token::read(&target.root, &target.config)?.ok_or_else(missing)
}
