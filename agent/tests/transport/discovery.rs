//! Discovery by pins: what is refused, with which reason, and that the token stays here meanwhile.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use k8s_openapi::ByteString;
use kn_agent::apply::{Target, apply};
use kn_agent::config::{HostFacts, Sources, load};
use kn_agent::desired::{cluster_info, paths};
use kn_agent::names::CaPin;
use kn_agent::plan::Step;
use kn_agent::ports::Failure;
use kn_agent::ports::root::Root;
use kn_agent::reason::Reason;
use serde_json::{Value, json as object};

use super::server::{Authority, Server, json};
use super::{SECRET, TOKEN};

fn base64(bytes: &[u8]) -> String {
    let Value::String(text) = serde_json::to_value(ByteString(bytes.to_vec())).unwrap() else { panic!() };
    text
}

fn base64url(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn kubeconfig(ca: &str) -> String {
    object!({"apiVersion": "v1", "kind": "Config", "clusters": [
        {"name": "", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": base64(ca.as_bytes())}},
    ]})
    .to_string()
}

/// The ConfigMap as the API server answers it, signed with `secret`.
fn cluster_info_with(kubeconfig: &str, secret: &str) -> String {
    let header = base64url(br#"{"alg":"HS256","kid":"abcdef"}"#);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{header}.{}", base64url(kubeconfig.as_bytes())).as_bytes());
    let signature = format!("{header}..{}", base64url(tag.as_ref()));
    let data = object!({"kubeconfig": kubeconfig, "jws-kubeconfig-abcdef": signature});
    json("200 OK", &object!({"kind": "ConfigMap", "data": data}).to_string())
}

fn pin(ca: &Authority) -> CaPin {
    cluster_info::sort(&[], ca.pem.as_bytes()).unwrap().1.remove(0)
}

/// A machine that knows the CA by its pin.
struct Machine {
    directory: tempfile::TempDir,
    target: Target,
    step: Step,
}

impl Machine {
    fn new(server: &str, pins: &[CaPin]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yaml");
        let pins_text: Vec<String> = pins.iter().map(ToString::to_string).collect();
        let text = object!({
            "cluster": {"server": server, "ca": {"pins": pins_text}}, "identity": {"token": {"value": TOKEN}},
        });
        std::fs::write(&file, text.to_string()).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let sources = Sources { root: directory.path().to_owned(), only: Some(file), env: Vec::new() };
        let config =
            load(&sources, &HostFacts { hostname: "n1".to_owned(), ..HostFacts::default() }).unwrap().config;
        let target = Target {
            root: Root::new(directory.path()),
            systemd: Err(Failure::new(Reason::SystemdTrouble, "none here")),
            config: Arc::new(config),
        };
        let step = Step::DiscoverCa { server: server.parse().unwrap(), pins: pins.to_vec() };
        Self { directory, target, step }
    }

    async fn discover(&self) -> Result<(), Failure> {
        apply(&self.step, &self.target).await
    }

    fn holds(&self, path: &Path) -> Option<Vec<u8>> {
        self.target.root.read(path).unwrap().map(|file| file.content)
    }
}

/// Discovery at a server that answers so must fail with `reason`, write nothing, and keep the token here.
async fn is_refused(
    ca: &Authority,
    answers: super::server::Answers,
    pins: &[CaPin],
    reason: Reason,
) -> Vec<String> {
    let server = Server::tls(ca, answers).await;
    let machine = Machine::new(&server.url, pins);
    let failure = machine.discover().await.unwrap_err();
    assert_eq!(failure.reason, reason, "{}", failure.message);
    assert!(!failure.message.contains(SECRET), "{}", failure.message);
    assert_eq!((machine.holds(paths::ca()), machine.holds(paths::discovered_ca())), (None, None), "{reason}");
    server.ended().await;
    assert!(!server.everything().contains(SECRET), "{reason}: {}", server.everything());
    assert!(!server.everything().to_lowercase().contains("authorization"), "{reason}");
    server.requests()
}

#[tokio::test]
async fn a_pinned_ca_is_found_and_only_then_the_token_is_sent() {
    let ca = Authority::new();
    let right = cluster_info_with(&kubeconfig(&ca.pem), SECRET);
    let server = Server::tls(&ca, Box::new(move |_| right.clone())).await;
    let machine = Machine::new(&server.url, &[pin(&ca)]);
    let observed = kn_agent::observe::trust::bundle(&machine.target.root, &machine.target.config);
    assert_eq!(observed.unwrap_err().reason, Reason::CaUndiscovered);
    machine.discover().await.unwrap();
    assert_eq!(machine.holds(paths::ca()), Some(ca.pem.clone().into_bytes()));
    assert_eq!(server.requests().len(), 2, "once from anybody, once from who has proven himself");
    for request in server.requests() {
        assert!(
            request.starts_with("GET /api/v1/namespaces/kube-public/configmaps/cluster-info HTTP/1.1\r\n")
        );
    }
    assert!(!server.everything().contains(SECRET));
    // The control: the client that is made with what was found does send it, and the search finds it.
    let client = kn_agent::apply::request_client(
        &machine.target,
        kn_agent::desired::certificates::Purpose::KubeletClient,
    );
    let request = k8s_openapi::api::certificates::v1::CertificateSigningRequest::default();
    let _ = kn_agent::ports::cluster::create_csr(&client.unwrap(), &request).await;
    assert!(server.everything().contains(SECRET), "{}", server.everything());
}

#[tokio::test]
async fn a_bundle_on_disk_is_believed_only_while_it_is_the_one_that_was_found() {
    let (ca, other) = (Authority::new(), Authority::new());
    // While a CA is replaced there are two, of which one is pinned.
    let both = format!("{}{}", ca.pem, other.pem);
    let right = cluster_info_with(&kubeconfig(&both), SECRET);
    let server = Server::tls(&ca, Box::new(move |_| right.clone())).await;
    let machine = Machine::new(&server.url, &[pin(&ca)]);
    machine.discover().await.unwrap();
    let believed = || kn_agent::observe::trust::bundle(&machine.target.root, &machine.target.config);
    assert_eq!(believed().unwrap(), both.as_bytes());
    let put = |text: &str| machine.target.root.write(paths::ca(), text.as_bytes(), 0o644).unwrap();
    // Somebody adds a certificate to it, or puts another one there.
    let third = Authority::new();
    for (text, part) in [
        (format!("{both}{}", third.pem), "is not the bundle that was found"),
        (other.pem.clone(), "expected sha256:"),
        (String::new(), "holds no certificate"),
    ] {
        put(&text);
        let failure = believed().unwrap_err();
        assert!(failure.message.contains(part), "{}", failure.message);
        assert!(kn_agent::apply::node_client(&machine.target).is_err());
    }
    // Where all of it is pinned, nothing needs to be remembered.
    put(&ca.pem);
    machine.target.root.remove(paths::discovered_ca()).unwrap();
    assert_eq!(believed().unwrap(), ca.pem.as_bytes());
    assert!(machine.directory.path().exists());
}

#[tokio::test]
async fn what_is_not_signed_or_not_pinned_is_refused_after_one_question() {
    let ca = Authority::new();
    let pins = [pin(&ca)];
    let text = kubeconfig(&ca.pem);
    let cases: Vec<(String, Vec<CaPin>, Reason)> = vec![
        (cluster_info_with(&text, "another0secret00"), pins.to_vec(), Reason::ClusterInfoForged),
        (
            cluster_info_with(&text, SECRET).replace("10.0.0.1:6443", "10.6.6.6:6443"),
            pins.to_vec(),
            Reason::ClusterInfoForged,
        ),
        (
            cluster_info_with(&text, SECRET).replace("jws-kubeconfig-abcdef", "jws-kubeconfig-fedcba"),
            pins.to_vec(),
            Reason::ClusterInfoUnsigned,
        ),
        (cluster_info_with(&text, SECRET), vec![pin(&Authority::new())], Reason::CaPinMismatch),
        (json("403 Forbidden", "{}"), pins.to_vec(), Reason::ClusterInfoMissing),
        (json("401 Unauthorized", "{}"), pins.to_vec(), Reason::ClusterInfoMissing),
        (json("404 Not Found", "{}"), pins.to_vec(), Reason::ClusterInfoMissing),
        (json("503 Service Unavailable", "{}"), pins.to_vec(), Reason::ApiBusy),
        (json("200 OK", "nonsense"), pins.to_vec(), Reason::ClusterInfoUnusable),
        (json("200 OK", &" ".repeat(5 << 20)), pins.to_vec(), Reason::ApiUnreachable),
    ];
    for (answer, pins, reason) in cases {
        let requests = is_refused(&ca, Box::new(move |_| answer.clone()), &pins, reason).await;
        assert_eq!(requests.len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_its_own_ca_does_not_vouch_for_is_not_asked_again() {
    // Whoever is in between passes on what the cluster says, and cannot have a certificate of its CA.
    let (ca, between) = (Authority::new(), Authority::new());
    let answer = cluster_info_with(&kubeconfig(&ca.pem), SECRET);
    let requests =
        is_refused(&between, Box::new(move |_| answer.clone()), &[pin(&ca)], Reason::ApiUntrusted).await;
    assert_eq!(requests.len(), 1);
}

#[tokio::test]
async fn a_second_answer_that_differs_is_refused() {
    let ca = Authority::new();
    let first = cluster_info_with(&kubeconfig(&ca.pem), SECRET);
    let second = cluster_info_with(&kubeconfig(&format!("{}{}", ca.pem, Authority::new().pem)), SECRET);
    let answers = move |n| if n == 0 { first.clone() } else { second.clone() };
    let requests = is_refused(&ca, Box::new(answers), &[pin(&ca)], Reason::ClusterInfoChanged).await;
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn a_redirect_of_public_information_is_not_followed() {
    let ca = Authority::new();
    let right = cluster_info_with(&kubeconfig(&ca.pem), SECRET);
    let target = Server::tls(&ca, Box::new(move |_| right.clone())).await;
    let answer =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", target.url);
    is_refused(&ca, Box::new(move |_| answer.clone()), &[pin(&ca)], Reason::ClusterInfoUnusable).await;
    assert_eq!(target.connections(), 0);
    // The control: asked itself, it would do.
    Machine::new(&target.url, &[pin(&ca)]).discover().await.unwrap();
}
