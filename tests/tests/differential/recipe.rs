//! A request to be made: a well-formed one, and what is changed in it. From the same seed the same recipe; only keys and
//! signatures are new in each run.

use anyhow::Result;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kn_agent::cluster::policy::{API_CLIENT, KUBELET_CLIENT, KUBELET_SERVING};
use kn_agent::cluster::{NODES_GROUP, TOKEN_GROUP, node_group};
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};

use crate::der::{self, oid};
use crate::draft::{Attribute, Bytes, Draft, KeyForm, SignatureForm, Text};
use crate::keys::{Keys, Kind, Signing};
use crate::mutate::{self, Mutation};
use crate::ours::Known;
use crate::rng::Rng;

/// The kinds of request that nodes make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Bootstrap,
    Renewal,
    Serving,
    Proxy,
}

/// A request to be made.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) purpose: Purpose,
    pub(crate) mutations: Vec<Mutation>,
    by_rcgen: bool,
    seed: u64,
}

const NODES: [&str; 8] =
    ["n1", "worker-1", "worker-2", "a", "ip-10-0-0-7.eu-west-1.compute.internal", "n1.corp", "0", "x-y.z"];

impl Recipe {
    /// The next one: most with one change or two.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let purpose = match rng.below(100) {
            0..12 => Purpose::Bootstrap,
            12..40 => Purpose::Renewal,
            40..82 => Purpose::Serving,
            _ => Purpose::Proxy,
        };
        let count = match rng.below(100) {
            0..28 => 0,
            28..82 => 1,
            _ => 2,
        };
        let mutations = (0..count).map(|_| Mutation::draw(rng)).collect();
        Self { purpose, mutations, by_rcgen: rng.percent(50), seed: rng.next() }
    }

    /// The same without the changes of these classes: what a judge that is blind to them takes it for. `None` where it
    /// has none of them.
    pub(crate) fn without(&self, classes: &[mutate::Class]) -> Option<Self> {
        let kept: Vec<_> =
            self.mutations.iter().filter(|mutation| !classes.contains(&mutation.class)).cloned().collect();
        (kept.len() < self.mutations.len()).then(|| Self { mutations: kept, by_rcgen: false, ..self.clone() })
    }

    /// The request, and what the cluster knows of its node.
    pub(crate) fn make(&self, keys: &Keys) -> Result<(CertificateSigningRequest, Known)> {
        let mut draft = self.base();
        for mutation in &self.mutations {
            mutation.apply(&mut draft);
        }
        let mut object = draft.object(keys)?;
        if self.by_rcgen && self.mutations.is_empty() {
            object.spec.request = ByteString(by_rcgen(&draft, keys)?.into_bytes());
        }
        Ok((object, draft.known))
    }

    /// As a node would ask.
    fn base(&self) -> Draft {
        let mut rng = Rng::new(self.seed);
        let name = rng.pick(&NODES);
        let user = format!("system:node:{name}");
        let known = known(name, &mut rng);
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (signer, purpose) = match self.purpose {
            Purpose::Bootstrap | Purpose::Renewal => (KUBELET_CLIENT, "client auth"),
            Purpose::Serving => (KUBELET_SERVING, "server auth"),
            Purpose::Proxy => (API_CLIENT, "client auth"),
        };
        let mut usages = strings(&["digital signature", purpose]);
        if rng.percent(60) {
            usages.insert(rng.below(3), "key encipherment".to_owned());
        }
        let (username, groups) = if self.purpose == Purpose::Bootstrap {
            let bound = name.parse().map(|name| node_group(&name)).unwrap_or_default();
            ("system:bootstrap:abcdef".to_owned(), strings(&["system:bootstrappers", TOKEN_GROUP, &bound]))
        } else {
            (user.clone(), strings(&[NODES_GROUP, "system:authenticated"]))
        };
        let organization = Attribute::new(oid::ORGANIZATION, NODES_GROUP);
        let subject = match self.purpose {
            Purpose::Proxy => vec![vec![Attribute::new(oid::COMMON_NAME, "system:kube-proxy")]],
            _ => vec![vec![organization], vec![Attribute::new(oid::COMMON_NAME, &user)]],
        };
        let mut draft = Draft {
            signer: signer.to_owned(),
            username,
            groups,
            usages,
            lifetime: rng.percent(30).then(|| rng.pick(&[600, 3600, 86_400, 31_536_000])),
            subject,
            subject_tail: Vec::new(),
            version: 0,
            key: (rng.pick(&[Kind::P256, Kind::P256, Kind::P256, Kind::P384, Kind::Rsa2048]), rng.below(6)),
            key_form: KeyForm::Usual,
            signing: Signing::Usual,
            signature_form: SignatureForm::Usual,
            names: Vec::new(),
            names_critical: rng.percent(10).then_some(0xff),
            names_tail: Vec::new(),
            extensions: Vec::new(),
            second_value: None,
            before: Vec::new(),
            after: Vec::new(),
            bytes: Bytes::Usual,
            text: Text::Usual,
            known,
        };
        ordinary_spelling(&mut draft, &mut rng);
        if self.purpose == Purpose::Serving {
            own_names(&mut draft, &mut rng);
        }
        draft
    }
}

fn known(name: &str, rng: &mut Rng) -> Known {
    let mut known = Known { dns_names: vec![name.to_owned()], addresses: Vec::new() };
    if rng.percent(40) {
        known.dns_names.push(format!("{name}.example.com"));
    }
    let [a, b, c, d] = rng.next().to_le_bytes().first_chunk().copied().unwrap_or_default();
    known.addresses.push([10, a, b, c].into());
    if rng.percent(40) {
        known.addresses.push([0xfd00, 0, 0, 0, 0, 0, u16::from(d), 1].into());
    }
    known
}

/// The order of the subject and its types of string differ between those who write requests.
fn ordinary_spelling(draft: &mut Draft, rng: &mut Rng) {
    if rng.percent(30) {
        draft.subject.reverse();
    }
    let tag = if rng.percent(50) { der::UTF8 } else { der::PRINTABLE };
    for attribute in draft.subject.iter_mut().flatten() {
        attribute.tag = tag;
    }
}

/// Some of what the Node's status lists, and at least one.
fn own_names(draft: &mut Draft, rng: &mut Rng) {
    let Known { dns_names, addresses } = draft.known.clone();
    let start = rng.below(2);
    for name in dns_names.iter().skip(start) {
        draft.names.push((0x82, name.clone().into_bytes()));
    }
    for address in &addresses[..=rng.below(addresses.len())] {
        draft.names.push((0x87, mutate::octets(*address)));
    }
}

/// The same request as the library writes it that the agent uses.
fn by_rcgen(draft: &Draft, keys: &Keys) -> Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for attribute in draft.subject.iter().flatten() {
        let kind =
            if attribute.oid == oid::COMMON_NAME { DnType::CommonName } else { DnType::OrganizationName };
        params.distinguished_name.push(kind, String::from_utf8(attribute.value.clone())?);
    }
    for (tag, value) in &draft.names {
        params.subject_alt_names.push(match <[u8; 4]>::try_from(value.as_slice()) {
            Ok(v4) if *tag == 0x87 => SanType::IpAddress(v4.into()),
            _ if *tag == 0x87 => SanType::IpAddress(<[u8; 16]>::try_from(value.as_slice())?.into()),
            _ => SanType::DnsName(String::from_utf8(value.clone())?.try_into()?),
        });
    }
    Ok(params.serialize_request(keys.pair(draft.key.0, draft.key.1)?)?.pem()?)
}
