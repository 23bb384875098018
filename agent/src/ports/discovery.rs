//! What is asked without credentials: the cluster's public information, from a server that has not proven itself and from
//! one that has; and whether this node's own kubelet turns a stranger away.
//!
//! Nothing here takes a credential, so none can be sent: this is the only place where a server is spoken to whose
//! certificate nobody has checked. What it says of the cluster is one public object; of a kubelet the status is all that
//! is kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::cluster::is_certificate_error;
use super::{Failure, chain, http};
use crate::names::ApiServerUrl;
use crate::reason::Reason;

/// ConfigMap `cluster-info` in namespace `kube-public`, which `kubeadm init` lets everybody read.
const PATH: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// A healthy API server needs milliseconds for the whole exchange.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ConfigMap as JSON, from whoever answers at `server`. Not to be believed before its signature is checked.
///
/// # Errors
/// Nobody answers, or not with this object.
pub async fn from_anybody(server: &ApiServerUrl) -> Result<Vec<u8>, Failure> {
    get(server, of_anybody()?).await
}

/// The HTTP status that a server which nobody has proven answers `path` with.
///
/// # Errors
/// It does not answer, as text.
pub async fn status_for_a_stranger(at: SocketAddr, path: &str) -> Result<u16, String> {
    http::within(async {
        let tls = of_anybody().map_err(|failure| failure.message)?;
        let stream =
            TcpStream::connect(at).await.map_err(|error| format!("cannot connect to {at}: {error}"))?;
        let name = ServerName::from(at.ip());
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
        let stream = stream.map_err(|error| format!("{at}: TLS: {}", chain(&error)))?;
        http::exchange(stream, request(path, &at.to_string())?).await.map(|answer| answer.status)
    })
    .await
}

/// TLS with whoever answers.
fn of_anybody() -> Result<ClientConfig, Failure> {
    let anybody = Arc::new(unproven::Anybody::new());
    Ok(builder()?.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth())
}

fn request(path: &str, host: &str) -> Result<::http::Request<Empty<Bytes>>, String> {
    ::http::Request::get(path)
        .header("host", host)
        .header("accept", "application/json")
        .header("user-agent", concat!("kn-agent/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())
}

/// The ConfigMap as JSON, from a server whose certificate comes from `ca_pem`.
///
/// # Errors
/// The server's certificate comes from somebody else, nobody answers, or not with this object.
pub async fn from_proven(server: &ApiServerUrl, ca_pem: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut roots = RootCertStore::empty();
    for block in
        x509_parser::pem::Pem::iter_from_buffer(ca_pem).flatten().filter(|b| b.label == "CERTIFICATE")
    {
        let added = roots.add(CertificateDer::from(block.contents));
        added.map_err(|error| Failure::new(Reason::CaUnusable, format!("the cluster's CA: {error}")))?;
    }
    get(server, builder()?.with_root_certificates(roots).with_no_client_auth()).await
}

/// TLS 1.2 and 1.3, no early data.
fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(Reason::ApiUnreachable, format!("TLS: {error}")))
}

async fn get(server: &ApiServerUrl, tls: ClientConfig) -> Result<Vec<u8>, Failure> {
    let what = format!("cannot read ConfigMap `kube-public/cluster-info` at {server}");
    let unreachable = |why: String| Failure::new(Reason::ApiUnreachable, format!("{what}: {why}"));
    let answer = async {
        let name = ServerName::try_from(server.host().to_owned()).map_err(|e| unreachable(e.to_string()))?;
        let stream = TcpStream::connect((server.host(), server.port()))
            .await
            .map_err(|error| unreachable(format!("cannot connect: {error}")))?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(|error| {
            let untrusted = is_certificate_error(&error);
            let reason = if untrusted { Reason::ApiUntrusted } else { Reason::ApiUnreachable };
            Failure::new(reason, format!("{what}: TLS: {}", chain(&error)))
        })?;
        let host = server.as_str().trim_start_matches("https://");
        let request = request(PATH, host).map_err(unreachable)?;
        http::exchange(stream, request).await.map_err(unreachable)
    };
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .map_err(|_| unreachable(format!("no answer within {PATIENCE:?}")))??;
    let (reason, why) = match answer.status {
        200 => return Ok(answer.body),
        status @ 300..=399 => {
            (Reason::ClusterInfoUnusable, format!("it answered {status}; redirects are not followed"))
        }
        404 => (Reason::ClusterInfoMissing, "it does not exist (404)".to_owned()),
        status @ (401 | 403) => {
            (Reason::ClusterInfoMissing, format!("whom it does not know may not read it ({status})"))
        }
        status if status == 429 || status >= 500 => (Reason::ApiBusy, format!("it answered {status}")),
        status => (Reason::ClusterInfoUnusable, format!("it answered {status}")),
    };
    Err(Failure::new(reason, format!("{what}: {why}")))
}

/// The verifier that accepts every server. Private to this file: no other connection can be made with it.
mod unproven {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct Anybody(CryptoProvider);

    impl Anybody {
        pub(super) fn new() -> Self {
            Self(aws_lc_rs::default_provider())
        }
    }

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
