//! Signers that are none of the three: nothing is ever written to their requests.

use anyhow::Result;

use super::{
    super::verdict::{
        Expected,
        Outcome::{Refused, Untouched},
    },
    Requester::{Admin, Node, Token},
    Row,
};
use crate::requests::{CLIENT_USAGES, Envelope, SERVER_USAGES, pkcs10::Pkcs10};

/// The signer that only `v1beta1` of the API knows.
pub(crate) const LEGACY: &str = "kubernetes.io/legacy-unknown";

pub(super) fn rows() -> Result<Vec<Row>> {
    const CLASS: &str = "other signers";
    let node = Pkcs10::node("n1");
    let serving = || node.clone().dns("n1").pem();
    let of = |what, by, signer: &str, expected: Expected| {
        Ok::<_, anyhow::Error>(Row::new(
            CLASS,
            what,
            by,
            Envelope::of(signer, SERVER_USAGES, serving()?),
            expected,
        ))
    };
    let no_signer = Expected::from(Refused(422));
    let mut rows = vec![
        of("example.com/x", Node("n1"), "example.com/x", Untouched.into())?,
        of("ours with something after it", Node("n1"), "kubernetes.io/kubelet-serving2", Untouched.into())?,
        of("ours with something below it", Node("n1"), "kubernetes.io/kubelet-serving.x", Untouched.into())?,
        of(
            "ours in another domain",
            Node("n1"),
            "kubernetes.io.example.com/kubelet-serving",
            Untouched.into(),
        )?,
        of("ours in a domain below", Node("n1"), "x.kubernetes.io/kubelet-serving", Untouched.into())?,
        of("ours in capitals", Node("n1"), "kubernetes.io/Kubelet-Serving", no_signer)?,
        of("our domain in capitals", Node("n1"), "Kubernetes.io/kubelet-serving", no_signer)?,
        of("ours without its domain", Node("n1"), "kubelet-serving", no_signer)?,
        of("none", Node("n1"), "", no_signer)?,
        of("legacy-unknown", Node("n1"), LEGACY, Expected::each(Refused(422), Untouched))?,
        of("legacy-unknown", Admin, LEGACY, Expected::each(Refused(422), Untouched))?,
    ];
    let client = |what, by, signer: &str, expected: Expected| {
        Ok::<_, anyhow::Error>(Row::new(
            CLASS,
            what,
            by,
            Envelope::of(signer, CLIENT_USAGES, Pkcs10::node("s1").pem()?),
            expected,
        ))
    };
    rows.push(client("example.com/x", Token("s1", 0), "example.com/x", Untouched.into())?);
    rows.push(client("legacy-unknown", Token("s1", 0), LEGACY, Expected::each(Refused(422), Untouched))?);
    Ok(rows)
}
