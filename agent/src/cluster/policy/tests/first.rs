//! A machine's first certificate: whose token is good for what.

use super::*;
use crate::cluster::{AUTO_APPROVE_GROUP, NODE_GROUP_PREFIX};

#[test]
fn a_token_is_good_for_its_node_and_one_key() {
    let Verdict::Approve(approval) = verdict(&first()) else { panic!("{:?}", verdict(&first())) };
    assert_eq!(approval.claim, Some(Claim { token_id: "abcdef".to_owned(), key: "abc".to_owned() }));
    assert_eq!(claim_of(&first()), approval.claim);
    let other = asking(first(), |r| r.common_names = strings(&["system:node:n4"]));
    assert!(matches!(verdict(&other), Verdict::Deny(r) if r.code == Code::TokenNodeMismatch));
    // A group that only begins like the right one.
    let longer = with(first(), |c| c.groups.last_mut().unwrap().push('0'));
    assert_eq!(code(&longer), Code::TokenNodeMismatch);
    let unbound = with(first(), |c| c.groups.retain(|g| !g.starts_with(NODE_GROUP_PREFIX)));
    let twice = with(first(), |c| c.groups.push(node_group(&"n4".parse().unwrap())));
    for csr in [unbound, twice] {
        assert!(matches!(verdict(&csr), Verdict::Hold(h) if h.refusal.code == Code::TokenNotBound));
    }
}

#[test]
fn tokens_of_others_and_other_people_are_left_alone() {
    let kubeadm = with(first(), |c| c.groups.retain(|g| g != TOKEN_GROUP));
    let static_user = with(first(), |c| c.username = "kubelet-bootstrap".to_owned());
    let auto = with(first(), |c| {
        c.groups.retain(|g| !g.starts_with(NODE_GROUP_PREFIX));
        c.groups.push(AUTO_APPROVE_GROUP.to_owned());
    });
    let node_too = with(first(), |c| c.groups.push("system:nodes".to_owned()));
    for csr in [kubeadm, static_user, auto, node_too] {
        assert!(matches!(verdict(&csr), Verdict::NotOurs(r) if r.code == Code::RequesterNotOurs), "{csr:?}");
    }
    // A token never gets anything but a kubelet's client certificate.
    for signer in [KUBELET_SERVING, API_CLIENT] {
        assert_eq!(code(&with(first(), |c| c.signer = signer.to_owned())), Code::RequesterNotOurs);
    }
}

#[test]
fn first_requests_have_the_shape_of_a_kubelets_and_no_other() {
    type Change = fn(&mut CsrFacts);
    let cases: [(Change, Code); 7] = [
        (|c| c.request.as_mut().unwrap().common_names = strings(&["system:node:"]), Code::CommonNameMismatch),
        (|c| c.request.as_mut().unwrap().common_names = strings(&["admin"]), Code::CommonNameMismatch),
        (
            |c| c.request.as_mut().unwrap().common_names.push("system:node:n3".to_owned()),
            Code::CommonNameMismatch,
        ),
        (
            |c| c.request.as_mut().unwrap().organizations.push("system:masters".to_owned()),
            Code::SubjectMismatch,
        ),
        (|c| c.request.as_mut().unwrap().dns_names.push("n3".to_owned()), Code::NamesMismatch),
        (|c| c.usages.push("server auth".to_owned()), Code::UsageMismatch),
        (|c| c.expiration_seconds = Some(i32::MAX), Code::LifetimeTooLong),
    ];
    for (change, expected) in cases {
        let verdict = verdict(&with(first(), change));
        assert!(matches!(&verdict, Verdict::Deny(r) if r.code == expected), "{expected:?}: {verdict:?}");
    }
}

#[test]
fn a_token_does_not_take_the_place_of_a_node_that_lives() {
    let with_node = |not_ready_since: Option<&str>| {
        let mut inventory = known();
        let not_ready_since = not_ready_since.map(|time| time.parse().unwrap());
        let facts = NodeFacts { dns_names: vec![], addresses: vec![], not_ready_since, control_plane: false };
        inventory.set("n3", facts);
        judge(&first(), &inventory, &Policy::default(), now())
    };
    let held = |verdict: Verdict| match verdict {
        Verdict::Hold(hold) if hold.refusal.code == Code::NodeIsLive => (hold.on, hold.until),
        other => panic!("{other:?}"),
    };
    assert_eq!(held(with_node(None)), (strings(&["n3"]), None));
    let until = Some("2026-01-01T12:04:00Z".parse().unwrap());
    assert_eq!(held(with_node(Some("2026-01-01T11:59:00Z"))), (strings(&["n3"]), until));
    assert!(is_approved(&with_node(Some("2026-01-01T11:55:00Z"))));
    assert!(is_approved(&with_node(Some("2026-01-01T11:00:00Z"))));
}
