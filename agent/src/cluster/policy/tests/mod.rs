//! One accepted request of each kind, and every way to spoil it.

mod first;
mod serving;

use proptest::prelude::*;

use super::*;
use crate::cluster::csr::Malformed;
use crate::cluster::inventory::{ApiServer, NodeFacts};
use crate::cluster::node_group;

const NODE: &str = "system:node:n1";

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn facts(signer: &str, usages: &[&str], request: Request) -> CsrFacts {
    CsrFacts {
        signer: signer.to_owned(),
        username: NODE.to_owned(),
        groups: strings(&["system:nodes", "system:authenticated"]),
        usages: strings(usages),
        expiration_seconds: None,
        request: Ok(request),
    }
}

fn node_request() -> Request {
    Request {
        common_names: strings(&[NODE]),
        organizations: strings(&["system:nodes"]),
        ..Request::default()
    }
}

fn renewal() -> CsrFacts {
    facts(KUBELET_CLIENT, &["digital signature", "key encipherment", "client auth"], node_request())
}

fn serving() -> CsrFacts {
    let addresses = vec!["10.0.0.1".parse().unwrap()];
    let request = Request { dns_names: strings(&["n1"]), addresses, ..node_request() };
    facts(KUBELET_SERVING, &["digital signature", "server auth"], request)
}

fn proxy() -> CsrFacts {
    let request = Request { common_names: strings(&["system:kube-proxy"]), ..Request::default() };
    facts(API_CLIENT, &["digital signature", "key encipherment", "client auth"], request)
}

/// A machine's first request, with a token that is bound to `n3`.
fn first() -> CsrFacts {
    let name: NodeName = "n3".parse().unwrap();
    let csr = asking(renewal(), |r| {
        r.common_names = vec![name.user()];
        r.public_key_hash = "abc".to_owned();
    });
    with(csr, |c| {
        c.username = "system:bootstrap:abcdef".to_owned();
        c.groups = strings(&["system:bootstrappers", "system:authenticated", TOKEN_GROUP]);
        c.groups.push(node_group(&name));
    })
}

/// A Node whose status lists more than it should, another one, and the API server.
fn known() -> Inventory {
    let node = |dns: &[&str], addresses: &[&str]| NodeFacts {
        dns_names: strings(dns),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        not_ready_since: None,
        control_plane: false,
    };
    let mut inventory = Inventory::default();
    let dns =
        ["n1", "n1.corp", "localhost", "*.corp", "kubernetes.default.svc", "api.corp", "shared.corp", "n2"];
    let addresses = ["10.0.0.1", "fd00::1", "127.0.0.1", "169.254.169.254", "10.96.0.1", "10.0.0.9"];
    inventory.set("n1", node(&dns, &addresses));
    inventory.set("n2", node(&["n2", "Shared.corp"], &["10.0.0.2", "10.0.0.9"]));
    inventory.api_server = ApiServer {
        names: ["api.corp".to_owned()].into(),
        addresses: ["10.96.0.1", "192.0.2.1"].map(|ip| ip.parse().unwrap()).into(),
    };
    inventory
}

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn verdict(csr: &CsrFacts) -> Verdict {
    judge(csr, &known(), &Policy::default(), now())
}

fn code_of(verdict: Verdict) -> Code {
    match verdict {
        Verdict::Deny(refusal) | Verdict::Hold(Hold { refusal, .. }) | Verdict::NotOurs(refusal) => {
            refusal.code
        }
        Verdict::Approve(approval) => panic!("approved: {approval:?}"),
    }
}

fn code(csr: &CsrFacts) -> Code {
    code_of(verdict(csr))
}

fn is_approved(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Approve(_))
}

/// `csr` with its request changed.
fn asking(mut csr: CsrFacts, change: impl FnOnce(&mut Request)) -> CsrFacts {
    change(csr.request.as_mut().unwrap());
    csr
}

fn with(mut csr: CsrFacts, change: impl FnOnce(&mut CsrFacts)) -> CsrFacts {
    change(&mut csr);
    csr
}

