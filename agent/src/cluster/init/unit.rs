//! The approver as a unit of this host: its credentials in a file, and systemd asked to start it.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::WatchParams;
use kube::core::{Request, Resource};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::apply::Session;
use super::{Applied, Change, InitError};
use crate::cluster::client::{CallError, Cluster};
use crate::cluster::{APPROVER_TOKEN, NAMESPACE};
use crate::names::ApiServerUrl;
use crate::ports::Failure;
use crate::ports::root::Root;
use crate::ports::systemd::Systemd;
use crate::reason::Reason;

/// The unit in our package.
const UNIT: &str = "kn-agent-approver.service";

/// How long the controller-manager may take to fill the Secret: it needs milliseconds, and a new leader half a minute.
const FILL_LIMIT: Duration = Duration::from_secs(45);

/// Nobody but root reads it: whoever does can approve certificates.
const MODE: u32 = 0o600;

/// Writes the credentials to `path` and, where asked to, has the unit started with them.
pub(super) async fn set_up(
    session: &Session<'_>,
    server: &ApiServerUrl,
    path: &Path,
    start: bool,
) -> Result<Vec<Applied>, InitError> {
    let token =
        if session.dry_run { read(session.cluster).await? } else { Some(filled(session.cluster).await?) };
    let ca = session.cluster.ca_pem().unwrap_or_default();
    let wanted = token.map(|token| kubeconfig(server, ca, &token)).transpose()?;
    let root = Root::new("/");
    let found = root.read(path).map_err(InitError::Host)?;
    let result = match (&found, &wanted) {
        (None, _) => Change::Created,
        (Some(found), Some(wanted))
            if found.mode == MODE && found.content == wanted.expose_secret().as_bytes() =>
        {
            Change::Unchanged
        }
        _ => Change::Changed,
    };
    if let (Some(wanted), false, true) = (&wanted, session.dry_run, result != Change::Unchanged) {
        root.write(path, wanted.expose_secret().as_bytes(), MODE).map_err(InitError::Host)?;
    }
    let mut applied = vec![local("File", &path.display().to_string(), result, &[])];
    if start {
        applied.push(run_unit(session.dry_run, result != Change::Unchanged).await.map_err(InitError::Host)?);
    }
    Ok(applied)
}

/// Has the unit enabled and running, with the credentials as they are now.
async fn run_unit(dry_run: bool, restart: bool) -> Result<Applied, Failure> {
    let systemd = Systemd::connect(None).await?;
    let state = systemd.unit(UNIT).await?;
    if state.load == "not-found" && !dry_run {
        let message = format!(
            "systemd knows no `{UNIT}`; the credentials are written; install the package kn-agent on this host and run \
             this again, or run `kn-agent approver` yourself (--no-start)"
        );
        return Err(Failure::new(Reason::UnitFailed, message));
    }
    let mut fields = Vec::new();
    if state.enabled != "enabled" {
        fields.push("enabled");
    }
    if !state.is_active() || restart {
        fields.push("running");
    }
    if !dry_run && fields.contains(&"enabled") {
        systemd.enable(&[UNIT]).await?;
        systemd.reload().await?;
    }
    if !dry_run && fields.contains(&"running") {
        systemd.start(UNIT, restart).await?;
    }
    let result = if fields.is_empty() { Change::Unchanged } else { Change::Changed };
    Ok(local("Unit", UNIT, result, &fields))
}

fn local(kind: &str, name: &str, result: Change, fields: &[&str]) -> Applied {
    let fields = fields.iter().map(|&field| field.to_owned()).collect();
    Applied { kind: kind.to_owned(), name: name.to_owned(), result, fields, diff: String::new() }
}

/// What is read of the Secret: nothing else of it gets into a structure.
#[derive(Deserialize)]
struct Filled {
    #[serde(default)]
    data: FilledData,
}

#[derive(Default, Deserialize)]
struct FilledData {
    token: Option<ByteString>,
}

fn path() -> String {
    format!("Secret {NAMESPACE}/{APPROVER_TOKEN}")
}

