//! What is read of Nodes and of the Service, and that the indexes follow.

use super::*;

fn node(value: serde_json::Value) -> Node {
    serde_json::from_value(value).unwrap()
}

#[test]
fn addresses_of_a_node_are_those_its_kubelet_asks_for() {
    let facts =
        NodeFacts::of(&node(serde_json::json!({"metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "Hostname", "address": "10.0.0.2"},
            {"type": "Hostname", "address": "n1"},
            {"type": "ExternalDNS", "address": "n1.example"},
            {"type": "InternalIP", "address": "not-an-ip"},
            {"type": "Other", "address": "10.0.0.3"},
        ]}})));
    assert_eq!(facts.dns_names, ["n1", "n1.example"]);
    assert_eq!(facts.addresses, ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    assert!(!facts.control_plane);
}

#[test]
fn a_node_is_ready_only_where_its_condition_says_so() {
    let made = "2026-01-01T00:00:00Z";
    let changed = "2026-01-02T00:00:00Z";
    let with = |conditions: serde_json::Value| {
        let metadata = serde_json::json!({"name": "n1", "creationTimestamp": made});
        NodeFacts::of(&node(serde_json::json!({"metadata": metadata, "status": {"conditions": conditions}})))
            .not_ready_since
    };
    let condition = |status: &str| serde_json::json!([{"type": "Ready", "status": status, "lastTransitionTime": changed}]);
    assert_eq!(with(condition("True")), None);
    assert_eq!(with(condition("False")), Some(changed.parse().unwrap()));
    assert_eq!(with(condition("Unknown")), Some(changed.parse().unwrap()));
    assert_eq!(with(serde_json::json!([])), Some(made.parse().unwrap()));
    assert_eq!(with(serde_json::json!([{"type": "Ready", "status": "False"}])), Some(Timestamp::MAX));
}

#[test]
fn others_are_found_by_address_and_name_until_they_are_gone() {
    let facts = |ip: &str, dns: &str| NodeFacts {
        dns_names: vec![dns.to_owned()],
        addresses: vec![ip.parse().unwrap()],
        not_ready_since: None,
        control_plane: false,
    };
    let mut inventory = Inventory::default();
    assert!(inventory.set("a", facts("10.0.0.1", "A.corp")));
    assert!(!inventory.set("a", facts("10.0.0.1", "A.corp")), "nothing changed");
    assert!(inventory.set("b", facts("10.0.0.2", "b.corp")));
    let mapped = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(inventory.other_at(mapped, "b"), Some("a"));
    assert_eq!(inventory.other_at(mapped, "a"), None);
    assert_eq!(inventory.other_named("a.CORP.", "b"), Some("a"));
    assert_eq!(inventory.other_named("A", "b"), Some("a"), "its own name counts too");
    // Both claim it: each is another to the other.
    assert!(inventory.set("b", facts("10.0.0.1", "b.corp")));
    assert_eq!(inventory.other_at(mapped, "a"), Some("b"));
    assert!(inventory.remove("a") && !inventory.remove("a"));
    assert_eq!((inventory.other_at(mapped, "b"), inventory.other_named("a.corp", "b")), (None, None));
    assert_eq!(inventory.names().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn api_server_is_its_service_its_endpoints_and_the_host_we_ask() {
    let service =
        serde_json::json!({"spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]}});
    let endpoints = serde_json::json!({"subsets": [
        {"addresses": [{"ip": "192.0.2.1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}]}]});
    let (service, endpoints) =
        (serde_json::from_value(service).unwrap(), serde_json::from_value(endpoints).unwrap());
    let known = ApiServer::of(Some(&service), Some(&endpoints), Some("API.corp."));
    let addresses: Vec<_> = known.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.96.0.1", "192.0.2.1", "192.0.2.2", "fd00::1"]);
    assert_eq!(known.names.iter().collect::<Vec<_>>(), ["api.corp"]);
}
