//! Of every connection: the right server, TLS 1.2 or later, no redirect, no proxy.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kn_agent::ports::Failure;
use kn_agent::ports::cluster::{self, Credentials};
use kn_agent::reason::Reason;

use super::server::{Authority, Server, json};
use super::{SECRET, TOKEN};

fn created() -> Box<dyn Fn(usize) -> String + Send + Sync> {
    let object = r#"{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"a"},
        "spec":{"request":"","signerName":"a"}}"#;
    Box::new(move |_| json("201 Created", object))
}

/// A signing request by token, as a join begins.
async fn ask(server: &str, ca: &Authority) -> Result<(), Failure> {
    let token = TOKEN.parse().unwrap();
    let client = cluster::client(&server.parse().unwrap(), ca.pem.as_bytes(), &Credentials::Token(&token))?;
    cluster::create_csr(&client, &CertificateSigningRequest::default()).await
}

#[tokio::test]
async fn a_server_of_another_ca_learns_nothing_of_the_token() {
    let (right, wrong) = (Authority::new(), Authority::new());
    let server = Server::tls(&right, created()).await;
    let failure = ask(&server.url, &wrong).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ApiUntrusted, "{}", failure.message);
    server.ended().await;
    assert_eq!((server.connections(), server.everything().as_str()), (1, ""));
    // The control: with the right CA the token arrives.
    ask(&server.url, &right).await.unwrap();
    assert!(server.everything().contains(&format!("Bearer {TOKEN}")), "{}", server.everything());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let authority = Authority::new();
        let target = Server::tls(&authority, created()).await;
        let answer = format!("HTTP/1.1 {status}\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n", target.url);
        let server = Server::tls(&authority, Box::new(move |_| answer.clone())).await;
        let failure = ask(&server.url, &authority).await.unwrap_err();
        assert!(!failure.message.contains(SECRET), "{}", failure.message);
        assert_eq!((server.requests().len(), target.connections()), (1, 0), "{status}");
        // The control: whom it would have led to answers, and writes down.
        ask(&target.url, &authority).await.unwrap();
        assert!(target.everything().contains(SECRET));
    }
}

/// A ServerHello of TLS 1.1: version 0x0302, no session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
const TLS_1_1: &[u8] = &[
    0x16, 0x03, 0x02, 0x00, 0x2a, 0x02, 0x00, 0x00, 0x26, 0x03, 0x02, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 0x00, 0xc0, 0x13, 0x00,
];

#[tokio::test]
async fn tls_before_1_2_is_refused() {
    let authority = Authority::new();
    let server = Server::raw(TLS_1_1).await;
    let failure = ask(&server.url, &authority).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ApiUnreachable, "{}", failure.message);
    server.ended().await;
    assert!(!server.everything().contains(SECRET));
    // After its ClientHello (record type 22) at most an alert (record type 21) came, and nothing else.
    let bytes = server.raw_bytes();
    let hello = 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
    assert_eq!(bytes[0], 22, "{bytes:02x?}");
    let rest = &bytes[hello..];
    assert!(rest.is_empty() || (rest[0], rest.len()) == (21, 7), "{bytes:02x?}");
    // The control: with 1.2, and 1.3, alone the token arrives.
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = Server::of_versions(&authority, &[version], created()).await;
        ask(&server.url, &authority).await.unwrap();
        assert!(server.everything().contains(SECRET));
    }
}

/// Where this test finds the server when it is run anew with proxies in its environment.
const TARGET: &str = "TRANSPORT_TEST_TARGET";
const CA: &str = "TRANSPORT_TEST_CA";

#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used() {
    if let (Ok(server), Ok(pem)) = (std::env::var(TARGET), std::env::var(CA)) {
        let token = TOKEN.parse().unwrap();
        let client = cluster::client(&server.parse().unwrap(), pem.as_bytes(), &Credentials::Token(&token));
        cluster::create_csr(&client.unwrap(), &CertificateSigningRequest::default()).await.unwrap();
        return;
    }
    let authority = Authority::new();
    let server = Server::tls(&authority, created()).await;
    let proxy = Server::raw(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    let address = proxy.url.replace("https://", "http://");
    let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "rules::a_proxy_in_the_environment_is_not_used"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        again.env(name, &address);
    }
    let output = again.env_remove("NO_PROXY").env(TARGET, &server.url).env(CA, &authority.pem).output().await;
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The control of the first: the token came straight to the server. Of the second: who connects is counted.
    assert!(server.everything().contains(SECRET));
    assert_eq!(proxy.connections(), 0);
    ask(&proxy.url, &authority).await.unwrap_err();
    assert_eq!(proxy.connections(), 1);
}
