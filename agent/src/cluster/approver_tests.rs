//! What the approver knows by itself, without a cluster.

use super::*;

#[test]
fn pauses_grow_and_are_never_long() {
    assert_eq!(pause(Duration::ZERO), Duration::from_millis(500));
    assert_eq!(pause(Duration::from_secs(4)), Duration::from_secs(2));
    assert_eq!(pause(Duration::from_hours(1)), Duration::from_secs(8));
    let mut backoff = WatchBackoff::default();
    let pauses: Vec<u128> = backoff.by_ref().take(5).map(|pause| pause.as_millis()).collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 4000]);
    backoff.reset();
    assert_eq!(backoff.next(), Some(Duration::from_millis(500)));
}

#[test]
fn decided_requests_are_known_by_their_conditions() {
    let mut csr = CertificateSigningRequest::default();
    assert!(!is_decided(&csr));
    csr.status.get_or_insert_default().conditions = Some(vec![condition("x")]);
    assert!(is_decided(&csr));
}

#[test]
fn addresses_of_a_node_are_those_its_kubelet_asks_for() {
    let node = serde_json::json!({"metadata": {"name": "n1"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "10.0.0.1"},
        {"type": "Hostname", "address": "10.0.0.2"},
        {"type": "Hostname", "address": "n1"},
        {"type": "ExternalDNS", "address": "n1.example"},
        {"type": "InternalIP", "address": "not-an-ip"},
        {"type": "Other", "address": "10.0.0.3"},
    ]}});
    let known = addresses(&serde_json::from_value(node).unwrap());
    assert_eq!(known.dns_names, ["n1", "n1.example"]);
    assert_eq!(known.addresses, ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()));
}
