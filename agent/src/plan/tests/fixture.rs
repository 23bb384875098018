//! Keys and certificates of the model, made once: right ones, and wrong in every way that is checked.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

use crate::ports::keys;

/// How the signer of the model behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Issued {
    Right,
    OtherKey,
    OtherName,
    OtherCa,
    Garbage,
}

pub(super) struct Fixture {
    pub(super) ca: String,
    pub(super) key_hash: String,
    certificates: BTreeMap<&'static str, String>,
}

pub(super) static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    };
    let (ca, issuer) = authority("kubernetes");
    let (_, other) = authority("kubernetes");
    let (key, other_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let leaf = |name: &str, group: Option<&str>, key: &KeyPair, issuer: &Issuer<'_, KeyPair>| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.signed_by(key, issuer).unwrap().pem()
    };
    let nodes = Some("system:nodes");
    Fixture {
        ca,
        key_hash: keys::public_key_hash(&key.serialize_pem().into()).unwrap(),
        certificates: [
            ("right", leaf("system:node:n1", nodes, &key, &issuer)),
            ("proxy", leaf("system:kube-proxy", None, &key, &issuer)),
            ("other key", leaf("system:node:n1", nodes, &other_key, &issuer)),
            ("other name", leaf("system:node:n2", nodes, &key, &issuer)),
            ("other ca", leaf("system:node:n1", nodes, &key, &other)),
        ]
        .into(),
    }
});

/// What the signer answers to the request of this name.
pub(super) fn pem_for(request: &str, issued: Issued) -> String {
    let name = match issued {
        _ if request.starts_with("kn-proxy-") => "proxy",
        Issued::Right => "right",
        Issued::OtherKey => "other key",
        Issued::OtherName => "other name",
        Issued::OtherCa => "other ca",
        Issued::Garbage => {
            return "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        }
    };
    FIXTURE.certificates[name].clone()
}
