//! kube-proxy's client certificate, from a signer that signs anything.

use anyhow::Result;

use super::{
    super::verdict::{
        Expected,
        Outcome::{self, Held, Issued, Refused, Untouched},
    },
    Requester::{self, Admin, KubeadmToken, Node, Token, User},
    Row,
};
use crate::requests::{
    API_CLIENT, CLIENT_USAGES, Envelope,
    pkcs10::{Algorithm, COUNTRY, Pkcs10, UNIT},
};

const NAME: &str = "system:kube-proxy";

fn row(what: &'static str, by: Requester, request: &Pkcs10, expected: Outcome) -> Result<Row> {
    let envelope = Envelope::of(API_CLIENT, CLIENT_USAGES, request.pem()?);
    Ok(Row::new("kube-proxy", what, by, envelope, expected))
}

pub(super) fn rows() -> Result<Vec<Row>> {
    Ok([whose()?, subject()?, shape()?].concat())
}

fn whose() -> Result<Vec<Row>> {
    let good = Pkcs10::of(NAME, &[]);
    [
        row("by a node that exists", Node("n1"), &good, Issued),
        row("by a node that does not exist", Node("gone"), &good, Held("NodeMissing")),
        row("by the holder of a node's token", Token("s1", 0), &good, Untouched),
        row("by the holder of kubeadm's token", KubeadmToken, &good, Untouched),
        row("by a user", User, &good, Untouched),
        row("by an administrator", Admin, &good, Untouched),
        row("with a key on P-384", Node("n1"), &good.clone().key(Algorithm::P384), Issued),
        row("with an RSA key of 2,048 bits", Node("n1"), &good.clone().key(Algorithm::Rsa2048), Issued),
    ]
    .into_iter()
    .collect()
}

fn subject() -> Result<Vec<Row>> {
    let by = Node("n1");
    let (good, wrong) = (|| Pkcs10::of(NAME, &[]), Held("SubjectMismatch"));
    let others = [
        ("the controller-manager", "system:kube-controller-manager"),
        ("the scheduler", "system:kube-scheduler"),
        ("the administrator", "kubernetes-admin"),
        ("admin", "admin"),
        ("system:masters as a name", "system:masters"),
        ("a service account", "system:serviceaccount:kube-system:default"),
        ("itself", "system:node:n1"),
        ("another node", "system:node:n2"),
        ("a name that begins with kube-proxy's", "system:kube-proxy2"),
        ("kube-proxy in upper case", "System:Kube-Proxy"),
        ("kube-proxy and a space", "system:kube-proxy "),
    ];
    let mut rows = others
        .into_iter()
        .map(|(what, name)| row(what, by, &Pkcs10::of(name, &[]), Untouched))
        .collect::<Result<Vec<_>>>()?;
    rows.extend([
        row("kube-proxy in system:masters", by, &Pkcs10::of(NAME, &["system:masters"]), Refused(403))?,
        row("kube-proxy in system:nodes", by, &Pkcs10::of(NAME, &["system:nodes"]), wrong)?,
        row("kube-proxy in a group of an operator's", by, &Pkcs10::of(NAME, &["cluster-admins"]), wrong)?,
        row("kube-proxy and an organizational unit", by, &good().rdn(UNIT, "x"), wrong)?,
        row("kube-proxy and a country", by, &good().rdn(COUNTRY, "CN"), wrong)?,
        row(
            "kube-proxy and a second common name",
            by,
            &good().rdn("2.5.4.3", "kubernetes-admin"),
            Untouched,
        )?,
        row(
            "another name before kube-proxy's",
            by,
            &Pkcs10::of("kubernetes-admin", &[]).rdn("2.5.4.3", NAME),
            Untouched,
        )?,
        row("a group of nodes and kube-proxy's name as a group", by, &Pkcs10::of("x", &[NAME]), Untouched)?,
    ]);
    Ok(rows)
}

fn shape() -> Result<Vec<Row>> {
    let by = Node("n1");
    let names = Held("NamesMismatch");
    let using = |what, usages, seconds, expected: Expected| {
        let envelope = Envelope { seconds, ..Envelope::of(API_CLIENT, usages, Pkcs10::of(NAME, &[]).pem()?) };
        Ok::<_, anyhow::Error>(Row::new("kube-proxy", what, by, envelope, expected))
    };
    let usages = Expected::from(Held("UsageMismatch"));
    Ok(vec![
        row("with a DNS name", by, &Pkcs10::of(NAME, &[]).dns("n1"), names)?,
        row("with an address", by, &Pkcs10::of(NAME, &[]).ip([10, 77, 0, 1]), names)?,
        row("with a key on P-521", by, &Pkcs10::of(NAME, &[]).key(Algorithm::P521), Untouched)?,
        using("with server auth too", &["digital signature", "client auth", "server auth"], None, usages)?,
        using("without client auth", &["digital signature"], None, usages)?,
        using("with client auth alone", &["client auth"], None, Issued.into())?,
        using(
            "for longer than the policy's",
            CLIENT_USAGES,
            Some(i32::MAX),
            Expected::each(Held("LifetimeTooLong"), Issued),
        )?,
    ])
}
