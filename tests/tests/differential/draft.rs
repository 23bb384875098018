//! A request before it is written: everything about it that a mutation may change.

use anyhow::Result;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};

use crate::der::{self, oid};
use crate::keys::{Keys, Kind, Signed, Signing};
use crate::ours::Known;

/// An attribute of the subject.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) oid: &'static [u8],
    pub(crate) tag: u8,
    pub(crate) value: Vec<u8>,
}

impl Attribute {
    pub(crate) fn new(oid: &'static [u8], value: &str) -> Self {
        Self { oid, tag: der::UTF8, value: value.into() }
    }

    fn encoded(&self) -> Vec<u8> {
        der::sequence(&[der::identifier(self.oid), der::tlv(self.tag, &self.value)])
    }
}

/// An extension that is requested.
#[derive(Debug, Clone)]
pub(crate) struct Extension {
    pub(crate) oid: &'static [u8],
    /// The content of the BOOLEAN, where there is one.
    pub(crate) critical: Option<u8>,
    pub(crate) value: Vec<u8>,
}

impl Extension {
    pub(crate) fn new(oid: &'static [u8], value: Vec<u8>) -> Self {
        Self { oid, critical: None, value }
    }

    /// The alternative names that `names` are, each with its tag.
    pub(crate) fn of_names(names: &[(u8, Vec<u8>)]) -> Self {
        let names: Vec<_> = names.iter().map(|(tag, value)| der::tlv(*tag, value)).collect();
        Self::new(oid::ALTERNATIVE_NAMES, der::sequence(&names))
    }

    fn encoded(&self) -> Vec<u8> {
        let critical = self.critical.map(|value| der::tlv(der::BOOLEAN, &[value]));
        let value = der::tlv(der::OCTET_STRING, &self.value);
        der::sequence(&[der::identifier(self.oid), critical.unwrap_or_default(), value])
    }
}

/// How the public key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyForm {
    Usual,
    /// An EC point by its x alone.
    Compressed,
    /// An algorithm without its parameters.
    NoParameters,
    /// A BIT STRING that says some of its bits are unused.
    UnusedBits,
}

/// What is done to the signature after it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureForm {
    Usual,
    OfAnotherKey,
    OverAnotherText,
    Flipped(usize),
    Zero,
    Empty,
    /// The algorithm that is named is another one.
    Mislabelled,
}

/// What is done to the bytes. Before signing: to what is signed. After: to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bytes {
    Usual,
    FlippedBeforeSigning(usize),
    FlippedAfterSigning(usize),
    LongLength,
    IndefiniteLength,
    LongInnerLength,
    Trailing(u8),
    TrailingInside,
    Cut(usize),
}

