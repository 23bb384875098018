//! Serving certificates: what the Node's own status lists is not all its own.

use super::*;

#[test]
fn what_means_the_api_server_is_for_its_own_hosts_alone() {
    let address = asking(serving(), |r| r.addresses.push("10.96.0.1".parse().unwrap()));
    let mapped = asking(serving(), |r| r.addresses.push("::ffff:192.0.2.1".parse().unwrap()));
    let name = asking(serving(), |r| r.dns_names.push("api.corp".to_owned()));
    for csr in [&address, &mapped, &name] {
        let verdict = verdict(csr);
        assert!(matches!(&verdict, Verdict::Deny(r) if r.code == Code::NameReserved), "{verdict:?}");
    }
    // A host an administrator labelled so is where the API server is.
    let mut inventory = known();
    let host = NodeFacts { control_plane: true, ..inventory.node("n1").unwrap().clone() };
    inventory.set("n1", host);
    for csr in [&address, &name] {
        assert!(is_approved(&judge(csr, &inventory, &Policy::default(), now())));
    }
}

#[test]
fn what_two_nodes_list_is_for_neither_until_one_is_gone() {
    let address = asking(serving(), |r| r.addresses.push("10.0.0.9".parse().unwrap()));
    let listed = asking(serving(), |r| r.dns_names.push("shared.corp".to_owned()));
    let named = asking(serving(), |r| r.dns_names.push("n2".to_owned()));
    for csr in [&address, &listed, &named] {
        let Verdict::Hold(hold) = verdict(csr) else { panic!("{csr:?}") };
        assert_eq!((hold.refusal.code, hold.on), (Code::NameOfOtherNode, strings(&["n1", "n2"])));
        let mut alone = known();
        alone.remove("n2");
        assert!(is_approved(&judge(csr, &alone, &Policy::default(), now())));
    }
}

#[test]
fn the_operators_inventory_bounds_what_a_node_lists() {
    let serving_policy = |serving| Policy { serving, ..Policy::default() };
    let judged = |policy: &Policy| judge(&serving(), &known(), policy, now());
    let inside = ServingPolicy {
        allowed_cidrs: vec!["10.0.0.0/24".parse().unwrap()],
        allowed_names: strings(&["n*"]),
        ..ServingPolicy::default()
    };
    assert!(is_approved(&judged(&serving_policy(inside.clone()))));
    let elsewhere = ServingPolicy { allowed_cidrs: vec!["10.1.0.0/24".parse().unwrap()], ..inside.clone() };
    assert_eq!(code_of(judged(&serving_policy(elsewhere))), Code::NameNotInInventory);
    let others = ServingPolicy { allowed_names: strings(&["m*"]), ..inside.clone() };
    assert_eq!(code_of(judged(&serving_policy(others))), Code::NameNotInInventory);
    let never = ServingPolicy { never_sign_cidrs: vec!["10.0.0.0/8".parse().unwrap()], ..inside.clone() };
    assert_eq!(code_of(judged(&serving_policy(never))), Code::NameReserved);
    let never = ServingPolicy { never_sign_names: strings(&["N1."]), ..inside };
    assert_eq!(code_of(judged(&serving_policy(never))), Code::NameReserved);
}
