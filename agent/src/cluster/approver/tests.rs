//! What the approver knows by itself, without a cluster.

use super::*;
use crate::cluster::HELD_CONDITION;

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

fn refusal(message: &str) -> Refusal {
    Refusal { code: Code::NodeIsLive, message: message.to_owned() }
}

#[test]
fn a_held_request_says_why_once_and_stays_undecided() {
    let csr = CertificateSigningRequest::default();
    let word = Word::held(&refusal("node n1 is Ready"));
    assert!(!is_decided(&csr) && !word.is_said_by(&csr));
    let held = word.added_to(&csr);
    assert!(!is_decided(&held) && word.is_said_by(&held) && conditions::has(&held, HELD_CONDITION));
    assert!(!Word::held(&refusal("something else")).is_said_by(&held));
    // The next word replaces the last one, and a decision all of them.
    let again = Word::held(&refusal("something else")).added_to(&held);
    assert!(!word.is_said_by(&again) && conditions::has(&again, HELD_CONDITION));
    for word in [Word::approved("it is right"), Word::denied(&refusal("no"))] {
        let decided = word.added_to(&again);
        assert!(is_decided(&decided) && !conditions::has(&decided, HELD_CONDITION));
    }
}

#[test]
fn what_others_wrote_comes_back_short_and_printable() {
    let word = Word::denied(&refusal(&format!("\u{1b}[31m{}", "ä".repeat(2_000))));
    assert!(word.message.len() < 1_000 && !word.message.contains('\u{1b}'), "{}", word.message);
}

const CSR: &str = "
apiVersion: v1
kind: List
items:
- apiVersion: certificates.k8s.io/v1
  kind: CertificateSigningRequest
  metadata: {name: odd}
  spec: {signerName: example.com/x, username: eve, groups: [], usages: [any], request: ''}
- apiVersion: v1
  kind: Node
  metadata: {name: n1}
";

#[test]
fn requests_in_a_file_are_explained_without_a_cluster() {
    let now = Timestamp::UNIX_EPOCH;
    let told = explain(CSR, &Policy::default(), now).unwrap();
    let [(name, Verdict::NotOurs(refusal))] = &told[..] else { panic!("{told:?}") };
    assert_eq!((name.as_str(), refusal.code), ("odd", Code::SignerNotOurs));
    for (text, named) in [
        ("kind: Pod\n", "a Pod"),
        ("kind: Node\nmetadata: {name: n1}\n", "no CertificateSigningRequest"),
        ("[", "neither YAML nor JSON"),
        ("kind: CertificateSigningRequest\nmetadata: []\n", "object 1, a CertificateSigningRequest"),
    ] {
        let error = explain(text, &Policy::default(), now).unwrap_err().to_string();
        assert!(error.contains(named), "{text}: {error}");
    }
}