/// What is done to the text.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Usual,
    Label(&'static str),
    /// Put before the block.
    Before(Vec<u8>),
    /// Put after the block.
    After(Vec<u8>),
    /// In place of the first line's end.
    Header(&'static str),
    Newline(&'static str),
    OneLine,
    /// In place of the last line's end.
    NoNewline,
    /// The DER itself.
    Der,
    Instead(Vec<u8>),
    /// Spaces, or worse, within the base64.
    Within(&'static str),
}

/// A request before it is written.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) known: Known,
    pub(crate) signer: String,
    pub(crate) username: String,
    pub(crate) groups: Vec<String>,
    pub(crate) usages: Vec<String>,
    pub(crate) lifetime: Option<i32>,
    /// The sets of the subject, and what is written after them.
    pub(crate) subject: Vec<Vec<Attribute>>,
    pub(crate) subject_tail: Vec<u8>,
    pub(crate) version: u8,
    pub(crate) key: (Kind, usize),
    pub(crate) key_form: KeyForm,
    pub(crate) signing: Signing,
    pub(crate) signature_form: SignatureForm,
    /// Alternative names: tag and content.
    pub(crate) names: Vec<(u8, Vec<u8>)>,
    pub(crate) names_critical: Option<u8>,
    pub(crate) names_tail: Vec<u8>,
    /// Requested beside the alternative names.
    pub(crate) extensions: Vec<Extension>,
    /// A second value in the set of the attribute that requests extensions.
    pub(crate) second_value: Option<Vec<Extension>>,
    /// Other attributes, encoded, before and after that one.
    pub(crate) before: Vec<Vec<u8>>,
    pub(crate) after: Vec<Vec<u8>>,
    pub(crate) bytes: Bytes,
    pub(crate) text: Text,
}

/// An attribute of the request that asks for `extensions`.
pub(crate) fn extension_request(values: &[&[Extension]]) -> Vec<u8> {
    let values: Vec<_> = values
        .iter()
        .map(|extensions| der::sequence(&extensions.iter().map(Extension::encoded).collect::<Vec<_>>()))
        .collect();
    der::sequence(&[der::identifier(oid::EXTENSIONS), der::set(&values)])
}

impl Draft {
    /// The object, as the API server would store it.
    pub(crate) fn object(&self, keys: &Keys) -> Result<CertificateSigningRequest> {
        let mut csr = CertificateSigningRequest::default();
        csr.metadata.name = Some("request".to_owned());
        csr.spec = CertificateSigningRequestSpec {
            signer_name: self.signer.clone(),
            username: Some(self.username.clone()),
            groups: Some(self.groups.clone()),
            usages: Some(self.usages.clone()),
            expiration_seconds: self.lifetime,
            request: ByteString(self.written(&self.der(keys)?)),
            ..CertificateSigningRequestSpec::default()
        };
        Ok(csr)
    }

    /// The request, signed.
    pub(crate) fn der(&self, keys: &Keys) -> Result<Vec<u8>> {
        let mut info = self.info(keys)?;
        if let Bytes::FlippedBeforeSigning(bit) = self.bytes {
            flip(&mut info, bit);
        }
        let Signed { algorithm, signature } = self.signed(&info, keys)?;
        let mut parts = vec![info, algorithm, der::bits(&signature)];
        if self.bytes == Bytes::TrailingInside {
            parts.push(der::tlv(5, &[]));
        }
        let content = parts.concat();
        let mut whole = match self.bytes {
            Bytes::LongLength => der::long_tlv(der::SEQUENCE, &content),
            Bytes::IndefiniteLength => der::indefinite(der::SEQUENCE, &content),
            _ => der::tlv(der::SEQUENCE, &content),
        };
        match self.bytes {
            Bytes::FlippedAfterSigning(bit) => flip(&mut whole, bit),
            Bytes::Trailing(byte) => whole.push(byte),
            Bytes::Cut(bytes) => whole.truncate(whole.len() - 1 - bytes % (whole.len() - 1)),
            _ => {}
        }
        Ok(whole)
    }

    fn signed(&self, info: &[u8], keys: &Keys) -> Result<Signed> {
        let (kind, which) = self.key;
        let mut signed = match self.signature_form {
            SignatureForm::OfAnotherKey if self.signing == Signing::Usual => {
                keys.sign(Kind::P256, which + 1, Signing::Usual, info)?
            }
            SignatureForm::OverAnotherText => keys.sign(kind, which, self.signing, b"something else")?,
            _ => keys.sign(kind, which, self.signing, info)?,
        };
        match self.signature_form {
            SignatureForm::Flipped(bit) => flip(&mut signed.signature, bit),
            SignatureForm::Zero => signed.signature.fill(0),
            SignatureForm::Empty => signed.signature.clear(),
            SignatureForm::Mislabelled => signed.algorithm = der::sequence(&[der::identifier(oid::UNKNOWN)]),
            _ => {}
        }
        Ok(signed)
    }

    fn info(&self, keys: &Keys) -> Result<Vec<u8>> {
        let mut sets: Vec<Vec<u8>> = Vec::new();
        for set in &self.subject {
            sets.push(der::set(&set.iter().map(Attribute::encoded).collect::<Vec<_>>()));
        }
        sets.push(self.subject_tail.clone());
        let (kind, which) = self.key;
        let key = shaped(&keys.public(kind, which, self.signing)?, self.key_form);
        let mut attributes = self.before.clone();
        let mut extensions = Vec::new();
        if !self.names.is_empty() {
            let mut names = Extension::of_names(&self.names);
            names.critical = self.names_critical;
            names.value.extend(&self.names_tail);
            extensions.push(names);
        }
        extensions.extend(self.extensions.iter().cloned());
        if let Some(second) = &self.second_value {
            attributes.push(extension_request(&[&extensions, second]));
        } else if !extensions.is_empty() {
            attributes.push(extension_request(&[&extensions]));
        }
        attributes.extend(self.after.iter().cloned());
        let subject = match self.bytes {
            Bytes::LongInnerLength => der::long_tlv(der::SEQUENCE, &sets.concat()),
            _ => der::sequence(&sets),
        };
        let version = der::tlv(2, &[self.version]);
        Ok(der::sequence(&[version, subject, key, der::tlv(0xa0, &attributes.concat())]))
    }

    fn written(&self, request: &[u8]) -> Vec<u8> {
        const LABEL: &str = "CERTIFICATE REQUEST";
        let usual = || der::pem(LABEL, request, "\n");
        match &self.text {
            Text::Usual => usual().into_bytes(),
            Text::Label(label) => der::pem(label, request, "\n").into_bytes(),
            Text::Before(text) => [text.as_slice(), usual().as_bytes()].concat(),
            Text::After(text) => [usual().as_bytes(), text.as_slice()].concat(),
            Text::Header(header) => usual().replacen("-----\n", header, 1).into_bytes(),
            Text::Newline(newline) => der::pem(LABEL, request, newline).into_bytes(),
            Text::OneLine => {
                format!("-----BEGIN {LABEL}-----\n{}\n-----END {LABEL}-----\n", der::base64(request))
                    .into_bytes()
            }
            Text::NoNewline => usual().trim_end().as_bytes().to_vec(),
            Text::Der => request.to_vec(),
            Text::Instead(text) => text.clone(),
            Text::Within(text) => {
                let usual = usual();
                let (start, rest) = usual.split_at(usual.len() / 2);
                format!("{start}{text}{rest}").into_bytes()
            }
        }
    }
}

fn flip(bytes: &mut [u8], bit: usize) {
    let bits = bytes.len() * 8;
    if bits > 0 {
        bytes[bit % bits / 8] ^= 1 << (bit % 8);
    }
}

/// A public key in another form.
fn shaped(key: &[u8], form: KeyForm) -> Vec<u8> {
    let parts = || {
        let (_, content, _) = der::read(key)?;
        let (_, algorithm, rest) = der::read(content)?;
        let (_, bits, _) = der::read(rest)?;
        Some((algorithm, bits.get(1..)?))
    };
    let Some((algorithm, bits)) = parts() else { return key.to_vec() };
    let algorithm_of = |content: &[u8]| der::tlv(der::SEQUENCE, content);
    match form {
        KeyForm::Compressed if bits.first() == Some(&4) => {
            let odd = bits.last().is_some_and(|last| last & 1 == 1);
            let point = [&[2 + u8::from(odd)], &bits[1..=bits.len() / 2]].concat();
            der::sequence(&[algorithm_of(algorithm), der::bits(&point)])
        }
        KeyForm::Usual | KeyForm::Compressed => key.to_vec(),
        KeyForm::NoParameters => {
            let length = der::read(algorithm).map_or(0, |(_, _, rest)| algorithm.len() - rest.len());
            der::sequence(&[algorithm_of(&algorithm[..length]), der::bits(bits)])
        }
        KeyForm::UnusedBits => {
            let bits = der::tlv(der::BIT_STRING, &[&[3], bits].concat());
            der::sequence(&[algorithm_of(algorithm), bits])
        }
    }
}