#[test]
fn what_nodes_send_is_approved() {
    let short = |mut csr: CsrFacts| {
        csr.usages.retain(|usage| usage != "key encipherment");
        csr
    };
    let long = |mut csr: CsrFacts| {
        csr.usages.push("key encipherment".to_owned());
        csr
    };
    for csr in [renewal(), short(renewal()), serving(), long(serving()), proxy(), short(proxy())] {
        assert!(is_approved(&verdict(&csr)), "{csr:?}: {:?}", verdict(&csr));
    }
    assert!(matches!(verdict(&with(proxy(), |c| c.usages = strings(&["client auth"]))), Verdict::Approve(_)));
    assert!(matches!(verdict(&asking(serving(), |r| r.dns_names.clear())), Verdict::Approve(_)));
    assert!(matches!(verdict(&asking(serving(), |r| r.addresses.clear())), Verdict::Approve(_)));
}

#[test]
fn every_kind_needs_a_real_node_that_asks() {
    for csr in [serving(), proxy()] {
        assert_eq!(
            code(&with(csr.clone(), |c| c.groups = strings(&["system:authenticated"]))),
            Code::RequesterNotOurs
        );
        assert_eq!(code(&with(csr.clone(), |c| c.username = "admin".to_owned())), Code::RequesterNotOurs);
        assert_eq!(
            code(&with(csr.clone(), |c| c.username = "system:node:".to_owned())),
            Code::RequesterNotOurs
        );
        assert_eq!(
            code(&with(csr, |c| c.username = "system:node:a/../b".to_owned())),
            Code::RequesterNotOurs
        );
    }
    assert_eq!(code(&with(renewal(), |c| c.username = "system:node:A".to_owned())), Code::RequesterNotOurs);
}

#[test]
fn requests_of_all_kinds_that_are_malformed_or_too_long_lived_are_left() {
    for csr in [renewal(), serving(), proxy(), first()] {
        assert_eq!(code(&with(csr.clone(), |c| c.request = Err(Malformed("x".to_owned())))), Code::Malformed);
        let max = i32::try_from(Policy::default().max_lifetime.as_secs()).unwrap();
        assert_eq!(code(&with(csr.clone(), |c| c.expiration_seconds = Some(max + 1))), Code::LifetimeTooLong);
        assert!(is_approved(&verdict(&with(csr, |c| c.expiration_seconds = Some(max)))));
    }
}

#[test]
fn subject_of_a_node_is_exactly_its_own() {
    for csr in [renewal(), serving()] {
        let common_names: [&[&str]; 4] = [&[], &["system:node:n2"], &[NODE, NODE], &["system:node:n1 "]];
        for names in common_names {
            assert_eq!(
                code(&asking(csr.clone(), |r| r.common_names = strings(names))),
                Code::CommonNameMismatch
            );
        }
        let organizations: [&[&str]; 4] = [
            &[],
            &["system:masters"],
            &["system:nodes", "system:masters"],
            &["system:nodes", "system:nodes"],
        ];
        for names in organizations {
            assert_eq!(
                code(&asking(csr.clone(), |r| r.organizations = strings(names))),
                Code::SubjectMismatch
            );
        }
        assert_eq!(code(&asking(csr, |r| r.other_subject = true)), Code::SubjectMismatch);
    }
}

#[test]
fn client_certificates_have_no_names() {
    for csr in [renewal(), proxy()] {
        assert_eq!(code(&asking(csr.clone(), |r| r.dns_names = strings(&["n1"]))), Code::NamesMismatch);
        assert_eq!(
            code(&asking(csr.clone(), |r| r.addresses = vec!["10.0.0.1".parse().unwrap()])),
            Code::NamesMismatch
        );
        assert_eq!(code(&asking(csr, |r| r.other_names = true)), Code::NamesMismatch);
    }
}

