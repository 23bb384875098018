//! First client certificates, asked for with a token, and their renewal by the node.

use anyhow::Result;

use super::{
    super::verdict::{
        Expected,
        Outcome::{Denied, Held, Issued, Refused, Untouched},
    },
    Requester::{KubeadmToken, LooseToken, NamelessNode, Node, Token, User},
    Row, client, serving,
};
use crate::requests::{
    CLIENT_USAGES, Envelope, KUBELET_CLIENT,
    pkcs10::{Algorithm, Pkcs10, UNIT},
};

pub(super) fn rows() -> Result<Vec<Row>> {
    Ok([whom()?, subject()?, shape()?, renewal()?].concat())
}

/// Who asks for whom.
fn whom() -> Result<Vec<Row>> {
    const CLASS: &str = "token binding";
    let ask = |name: &str| client(&Pkcs10::node(name));
    let other = Denied("TokenNodeMismatch");
    Ok(vec![
        Row::new(CLASS, "its own node", Token("n10", 0), ask("n10")?, Issued),
        Row::new(
            CLASS,
            "its own node, whose name has dots",
            Token("n10.corp.example", 0),
            ask("n10.corp.example")?,
            Issued,
        ),
        Row::new(CLASS, "another node that does not exist", Token("n11", 0), ask("n12")?, other),
        Row::new(CLASS, "another node that exists", Token("n11", 0), ask("n1")?, other),
        Row::new(CLASS, "a node whose name begins with its own", Token("n11", 0), ask("n111")?, other),
        Row::new(
            CLASS,
            "its own name in upper case",
            Token("n11", 0),
            ask("N11")?,
            Denied("TokenNodeMismatch|CommonNameMismatch"),
        ),
        Row::new(
            CLASS,
            "its own name and a space",
            Token("n11", 0),
            ask("n11 ")?,
            Denied("TokenNodeMismatch|CommonNameMismatch"),
        ),
        Row::new(
            CLASS,
            "no node's name",
            Token("n11", 0),
            ask("")?,
            Denied("TokenNodeMismatch|CommonNameMismatch"),
        ),
        Row::new(
            CLASS,
            "the hash of its name, as its group has it",
            Token("n11", 0),
            ask("9d29a09fb72b3a1a3e1d3d4a5a3f0ea3")?,
            other,
        ),
        Row::new(CLASS, "any node", LooseToken, ask("n13")?, Held("TokenNotBound")),
        Row::new(CLASS, "a node that is Ready", LooseToken, ask("n1")?, Held("TokenNotBound|NodeIsLive")),
        Row::new(CLASS, "any node", KubeadmToken, ask("n14")?, Untouched),
        Row::new(CLASS, "any node", User, ask("n14")?, Untouched),
        Row::new(
            CLASS,
            "a serving certificate of its node",
            Token("n11", 0),
            serving(&Pkcs10::node("n11").dns("n11"))?,
            Untouched,
        ),
    ])
}

/// What stands in the subject.
fn subject() -> Result<Vec<Row>> {
    const CLASS: &str = "client subject";
    let by = Token("s1", 0);
    let name = "system:node:s1";
    let common = Denied("CommonNameMismatch|TokenNodeMismatch");
    let subject = Denied("SubjectMismatch");
    let row = |what, request: Pkcs10, expected| Ok(Row::new(CLASS, what, by, client(&request)?, expected));
    [
        row("the administrator", Pkcs10::of("kubernetes-admin", &["system:masters"]), common),
        row(
            "the controller-manager",
            Pkcs10::of("system:kube-controller-manager", &["system:nodes"]),
            common,
        ),
        row("no common name", Pkcs10 { subject: Vec::new(), ..Pkcs10::node("s1") }, common),
        row(
            "its node and the group system:masters",
            Pkcs10::of(name, &["system:nodes", "system:masters"]),
            subject,
        ),
        row("its node in system:masters alone", Pkcs10::of(name, &["system:masters"]), subject),
        row("its node in no group", Pkcs10::of(name, &[]), subject),
        row("its node in the group twice", Pkcs10::of(name, &["system:nodes", "system:nodes"]), subject),
        row("its node in System:Nodes", Pkcs10::of(name, &["System:Nodes"]), subject),
        row("its node and an organizational unit", Pkcs10::node("s1").rdn(UNIT, "x"), subject),
        row(
            "its node and a second common name",
            Pkcs10::node("s1").rdn("2.5.4.3", "system:node:n1"),
            Denied("CommonNameMismatch|SubjectMismatch|TokenNodeMismatch|Malformed"),
        ),
    ]
    .into_iter()
    .collect()
}

