//! The way to the API server: which kubeconfig, and calls that end in time and fail with a name.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::ByteString;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::{Client, Config};
use thiserror::Error;

/// How long one request may take, connecting included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster as its administrator reaches it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    server: String,
    ca_pem: Option<String>,
    source: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Why there is no client at all. All of it is the operator's input: exit code 2.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing to read.
    #[error(
        "no kubeconfig: `--kubeconfig` is not given, KUBECONFIG is not set and {tried} does not exist; on a \
         control-plane host made by kubeadm: --kubeconfig /etc/kubernetes/admin.conf"
    )]
    NoKubeconfig {
        /// The file that was looked for.
        tried: String,
    },
    /// Something to read, but no kubeconfig.
    #[error("cannot use kubeconfig {file}: {why}")]
    Kubeconfig {
        /// Where it was read from.
        file: String,
        /// What kube says about it.
        why: String,
    },
    /// The service account of the pod we run in is unusable.
    #[error("cannot use the pod's service account: {0}")]
    InCluster(String),
}

/// Why a request did not bring what was asked for.
#[derive(Debug, Error)]
pub enum CallError {
    /// The server answered, with a refusal.
    #[error("cannot {verb} {object} at {server}: {} ({} {}){}", .status.message, .status.code, .status.reason, hint(.status))]
    Refused {
        /// What was to be done.
        verb: &'static str,
        /// To what.
        object: String,
        /// Where.
        server: String,
        /// The answer.
        status: Box<Status>,
    },
    /// No usable answer came.
    #[error("cannot {verb} {object} at {server}: {why}; see whether it answers: curl -k {server}/readyz")]
    Unreachable {
        /// What was to be done.
        verb: &'static str,
        /// To what.
        object: String,
        /// Where.
        server: String,
        /// What happened instead.
        why: String,
    },
}

impl CallError {
    /// Whether the server said that the object changed since we read it.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_conflict())
    }

    /// Whether the server said that an object of this name exists.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_already_exists())
    }

    /// Whether the server said that there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_not_found())
    }
}

/// The next command for a refusal that has one.
fn hint(status: &Status) -> &'static str {
    match status.code {
        401 => {
            "; the kubeconfig's credentials are not accepted: is it this cluster's, has its certificate expired?"
        }
        403 => "; use a cluster administrator's kubeconfig: --kubeconfig FILE",
        _ => "",
    }
}

impl Cluster {
    /// Reads the kubeconfig that `--kubeconfig`, `KUBECONFIG` or the home directory names, in this order; in a pod
    /// without any, the pod's service account. Sends nothing.
    ///
    /// # Errors
    /// Where there is none, or where it does not make a client.
    pub async fn connect(flag: Option<&Path>) -> Result<Self, ConnectError> {
        let (mut config, source) = load(flag).await?;
        config.default_retry = false;
        config.connect_timeout = Some(CALL_TIMEOUT);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let ca_pem = config.root_cert.as_deref().filter(|certs| !certs.is_empty()).map(pem);
        let client = Client::try_from(config)
            .map_err(|error| ConnectError::Kubeconfig { file: source.clone(), why: innermost(&error) })?;
        tracing::debug!(server, kubeconfig = source, "connecting");
        Ok(Self { client, server, ca_pem, source })
    }

    /// A client of its own for `kube::Api`.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API server's address, without a trailing slash.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The host in [`Self::server`]: a name, or an address without brackets.
    pub fn host(&self) -> Option<String> {
        let uri: http::Uri = self.server.parse().ok()?;
        Some(uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned())
    }

    /// The certificates the API server is checked against, as PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Where the client's configuration was read from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Waits for `request`, but not for ever, and names what failed.
    ///
    /// # Errors
    /// Where the server refuses, cannot be reached or does not answer in time.
    pub async fn call<T>(
        &self,
        verb: &'static str,
        object: impl Display,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let unreachable = |why: String| CallError::Unreachable {
            verb,
            object: object.to_string(),
            server: self.server.clone(),
            why,
        };
        match tokio::time::timeout(CALL_TIMEOUT, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(CallError::Refused {
                verb,
                object: object.to_string(),
                server: self.server.clone(),
                status,
            }),
            Ok(Err(error)) => Err(unreachable(innermost(&error))),
            Err(_) => Err(unreachable(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))),
        }
    }
}

