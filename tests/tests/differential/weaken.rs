//! The approver with one rule less: the real judge, shown the request without the one thing that the rule is about. Each
//! of them must be caught, or this test would not notice if the rule were lost.

use kn_agent::cluster::csr::{CsrFacts, Request};
use kn_agent::cluster::policy::{KUBELET_CLIENT, KUBELET_SERVING};

use crate::mutate::Class;
use crate::ours::Known;

/// A rule that is missing.
pub(crate) struct Weakened {
    pub(crate) name: &'static str,
    /// Changes of these classes are not in the request that is judged.
    pub(crate) blind_to: &'static [Class],
    /// What the facts are taken for.
    pub(crate) takes_for: fn(&mut CsrFacts, &Known),
}

const fn reading(name: &'static str, blind_to: &'static [Class]) -> Weakened {
    Weakened { name, blind_to, takes_for: |_, _| () }
}

const fn rule(name: &'static str, takes_for: fn(&mut CsrFacts, &Known)) -> Weakened {
    Weakened { name, blind_to: &[], takes_for }
}

/// Each is caught by Kubernetes' refusal, or by what is in its certificate.
pub(crate) const ALL: [Weakened; 25] = [
    rule("usages are not looked at", |facts, _| {
        let purpose = if facts.signer == KUBELET_SERVING { "server auth" } else { "client auth" };
        facts.usages = vec!["digital signature".to_owned(), purpose.to_owned()];
    }),
    rule("a usage may be there twice", |facts, _| {
        facts.usages.sort();
        facts.usages.dedup();
    }),
    rule("the common name is not looked at", |facts, _| {
        let username = facts.username.clone();
        asked(facts, |request| request.common_names = vec![username]);
    }),
    rule("one common name of several is looked at", |facts, _| {
        asked(facts, |request| request.common_names.truncate(1));
    }),
    rule("organizations are not looked at", |facts, _| {
        asked(facts, |request| request.organizations = vec!["system:nodes".to_owned()]);
    }),
    rule("one organization of several is looked at", |facts, _| {
        asked(facts, |request| request.organizations.truncate(1));
    }),
    rule("the rest of the subject is not looked at", |facts, _| {
        asked(facts, |request| (request.places.clear(), request.other_subject = false).0);
    }),
    rule("names of a client are not looked at", |facts, _| {
        if facts.signer == KUBELET_CLIENT {
            asked(facts, |request| (request.dns_names.clear(), request.addresses.clear()).0);
        }
    }),
    rule("names of other kinds are not looked at", |facts, _| {
        asked(facts, |request| request.other_names = false);
    }),
    rule("a serving certificate may have no name", |facts, known| {
        let first = known.dns_names.first().cloned();
        if facts.signer == KUBELET_SERVING {
            asked(facts, |request| {
                if request.dns_names.is_empty() && request.addresses.is_empty() {
                    request.dns_names.extend(first);
                }
            });
        }
    }),
    rule("DNS names are compared without case and final dot", |facts, _| {
        asked(facts, |request| {
            for dns in &mut request.dns_names {
                *dns = dns.trim_end_matches('.').to_ascii_lowercase();
            }
        });
    }),
    reading("the signature is not verified", &[Class::Signature]),
    reading("what follows the DER is not looked at", &[Class::Trailing]),
    reading("the last PEM block is read", &[Class::SecondBlock]),
    reading("the PEM label is not looked at", &[Class::Label]),
    reading("any type of string is read", &[Class::StringType]),
    reading("one attribute with extensions is read", &[Class::TwoAttributes]),
    reading("one extension of two of a kind is read", &[Class::ExtensionTwice]),
    reading("a subject is read as far as it can be", &[Class::SubjectTail]),
    reading("an address in another form is taken for one of the node's", &[Class::AddressForm]),
    reading("a name of another class is taken for a name", &[Class::NameTag]),
    reading("any BOOLEAN is read", &[Class::Critical]),
    reading("any form of public key is read", &[Class::KeyForm]),
    reading("lengths and ends of the DER are not looked at", &[Class::Der]),
    reading("lines of the PEM that are none are not looked at", &[Class::Pem]),
];

fn asked(facts: &mut CsrFacts, change: impl FnOnce(&mut Request)) {
    if let Ok(request) = &mut facts.request {
        change(request);
    }
}