/// Usages, names and keys.
fn shape() -> Result<Vec<Row>> {
    const CLASS: &str = "client shape";
    let by = Token("s2", 0);
    let good = || Pkcs10::node("s2");
    let using = |usages| Ok::<_, anyhow::Error>(Envelope::of(KUBELET_CLIENT, usages, good().pem()?));
    let (usages, names) = (Denied("UsageMismatch"), Denied("NamesMismatch"));
    let row =
        |what, envelope: Envelope, expected: super::Expected| Row::new(CLASS, what, by, envelope, expected);
    Ok(vec![
        row("a DNS name", client(&good().dns("s2"))?, names.into()),
        row("an address", client(&good().ip([10, 77, 0, 9]))?, names.into()),
        row(
            "server auth beside client auth",
            using(&["digital signature", "key encipherment", "client auth", "server auth"])?,
            usages.into(),
        ),
        row(
            "server auth instead of client auth",
            using(&["digital signature", "key encipherment", "server auth"])?,
            usages.into(),
        ),
        row("cert sign", using(&["digital signature", "client auth", "cert sign"])?, usages.into()),
        row("any", using(&["any"])?, usages.into()),
        row("a key on P-521", client(&good().key(Algorithm::P521))?, Denied("Malformed").into()),
        row(
            "a longer life than the policy's",
            Envelope { seconds: Some(31_708_801), ..using(CLIENT_USAGES)? },
            Expected::each(Denied("LifetimeTooLong"), Issued),
        ),
        Row::new(
            CLASS,
            "a life of ten minutes",
            Token("s3", 0),
            Envelope { seconds: Some(600), ..client(&Pkcs10::node("s3"))? },
            Issued,
        ),
        Row::new(
            CLASS,
            "a key on P-384",
            Token("s4", 0),
            client(&Pkcs10::node("s4").key(Algorithm::P384))?,
            Issued,
        ),
        Row::new(
            CLASS,
            "an RSA key of 2,048 bits",
            Token("s5", 0),
            client(&Pkcs10::node("s5").key(Algorithm::Rsa2048))?,
            Issued,
        ),
        Row::new(
            CLASS,
            "without key encipherment",
            Token("s6", 0),
            Envelope::of(KUBELET_CLIENT, &["digital signature", "client auth"], Pkcs10::node("s6").pem()?),
            Expected::each(Issued, usages),
        ),
    ])
}

/// A node asks with the certificate it has. 1.36's API server compares the common name itself.
fn renewal() -> Result<Vec<Row>> {
    const CLASS: &str = "renewal";
    let other = Expected::each(Refused(403), Denied("CommonNameMismatch"));
    let by = Node("n1");
    Ok(vec![
        Row::new(CLASS, "its own certificate", by, client(&Pkcs10::node("n1"))?, Issued),
        Row::new(CLASS, "another node's", by, client(&Pkcs10::node("n2"))?, other),
        Row::new(CLASS, "another node's, to serve with", by, serving(&Pkcs10::node("n2").dns("n2"))?, other),
        Row::new(
            CLASS,
            "the administrator's",
            by,
            client(&Pkcs10::of("kubernetes-admin", &["system:masters"]))?,
            other,
        ),
        Row::new(
            CLASS,
            "its own and system:masters",
            by,
            client(&Pkcs10::of("system:node:n1", &["system:nodes", "system:masters"]))?,
            Denied("SubjectMismatch"),
        ),
        Row::new(
            CLASS,
            "its own in no group",
            by,
            client(&Pkcs10::of("system:node:n1", &[]))?,
            Denied("SubjectMismatch"),
        ),
        Row::new(
            CLASS,
            "its own with a DNS name",
            by,
            client(&Pkcs10::node("n1").dns("n1"))?,
            Denied("NamesMismatch"),
        ),
        Row::new(
            CLASS,
            "its own to serve with, by the signer of client certificates",
            by,
            Envelope::of(
                KUBELET_CLIENT,
                &["digital signature", "key encipherment", "server auth"],
                Pkcs10::node("n1").pem()?,
            ),
            Denied("UsageMismatch"),
        ),
        Row::new(
            CLASS,
            "its own for longer than the policy's",
            by,
            Envelope { seconds: Some(i32::MAX), ..client(&Pkcs10::node("n1"))? },
            Expected::each(Denied("LifetimeTooLong"), Issued),
        ),
        Row::new(CLASS, "a node's", NamelessNode, client(&Pkcs10::node("n1"))?, Untouched),
    ])
}