/// The first kubeconfig there is, and what to call it.
async fn load(flag: Option<&Path>) -> Result<(Config, String), ConnectError> {
    let options = KubeConfigOptions::default();
    let (kubeconfig, source) = match flag {
        Some(path) => {
            let source = format!("{} (--kubeconfig)", path.display());
            (Kubeconfig::read_from(path).map_err(|e| unusable(&source, &e))?, source)
        }
        None => match Kubeconfig::from_env() {
            Ok(Some(found)) => {
                (found, format!("{} (KUBECONFIG)", std::env::var("KUBECONFIG").unwrap_or_default()))
            }
            Err(error) => {
                let named = std::env::var("KUBECONFIG").unwrap_or_default();
                return Err(unusable(&format!("{named} (KUBECONFIG)"), &error));
            }
            Ok(None) => match home_kubeconfig() {
                Some(path) if path.exists() => {
                    let source = path.display().to_string();
                    (Kubeconfig::read_from(&path).map_err(|e| unusable(&source, &e))?, source)
                }
                path => return in_pod(path),
            },
        },
    };
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| unusable(&source, &e))?;
    Ok((config, source))
}

/// The service account of the pod we run in, if we do.
fn in_pod(tried: Option<PathBuf>) -> Result<(Config, String), ConnectError> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        let tried = tried.map_or_else(|| "~/.kube/config".to_owned(), |path| path.display().to_string());
        return Err(ConnectError::NoKubeconfig { tried });
    }
    let config = Config::incluster_env().map_err(|error| ConnectError::InCluster(error.to_string()))?;
    Ok((config, "the pod's service account".to_owned()))
}

fn home_kubeconfig() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".kube/config"))
}

fn unusable(file: &str, error: &KubeconfigError) -> ConnectError {
    let why = match error {
        // The parser's own message quotes the lines around, and a token may stand in them.
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!("it does not parse as a kubeconfig (line {})", place.line()),
            None => "it does not parse as a kubeconfig".to_owned(),
        },
        error => error.to_string(),
    };
    ConnectError::Kubeconfig { file: file.to_owned(), why }
}

/// What is at the bottom of an error: kube's own texts repeat each cause, its innermost one says what happened.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// Certificates in DER as one PEM text.
fn pem(certificates: &[impl AsRef<[u8]>]) -> String {
    certificates.iter().map(|der| pem_block(der.as_ref())).collect()
}

fn pem_block(der: &[u8]) -> String {
    let mut block = String::from("-----BEGIN CERTIFICATE-----\n");
    // `ByteString` serialises to base64, and to nothing else.
    if let Ok(serde_json::Value::String(base64)) = serde_json::to_value(ByteString(der.to_vec())) {
        for line in base64.as_bytes().chunks(64) {
            block.push_str(&String::from_utf8_lossy(line));
            block.push('\n');
        }
    }
    block.push_str("-----END CERTIFICATE-----\n");
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_blocks_are_read_back_byte_for_byte() {
        let ders = [vec![1_u8; 100], vec![2; 47]];
        let text = pem(&ders);
        let read: Vec<_> =
            x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()).map(|p| p.unwrap()).collect();
        assert_eq!(read.len(), 2);
        assert!(read.iter().zip(&ders).all(|(pem, der)| pem.label == "CERTIFICATE" && &pem.contents == der));
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn a_refusal_names_verb_object_server_and_what_next() {
        let error = CallError::Refused {
            verb: "apply",
            object: "ClusterRole kn-agent:approver".to_owned(),
            server: "https://10.0.0.10:6443".to_owned(),
            status: Status::failure("no", "Forbidden").with_code(403).boxed(),
        };
        let text = error.to_string();
        for part in
            ["apply", "ClusterRole kn-agent:approver", "https://10.0.0.10:6443", "403", "--kubeconfig"]
        {
            assert!(text.contains(part), "{text}");
        }
    }

    #[tokio::test]
    async fn a_kubeconfig_that_does_not_parse_is_not_quoted() {
        for text in [
            "users:\n- name: a\n  user: {token: canary\n",
            "users:\n- name: a\n  user: canary\n",
            "users: canary\n",
            "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n",
            "users:\n- name: a\n  user: {client-key-data: [canary]}\n",
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let error = Cluster::connect(Some(file.path())).await.unwrap_err().to_string();
            assert!(error.contains("does not parse") && !error.contains("canary"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let error = Cluster::connect(Some(Path::new("/nonexistent/config"))).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/config (--kubeconfig)"), "{error}");
    }
}
