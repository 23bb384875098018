//! Forms of requests: serving requests that would be approved but for how they are written.

use anyhow::Result;

use super::{
    super::verdict::{
        Expected,
        Outcome::{Approved, Denied, Issued, Refused},
    },
    Requester::Node,
    Row, serving,
};
use crate::requests::{
    Envelope, KUBELET_SERVING, SERVER_USAGES,
    der::{sequence, value, yes},
    pkcs10::{Algorithm, BASIC_CONSTRAINTS, Name, Pkcs10, UNIT},
};

/// A request with a key of 1,024 bits, by openssl, for node `f1`.
const RSA_1024: &str = include_str!("rsa1024.csr");
/// A request signed over SHA-1, by openssl, for node `f1`.
const SHA1: &str = include_str!("sha1.csr");

/// Nothing that a parser takes: 1.36 refuses it when it looks for the node's own name in it.
const UNREADABLE: Expected = Expected::each(Refused(403), Refused(422));

const MALFORMED: super::super::verdict::Outcome = Denied("Malformed");

pub(super) fn rows() -> Result<Vec<Row>> {
    Ok([keys()?, extensions()?, pem()?, usages()?].concat())
}

fn good() -> Pkcs10 {
    Pkcs10::node("f1").dns("f1")
}

fn row(what: &'static str, envelope: Envelope, expected: impl Into<Expected>) -> Row {
    Row::new("form", what, Node("f1"), envelope, expected)
}

fn keys() -> Result<Vec<Row>> {
    Ok(vec![
        row("a key on P-256", serving(&good())?, Issued),
        row("a key on P-384", serving(&good().key(Algorithm::P384))?, Issued),
        row("an RSA key of 2,048 bits", serving(&good().key(Algorithm::Rsa2048))?, Issued),
        row("a key on P-521", serving(&good().key(Algorithm::P521))?, MALFORMED),
        row("an Ed25519 key", serving(&good().key(Algorithm::Ed25519))?, MALFORMED),
        row("an RSA key of 1,024 bits", Envelope::kubelet_serving(RSA_1024), MALFORMED),
        row("signed over SHA-1", Envelope::kubelet_serving(SHA1), MALFORMED),
        row("a signature that does not verify", serving(&Pkcs10 { forged: true, ..good() })?, Refused(422)),
    ])
}

fn extensions() -> Result<Vec<Row>> {
    let authority = sequence(&[yes()]);
    let no_authority = sequence(&[]);
    let null = value(0x05, &[]);
    let victim = || vec![Name::Dns("victim".to_owned())];
    let second = Pkcs10 { second_attribute: Some(victim()), ..good() };
    Ok(vec![
        row(
            "to be a certificate authority",
            serving(&good().extension(BASIC_CONSTRAINTS, true, authority.clone()))?,
            MALFORMED,
        ),
        row(
            "to be a certificate authority, not critical",
            serving(&good().extension(BASIC_CONSTRAINTS, false, authority))?,
            MALFORMED,
        ),
        row(
            "to be no certificate authority",
            serving(&good().extension(BASIC_CONSTRAINTS, true, no_authority))?,
            Issued,
        ),
        row(
            "an unknown critical extension",
            serving(&good().extension("1.3.6.1.4.1.55555.1", true, null.clone()))?,
            MALFORMED,
        ),
        row(
            "an unknown extension",
            serving(&good().extension("1.3.6.1.4.1.55555.1", false, null))?,
            MALFORMED,
        ),
        // Go 1.19 began to refuse these itself.
        row(
            "alternative names in two extensions",
            serving(&good().second_names(&victim()))?,
            Expected::each(Refused(403), MALFORMED),
        ),
        row(
            "alternative names in two attributes",
            serving(&second)?,
            Expected::each(Refused(403), MALFORMED),
        ),
        row("an organizational unit", serving(&good().rdn(UNIT, "x"))?, Denied("SubjectMismatch")),
    ])
}

fn pem() -> Result<Vec<Row>> {
    let whole = good().pem()?;
    let other = Pkcs10::node("f1").dns("victim").pem()?;
    let pem = |text: String| Envelope::kubelet_serving(text);
    let many = good().names((0..3_000).map(|n| Name::Dns(format!("f1-{n}.corp.example"))).collect());
    let label = |text: &str| whole.replace("CERTIFICATE REQUEST", text);
    Ok(vec![
        row("a second block after it", pem(format!("{whole}{other}")), MALFORMED),
        row("a second block before it", pem(format!("{other}{whole}")), MALFORMED),
        row("text before it", pem(format!("hello\n{whole}")), MALFORMED),
        row("text after it", pem(format!("{whole}hello\n")), MALFORMED),
        row("a header in it", pem(whole.replacen("REQUEST-----\n", "REQUEST-----\nA: b\n\n", 1)), MALFORMED),
        row("blank lines around it", pem(format!("\n\n{whole}\n\n")), Approved),
        row("another label", pem(label("NEW CERTIFICATE REQUEST")), UNREADABLE),
        row("a certificate's label", pem(label("CERTIFICATE")), UNREADABLE),
        row("nothing", pem(String::new()), UNREADABLE),
        row("no PEM", pem("hello".to_owned()), UNREADABLE),
        row("cut in the middle", pem(whole[..whole.len() / 2].to_owned()), UNREADABLE),
        row("more than 64 KiB", serving(&many)?, MALFORMED),
        row("more than 64 KiB of blank lines", pem(format!("{whole}{}", "\n".repeat(66_000))), MALFORMED),
    ])
}

fn usages() -> Result<Vec<Row>> {
    let mismatch = Denied("UsageMismatch");
    let using = |usages| Ok::<_, anyhow::Error>(Envelope::of(KUBELET_SERVING, usages, good().pem()?));
    Ok(vec![
        row(
            "client auth beside server auth",
            using(&["digital signature", "key encipherment", "server auth", "client auth"])?,
            mismatch,
        ),
        row(
            "client auth instead of server auth",
            using(&["digital signature", "key encipherment", "client auth"])?,
            mismatch,
        ),
        row("no digital signature", using(&["key encipherment", "server auth"])?, mismatch),
        row(
            "code signing",
            using(&["digital signature", "key encipherment", "server auth", "code signing"])?,
            mismatch,
        ),
        row(
            "without key encipherment",
            using(&["digital signature", "server auth"])?,
            Expected::each(Issued, mismatch),
        ),
        row(
            "a usage nobody knows",
            using(&["digital signature", "server auth", "world domination"])?,
            Refused(422),
        ),
        row(
            "a usage twice",
            using(&["digital signature", "digital signature", "key encipherment", "server auth"])?,
            Refused(422),
        ),
        row(
            "for longer than the policy's",
            Envelope { seconds: Some(31_708_801), ..using(SERVER_USAGES)? },
            Expected::each(Denied("LifetimeTooLong"), Issued),
        ),
        row(
            "for as long as the policy's",
            Envelope { seconds: Some(31_708_800), ..using(SERVER_USAGES)? },
            Issued,
        ),
        row(
            "for less than ten minutes",
            Envelope { seconds: Some(599), ..using(SERVER_USAGES)? },
            Expected::each(Refused(422), Issued),
        ),
    ])
}