/// The token, where the Secret is there and filled. As text: a client that fails to parse an answer logs it.
async fn read(cluster: &Cluster) -> Result<Option<SecretString>, CallError> {
    let url = Secret::url_path(&(), Some(NAMESPACE));
    let request = Request::new(url).get(APPROVER_TOKEN, &kube::api::GetParams::default());
    let client = cluster.client();
    let answer = async { client.request_text(request.map_err(kube::Error::BuildRequest)?).await };
    let text = match cluster.call("get", path(), answer).await {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => Zeroizing::new(answer?),
    };
    let filled: Option<Filled> = serde_json::from_str(&text).ok();
    let token = filled.and_then(|filled| String::from_utf8(filled.data.token?.0).ok());
    Ok(token.filter(|token| !token.is_empty()).map(SecretString::from))
}

/// The token, as soon as the controller-manager has put it there. Only the Secret's metadata is watched.
async fn filled(cluster: &Cluster) -> Result<SecretString, InitError> {
    let wait = async {
        loop {
            let api: Api<Secret> = Api::namespaced(cluster.client(), NAMESPACE);
            let params = WatchParams::default().fields(&format!("metadata.name={APPROVER_TOKEN}"));
            // From 0: what is there comes first, so that nothing falls between a look and the watch.
            let events = cluster.call("watch", path(), api.watch_metadata(&params, "0")).await?;
            let mut events = pin!(events);
            while let Some(event) = events.next().await {
                cluster.call("watch", path(), std::future::ready(event.map(drop))).await?;
                if let Some(token) = read(cluster).await? {
                    return Ok(token);
                }
            }
        }
    };
    match tokio::time::timeout(FILL_LIMIT, wait).await {
        Ok(token) => token,
        Err(_) => Err(InitError::NoToken {
            name: format!("{NAMESPACE}/{APPROVER_TOKEN}"),
            seconds: FILL_LIMIT.as_secs(),
        }),
    }
}

/// A kubeconfig for the approver's account.
fn kubeconfig(server: &ApiServerUrl, ca: &str, token: &SecretString) -> Result<SecretString, InitError> {
    let ca = ByteString(ca.as_bytes().to_vec());
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster",
            "cluster": {"server": server.as_str(), "certificate-authority-data": ca}}],
        "users": [{"name": "approver", "user": {"token": token.expose_secret()}}],
        "contexts": [{"name": "approver", "context": {"cluster": "cluster", "user": "approver"}}],
        "current-context": "approver",
    });
    // The error is not told: it might quote what it could not write.
    let unwritten = |_| Failure::new(Reason::FileTrouble, "cannot write the approver's kubeconfig as YAML");
    // Each value on a line of its own, as people expect of this file.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(&document, options);
    text.map(SecretString::from).map_err(|error| InitError::Host(unwritten(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfig_is_one_that_a_client_takes_and_names_the_account() {
        let server = "https://10.0.0.10:6443".parse().unwrap();
        let token = "e30.canary".repeat(100);
        let text = kubeconfig(&server, "PEM", &token.clone().into()).unwrap();
        assert!(text.expose_secret().lines().any(|line| line.trim().ends_with(&format!("token: {token}"))));
        let read = kube::config::Kubeconfig::from_yaml(text.expose_secret()).unwrap();
        let cluster = read.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://10.0.0.10:6443"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("UEVN"));
        let found = read.auth_infos[0].auth_info.clone().unwrap().token.unwrap();
        assert_eq!(found.expose_secret(), token);
        assert_eq!(read.current_context.as_deref(), Some("approver"));
    }

    #[test]
    fn only_the_token_of_a_secret_is_read() {
        let filled: Filled =
            serde_json::from_str(r#"{"data": {"token": "YWJj", "ca.crt": "UEVN"}, "kind": "Secret"}"#)
                .unwrap();
        assert_eq!(filled.data.token.unwrap().0, b"abc");
        let empty: Filled = serde_json::from_str(r#"{"kind": "Secret"}"#).unwrap();
        assert!(empty.data.token.is_none());
    }
}