#[test]
fn usages_are_exact() {
    let node_cases: [&[&str]; 6] = [
        &[],
        &["digital signature"],
        &["client auth", "server auth", "digital signature"],
        &["digital signature", "digital signature", "client auth"],
        &["digital signature", "client auth", "key encipherment", "key encipherment"],
        &["digital signature", "client auth", "any"],
    ];
    for usages in node_cases {
        for csr in [renewal(), serving()] {
            assert_eq!(code(&with(csr, |c| c.usages = strings(usages))), Code::UsageMismatch, "{usages:?}");
        }
    }
    assert_eq!(code(&with(renewal(), |c| c.usages = serving().usages)), Code::UsageMismatch);
    assert_eq!(code(&with(serving(), |c| c.usages = renewal().usages)), Code::UsageMismatch);
    let proxy_cases: [&[&str]; 4] = [
        &["digital signature"],
        &["client auth", "server auth"],
        &["client auth", "cert sign"],
        &["client auth", "client auth"],
    ];
    for usages in proxy_cases {
        assert_eq!(code(&with(proxy(), |c| c.usages = strings(usages))), Code::UsageMismatch, "{usages:?}");
    }
}

#[test]
fn old_signers_want_key_encipherment() {
    let judged = |csr: &CsrFacts, minor| {
        let mut inventory = known();
        inventory.minor = minor;
        judge(csr, &inventory, &Policy::default(), now())
    };
    let short = |csr| with(csr, |c: &mut CsrFacts| c.usages.retain(|usage| usage != "key encipherment"));
    let long = |csr| with(short(csr), |c: &mut CsrFacts| c.usages.push("key encipherment".to_owned()));
    for csr in [renewal(), serving()] {
        let Verdict::Deny(refusal) = judged(&short(csr.clone()), Some(20)) else { panic!("{csr:?}") };
        assert_eq!(refusal.code, Code::UsageMismatch);
        assert!(refusal.message.contains("Kubernetes 1.20 demand"), "{}", refusal.message);
        assert!(is_approved(&judged(&long(csr.clone()), Some(20))));
        for minor in [None, Some(25), Some(36)] {
            assert!(is_approved(&judged(&short(csr.clone()), minor)), "{minor:?}");
        }
    }
    // The signer of API clients never wanted it.
    assert!(is_approved(&judged(&short(proxy()), Some(20))));
}

