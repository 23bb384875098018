//! Keys, an authority and its signer for the model: right certificates, and wrong in every way that is checked.

use std::sync::LazyLock;
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::desired::cluster_info;
use crate::names::CaPin;
use crate::ports::keys;

/// A key that no world makes.
pub(super) const SPARE: usize = 90;

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
    issuer: Issuer<'static, KeyPair>,
    other: Issuer<'static, KeyPair>,
    pairs: Vec<KeyPair>,
    /// The hashes of the keys that are made, in the order in which they are.
    pub(super) keys: Vec<String>,
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
    let pairs: Vec<KeyPair> = (0..=SPARE).map(|_| KeyPair::generate().unwrap()).collect();
    let hash = |pair: &KeyPair| keys::public_key_hash(&pair.serialize_pem().into()).unwrap();
    let keys = pairs.iter().map(hash).collect();
    Fixture { ca, issuer, other, pairs, keys }
});

impl Fixture {
    /// What a configuration knows the CA by.
    pub(super) fn pin(&self) -> CaPin {
        cluster_info::sort(&[], self.ca.as_bytes()).unwrap().1.remove(0)
    }

    /// The key after `key`; the last one comes before the first.
    pub(super) fn next_key(&self, key: Option<&str>) -> &str {
        let at = key.and_then(|key| self.keys.iter().position(|known| known == key)).map_or(0, |at| at + 1);
        &self.keys[at % SPARE]
    }

    fn pair(&self, hash: &str) -> &KeyPair {
        &self.pairs[self.keys.iter().position(|key| key == hash).unwrap()]
    }

    /// The request with the key of this hash, as the API server has it.
    pub(super) fn request(
        &self,
        spec: &CertificateSpec,
        key: &str,
        token: &str,
    ) -> CertificateSigningRequest {
        let pem = keys::request(&self.pair(key).serialize_pem().into(), &spec.subject).unwrap();
        let mut request = spec.request_object(&spec.request_name(key), pem);
        request.spec.username = Some(match spec.purpose {
            Purpose::KubeletClient => format!("system:bootstrap:{token}"),
            Purpose::KubeProxy => "system:node:n1".to_owned(),
        });
        request
    }

    /// What the signer makes of a request: PEM, valid from and until these seconds.
    pub(super) fn issue(
        &self,
        request: &CertificateSigningRequest,
        issued: Issued,
        (from, until): (i64, i64),
    ) -> String {
        if issued == Issued::Garbage {
            return "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        }
        let at =
            |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap());
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (at(from), at(until));
        params.distinguished_name = DistinguishedName::new();
        let proxy = request.metadata.name.as_ref().unwrap().starts_with("kn-proxy-");
        if !proxy {
            params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        }
        let name = match issued {
            Issued::OtherName => "system:node:n2",
            _ if proxy => "system:kube-proxy",
            _ => "system:node:n1",
        };
        params.distinguished_name.push(DnType::CommonName, name);
        let key = keys::request_key_hash(&request.spec.request.0).unwrap();
        let key = if issued == Issued::OtherKey { self.next_key(Some(&key)) } else { &key };
        let by = if issued == Issued::OtherCa { &self.other } else { &self.issuer };
        params.signed_by(self.pair(key), by).unwrap().pem()
    }
}
