use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::*;
use crate::config::{Config, HostFacts, Sources, load};
use crate::observe::certificates;
use crate::observe::token::SeenToken;
use crate::ports::Failure;
use crate::reason::Reason;

const NOW: i64 = 1_800_000_000;

fn pem(name: &str, from: i64, until: i64) -> String {
    let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs());
    let mut params = CertificateParams::new(vec!["n1".to_owned(), "10.0.0.2".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (at(NOW + from), at(NOW + until));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(rcgen::SerialNumber::from(0x0a0b));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn certificate(name: &str, from: i64, until: i64) -> Fact<Option<Certificate>> {
    certificates::parse(pem(name, from, until).as_bytes())
        .map(Some)
        .map_err(|why| Failure::new(Reason::FileTrouble, why))
}

#[expect(clippy::disallowed_methods, reason = "a configuration is read from a file")]
fn config() -> Config {
    let text = format!(
        "cluster:\n  server: https://10.0.0.1:6443\n  ca: {{data: {:?}}}\nnode: {{name: n1}}\n",
        pem("kubernetes", -1000, 1000)
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let sources = Sources { root: "/".into(), only: Some(file.path().to_owned()), env: Vec::new() };
    load(&sources, &HostFacts { hostname: "n1".to_owned(), ..HostFacts::default() }).unwrap().config
}

fn certs(change: impl FnOnce(&mut Looked<'_>)) -> Certs {
    let config = config();
    let mut looked = Looked {
        config: &config,
        client: certificate("system:node:n1", -1000, 9000),
        serving: certificate("system:node:n1", -1000, 9000),
        proxy: certificate("system:kube-proxy", -1300, 10_000),
        ca: Ok((pem("old", -9000, 9000) + &pem("new", -9000, 90_000)).into_bytes()),
        token: Ok(None),
        kubelet_runs: Some(true),
        daemon: Some(daemon(None)),
    };
    change(&mut looked);
    Certs::of(&looked, Timestamp::from_second(NOW).unwrap())
}

/// What the daemon says, with `blocked` as the words of a phase that needs an operator.
fn daemon(blocked: Option<(&str, &str)>) -> crate::status::Document {
    let phases: Vec<serde_json::Value> = blocked
        .map(|(phase, message)| {
            serde_json::json!({"phase": phase, "state": "blocked", "reason": "CsrDenied", "message": message,
                "hint": null, "since": "2027-01-15T08:00:00Z"})
        })
        .into_iter()
        .collect();
    serde_json::from_value(serde_json::json!({
        "schema": "kn-agent.io/status/v1", "node": "n1", "server": "https://10.0.0.1:6443",
        "startedAt": "2027-01-15T08:00:00Z", "publishedAt": "2027-01-15T08:00:00Z", "readyAt": null,
        "ready": true, "phases": phases, "timeline": []
    }))
    .unwrap()
}

#[test]
fn a_node_in_order_has_its_certificates_named_and_the_next_renewals() {
    let all = certs(|_| {});
    assert_eq!(all.exit_code(), 0, "{}", all.text());
    let names: Vec<&str> = all.certificates.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["kubelet-client", "kubelet-serving", "kube-proxy", "ca", "ca-2"]);
    let proxy = &all.certificates[2];
    assert_eq!(proxy.renewal_from, proxy.renewal_until);
    let at = proxy.renewal_from.unwrap().as_second() - NOW;
    assert!((6600..9000).contains(&at), "{at}");
    let client = &all.certificates[0];
    let window = client.renewal_from.zip(client.renewal_until).unwrap();
    assert_eq!((window.0.as_second() - NOW, window.1.as_second() - NOW), (6000, 8000));
    assert_eq!((client.remaining_seconds, client.serial.as_deref()), (Some(9000), Some("0a:0b")));
    let text = all.text();
    for line in [
        "kubelet-client   valid, 2.5 h left\n",
        "  subject   CN=system:node:n1\n",
        "  for       n1, 10.0.0.2\n",
        "  renewed   by the kubelet, between 2027-01-15T09:40:00Z and 2027-01-15T10:13:20Z\n",
        "  renewal   ✓ the kubelet asks with it itself; no token is needed\n",
        "  renewed   by whoever runs the cluster\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn what_is_to_come_and_what_is_lost_have_their_exit_codes() {
    let code = |change: fn(&mut Looked<'_>)| certs(change).exit_code();
    assert_eq!(code(|looked| looked.serving = Ok(None)), 3);
    assert_eq!(code(|looked| looked.kubelet_runs = Some(false)), 3);
    assert_eq!(code(|looked| looked.daemon = None), 3);
    assert_eq!(code(|looked| looked.client = certificate("system:node:n1", -9500, 900)), 4);
    assert_eq!(code(|looked| looked.proxy = Err(Failure::new(Reason::FileTrouble, "broken"))), 4);
    assert_eq!(code(|looked| looked.daemon = Some(daemon(Some(("renewal", "denied"))))), 4);
    assert_eq!(code(|looked| looked.ca = Ok(pem("old", -9000, -1).into_bytes())), 4);
}

#[test]
fn an_expired_identity_says_whether_a_token_is_at_hand() {
    let client = |token: Fact<Option<SeenToken>>| {
        let all = certs(|looked| {
            looked.client = certificate("system:node:n1", -9000, -60);
            (looked.token, looked.daemon) = (token, None);
        });
        assert_eq!((all.exit_code(), all.certificates[0].state), (4, CertificateState::Expired));
        (all.certificates[0].outlook, all.certificates[0].message.clone())
    };
    let how = "on an admin machine: kn-agent token create --node n1 --print token";
    assert_eq!(client(Ok(None)), (Outlook::Blocked, format!("identity.token is not set; {how}")));
    let gone = Failure::new(Reason::TokenMissing, "it is gone");
    assert_eq!(client(Err(gone)), (Outlook::Blocked, format!("it is gone; {how}")));
    let seen = SeenToken { id: Some("abcdef".to_owned()), is_fleeting: false };
    assert_eq!(
        client(Ok(Some(seen))),
        (Outlook::Waiting, "kn-agent asks for another with token abcdef".to_owned())
    );
}

#[test]
fn what_the_daemon_waits_for_is_told_beside_its_certificate() {
    let all = certs(|looked| looked.daemon = Some(daemon(Some(("proxyIdentity", "CSR `x` was denied")))));
    assert_eq!(all.certificates[2].message, "CsrDenied: CSR `x` was denied");
    assert_eq!(all.certificates[0].outlook, Outlook::Good);
}