#[test]
fn serving_names_are_the_nodes_own() {
    assert_eq!(
        code(&asking(serving(), |r| (r.dns_names.clear(), r.addresses.clear()).0)),
        Code::NamesMismatch
    );
    assert_eq!(code(&asking(serving(), |r| r.other_names = true)), Code::NamesMismatch);
    for address in ["10.0.0.1", "127.0.0.1.", "::1"] {
        let csr = asking(serving(), |r| r.dns_names.push(address.to_owned()));
        assert_eq!(code(&csr), Code::NamesMismatch, "{address}");
    }
    for stray in ["n3", "n1.evil", "n1.", "N1", "xn--n1-", "n1.corp.", "auth.corp", "n1\0"] {
        assert_eq!(
            code(&asking(serving(), |r| r.dns_names.push(stray.to_owned()))),
            Code::NameNotOfNode,
            "{stray}"
        );
    }
    // Even where the Node's own status lists them.
    for reserved in
        ["localhost", "LOCALHOST.", "a.localhost", "*.corp", "kubernetes", "kubernetes.default.svc", "", "."]
    {
        assert_eq!(
            code(&asking(serving(), |r| r.dns_names.push(reserved.to_owned()))),
            Code::NameReserved,
            "{reserved}"
        );
    }
    for stray in ["10.0.0.2", "::ffff:10.0.0.1", "fd00::2"] {
        assert_eq!(
            code(&asking(serving(), |r| r.addresses.push(stray.parse().unwrap()))),
            Code::NameNotOfNode,
            "{stray}"
        );
    }
    for reserved in
        ["127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "224.0.0.1", "::ffff:127.0.0.1", "fe80::1"]
    {
        assert_eq!(
            code(&asking(serving(), |r| r.addresses.push(reserved.parse().unwrap()))),
            Code::NameReserved,
            "{reserved}"
        );
    }
}

#[test]
fn kube_proxy_is_the_one_identity_of_its_signer() {
    for name in [
        "system:kube-controller-manager",
        "admin",
        "system:masters",
        "system:kube-proxy ",
        "system:Kube-proxy",
    ] {
        // Others ask this signer too: they are left alone.
        let verdict = verdict(&asking(proxy(), |r| r.common_names = strings(&[name])));
        assert!(
            matches!(&verdict, Verdict::NotOurs(r) if r.code == Code::SubjectNotOurs),
            "{name}: {verdict:?}"
        );
    }
    let twice = asking(proxy(), |r| r.common_names.push("system:kube-proxy".to_owned()));
    assert_eq!(code(&twice), Code::SubjectNotOurs);
    assert_eq!(
        code(&asking(proxy(), |r| r.organizations = strings(&["system:masters"]))),
        Code::SubjectMismatch
    );
    assert_eq!(code(&asking(proxy(), |r| r.other_subject = true)), Code::SubjectMismatch);
}

#[test]
fn node_that_is_not_there_yet_is_waited_for_and_never_refused() {
    for csr in [serving(), proxy()] {
        let verdict = judge(&csr, &Inventory::default(), &Policy::default(), now());
        let Verdict::Hold(hold) = verdict else { panic!("{verdict:?}") };
        assert_eq!((hold.refusal.code, hold.on), (Code::NodeMissing, strings(&["n1"])));
    }
    let mut bare = Inventory::default();
    let nothing =
        NodeFacts { dns_names: vec![], addresses: vec![], not_ready_since: None, control_plane: false };
    bare.set("n1", nothing);
    let verdict = judge(&serving(), &bare, &Policy::default(), now());
    assert!(matches!(&verdict, Verdict::Hold(h) if h.refusal.code == Code::NameNotOfNode), "{verdict:?}");
}

#[test]
fn kube_proxy_has_the_subject_of_the_policy_to_the_letter() {
    let documents = SubjectPolicy {
        organizations: strings(&["k8s"]),
        places: vec![(Place::Country, "CN".to_owned()), (Place::OrganizationalUnit, "System".to_owned())],
        ..SubjectPolicy::default()
    };
    let policy = Policy { kube_proxy: documents.clone(), ..Policy::default() };
    let right = asking(proxy(), |r| {
        r.organizations = strings(&["k8s"]);
        r.places = documents.places.iter().rev().cloned().collect();
    });
    assert!(is_approved(&judge(&right, &known(), &policy, now())));
    let wrong = [
        proxy(),
        asking(right.clone(), |r| r.organizations.push("system:masters".to_owned())),
        asking(right.clone(), |r| r.places[0].1 = "Sys".to_owned()),
        asking(right.clone(), |r| r.places.truncate(1)),
        asking(right, |r| r.other_subject = true),
    ];
    for csr in wrong {
        let verdict = judge(&csr, &known(), &policy, now());
        assert!(
            matches!(&verdict, Verdict::Hold(h) if h.refusal.code == Code::SubjectMismatch),
            "{verdict:?}"
        );
    }
}

proptest! {
    #[test]
    fn other_signers_are_never_approved(signer in "[ -~]{0,60}", kind in 0_usize..3) {
        prop_assume!(!SIGNERS.contains(&signer.as_str()));
        let csr = [renewal(), serving(), proxy()][kind].clone();
        prop_assert_eq!(code(&with(csr, |c| c.signer = signer)), Code::SignerNotOurs);
    }
}

#[test]
fn signers_that_look_like_ours_are_not() {
    for signer in [
        "kubernetes.io/legacy-unknown",
        "kubernetes.io/Kubelet-Serving",
        "kubernetes.io/kubelet-serving ",
        "example.com/kubelet-serving",
        "",
    ] {
        assert_eq!(code(&with(serving(), |c| c.signer = signer.to_owned())), Code::SignerNotOurs, "{signer}");
    }
}
