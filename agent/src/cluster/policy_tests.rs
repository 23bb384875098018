//! One accepted request of each kind, and every way to spoil it.

use proptest::prelude::*;

use super::*;
use crate::cluster::csr::{CsrFacts, Malformed};

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

fn known() -> NodeLookup {
    NodeLookup::Found(NodeAddresses {
        dns_names: strings(&["n1", "n1.corp", "localhost", "*.corp", "kubernetes.default.svc"]),
        addresses: ["10.0.0.1", "fd00::1", "127.0.0.1", "169.254.169.254"]
            .map(|ip| ip.parse().unwrap())
            .into(),
    })
}

fn verdict(csr: &CsrFacts) -> Verdict {
    judge(csr, &known(), Policy::default())
}

fn code(csr: &CsrFacts) -> Code {
    match verdict(csr) {
        Verdict::Wait(refusal) | Verdict::Ignore(refusal) => refusal.code,
        Verdict::Approve(message) => panic!("approved: {message}"),
    }
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
        assert!(matches!(verdict(&csr), Verdict::Approve(_)), "{csr:?}: {:?}", verdict(&csr));
    }
    assert!(matches!(verdict(&with(proxy(), |c| c.usages = strings(&["client auth"]))), Verdict::Approve(_)));
    assert!(matches!(verdict(&asking(serving(), |r| r.dns_names.clear())), Verdict::Approve(_)));
    assert!(matches!(verdict(&asking(serving(), |r| r.addresses.clear())), Verdict::Approve(_)));
}

#[test]
fn first_certificates_are_left_to_others() {
    let bootstrap = with(renewal(), |csr| {
        csr.username = "system:bootstrap:abcdef".to_owned();
        csr.groups = strings(&["system:bootstrappers", crate::cluster::TOKEN_GROUP]);
    });
    assert_eq!(code(&bootstrap), Code::BootstrapNotOurs);
    assert!(matches!(verdict(&bootstrap), Verdict::Ignore(_)));
}

#[test]
fn every_kind_needs_a_real_node_that_asks() {
    for csr in [serving(), proxy()] {
        assert_eq!(
            code(&with(csr.clone(), |c| c.groups = strings(&["system:authenticated"]))),
            Code::RequesterNotANode
        );
        assert_eq!(code(&with(csr.clone(), |c| c.username = "admin".to_owned())), Code::RequesterNotANode);
        assert_eq!(
            code(&with(csr.clone(), |c| c.username = "system:node:".to_owned())),
            Code::RequesterNotANode
        );
        assert_eq!(
            code(&with(csr, |c| c.username = "system:node:a/../b".to_owned())),
            Code::RequesterNotANode
        );
    }
    assert_eq!(code(&with(renewal(), |c| c.username = "system:node:A".to_owned())), Code::RequesterNotANode);
}

#[test]
fn requests_of_all_kinds_that_are_malformed_or_too_long_lived_are_left() {
    for csr in [renewal(), serving(), proxy()] {
        assert_eq!(code(&with(csr.clone(), |c| c.request = Err(Malformed("x".to_owned())))), Code::Malformed);
        let max = Policy::default().max_expiration_seconds;
        assert_eq!(code(&with(csr.clone(), |c| c.expiration_seconds = Some(max + 1))), Code::LifetimeTooLong);
        assert!(matches!(verdict(&with(csr, |c| c.expiration_seconds = Some(max))), Verdict::Approve(_)));
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
    for usages in [&["digital signature"][..], &["client auth", "server auth"], &["client auth", "cert sign"]]
    {
        assert_eq!(code(&with(proxy(), |c| c.usages = strings(usages))), Code::UsageMismatch, "{usages:?}");
    }
}

#[test]
fn serving_names_are_the_nodes_own() {
    assert_eq!(
        code(&asking(serving(), |r| (r.dns_names.clear(), r.addresses.clear()).0)),
        Code::NamesMismatch
    );
    assert_eq!(code(&asking(serving(), |r| r.other_names = true)), Code::NamesMismatch);
    for stray in ["n2", "n1.evil", "n1.", "N1", "xn--n1-", "n1.corp.", "auth.corp", "n1\0"] {
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
        assert_eq!(
            code(&asking(proxy(), |r| r.common_names = strings(&[name]))),
            Code::CommonNameMismatch,
            "{name}"
        );
    }
    let twice = asking(proxy(), |r| r.common_names.push("system:kube-proxy".to_owned()));
    assert_eq!(code(&twice), Code::CommonNameMismatch);
    assert_eq!(
        code(&asking(proxy(), |r| r.organizations = strings(&["system:masters"]))),
        Code::SubjectMismatch
    );
    assert_eq!(code(&asking(proxy(), |r| r.other_subject = true)), Code::SubjectMismatch);
}

#[test]
fn node_that_is_not_there_yet_is_waited_for_and_never_refused() {
    for csr in [serving(), proxy()] {
        assert_eq!(node_needed(&csr).unwrap().as_str(), "n1");
        let verdict = judge(&csr, &NodeLookup::Absent, Policy::default());
        assert!(
            matches!(&verdict, Verdict::Wait(refusal) if refusal.code == Code::NodeMissing),
            "{verdict:?}"
        );
    }
    let no_addresses = NodeLookup::Found(NodeAddresses::default());
    let verdict = judge(&serving(), &no_addresses, Policy::default());
    assert!(matches!(&verdict, Verdict::Wait(refusal) if refusal.code == Code::NameNotOfNode), "{verdict:?}");
    assert_eq!(node_needed(&renewal()), None);
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
