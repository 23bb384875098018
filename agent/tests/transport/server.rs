//! A TLS server that writes down what it is told.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Who issues server certificates.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// One of a common name: two of them differ in their keys alone.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        Self { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    fn acceptor(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What a server answers to its n-th request, beginning with 0: status line, headers and body.
pub(crate) type Answers = Box<dyn Fn(usize) -> String + Send + Sync>;

/// A server on loopback.
pub(crate) struct Server {
    pub(crate) url: String,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    connections: usize,
    ended: usize,
    /// What came through TLS; before the handshake is over nothing can.
    requests: Vec<String>,
    /// What came without TLS.
    raw: Vec<u8>,
}

impl Server {
    /// One that speaks TLS with a certificate of `authority`.
    pub(crate) async fn tls(authority: &Authority, answers: Answers) -> Self {
        Self::of_versions(authority, rustls::ALL_VERSIONS, answers).await
    }

    pub(crate) async fn of_versions(
        authority: &Authority,
        versions: &[&'static rustls::SupportedProtocolVersion],
        answers: Answers,
    ) -> Self {
        let acceptor = authority.acceptor(versions);
        let answers = Arc::new(answers);
        Self::on_loopback(move |stream, received| {
            let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let request = head(&mut stream).await;
                let number = {
                    let mut received = received.lock().unwrap();
                    received.requests.push(request);
                    received.requests.len() - 1
                };
                let _ = stream.write_all(answers(number).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// One that writes down what comes and answers the first bytes with `answer`.
    pub(crate) async fn raw(answer: &'static [u8]) -> Self {
        Self::on_loopback(move |mut stream, received| async move {
            let mut buffer = [0; 4096];
            let mut begun = false;
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                received.lock().unwrap().raw.extend_from_slice(&buffer[..count]);
                if !std::mem::replace(&mut begun, true) {
                    let _ = stream.write_all(answer).await;
                }
            }
        })
        .await
    }

    async fn on_loopback<F>(serve: impl Fn(TcpStream, Arc<Mutex<Received>>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let (served, shared) = (serve(stream, Arc::clone(&shared)), Arc::clone(&shared));
                tokio::spawn(async move {
                    served.await;
                    shared.lock().unwrap().ended += 1;
                });
            }
        });
        Self { url, received }
    }

    /// Waits until every connection has ended: nothing more comes.
    pub(crate) async fn ended(&self) {
        let is_over = || {
            let received = self.received.lock().unwrap();
            received.connections == received.ended
        };
        let over = async {
            while !is_over() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), over).await.unwrap();
    }

    pub(crate) fn connections(&self) -> usize {
        self.received.lock().unwrap().connections
    }

    /// The requests that came through TLS.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.received.lock().unwrap().requests.clone()
    }

    /// Everything that came, with and without TLS.
    pub(crate) fn everything(&self) -> String {
        let received = self.received.lock().unwrap();
        received.requests.concat() + &String::from_utf8_lossy(&received.raw)
    }

    pub(crate) fn raw_bytes(&self) -> Vec<u8> {
        self.received.lock().unwrap().raw.clone()
    }
}

/// A request's head and the body that came with it.
async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !text.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// An answer with a JSON body.
pub(crate) fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
