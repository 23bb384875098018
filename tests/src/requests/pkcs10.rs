//! PKCS #10 requests of any content, signed with a key of their own.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use rcgen::{KeyPair, PublicKeyData as _, SignatureAlgorithm, SigningKey as _};

use super::der::{bits, octets, oid, sequence, set, utf8, value, yes};

const COMMON_NAME: &str = "2.5.4.3";
const ORGANIZATION: &str = "2.5.4.10";
/// `organizationalUnitName`.
pub(crate) const UNIT: &str = "2.5.4.11";
/// `countryName`.
pub(crate) const COUNTRY: &str = "2.5.4.6";
const ALTERNATIVE_NAMES: &str = "2.5.29.17";
/// `basicConstraints`.
pub(crate) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";

/// What a request is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa2048,
}

impl Algorithm {
    fn of_rcgen(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
            Self::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        }
    }

    fn identifier(self) -> Vec<u8> {
        match self {
            Self::P256 => sequence(&[oid("1.2.840.10045.4.3.2")]),
            Self::P384 => sequence(&[oid("1.2.840.10045.4.3.3")]),
            Self::P521 => sequence(&[oid("1.2.840.10045.4.3.4")]),
            Self::Ed25519 => sequence(&[oid("1.3.101.112")]),
            Self::Rsa2048 => sequence(&[oid("1.2.840.113549.1.1.11"), vec![5, 0]]),
        }
    }
}

/// A subject alternative name.
#[derive(Debug, Clone)]
pub(crate) enum Name {
    Dns(String),
    Ip(IpAddr),
    /// An address of any number of bytes.
    IpBytes(Vec<u8>),
    Email(&'static str),
    Uri(&'static str),
    /// `registeredID`, which no certificate of ours could have.
    Registered(&'static str),
}

impl Name {
    fn der(&self) -> Vec<u8> {
        match self {
            Self::Email(text) => value(0x81, text.as_bytes()),
            Self::Dns(text) => value(0x82, text.as_bytes()),
            Self::Uri(text) => value(0x86, text.as_bytes()),
            Self::Ip(IpAddr::V4(address)) => value(0x87, &address.octets()),
            Self::Ip(IpAddr::V6(address)) => value(0x87, &address.octets()),
            Self::IpBytes(bytes) => value(0x87, bytes),
            Self::Registered(dotted) => value(0x88, &oid(dotted)[2..]),
        }
    }
}

/// What is asked for. The default asks for nothing, with a P-256 key.
#[derive(Debug, Clone)]
pub(crate) struct Pkcs10 {
    /// Object identifiers and values, one RDN each.
    pub(crate) subject: Vec<(&'static str, String)>,
    pub(crate) names: Vec<Name>,
    /// Object identifier, whether critical, content.
    pub(crate) extensions: Vec<(&'static str, bool, Vec<u8>)>,
    pub(crate) algorithm: Algorithm,
    /// Another request for extensions beside the first.
    pub(crate) second_attribute: Option<Vec<Name>>,
    /// A signature that does not verify.
    pub(crate) forged: bool,
}

impl Pkcs10 {
    /// A request for a common name in an organization.
    pub(crate) fn of(common_name: &str, organizations: &[&str]) -> Self {
        let mut subject = vec![(COMMON_NAME, common_name.to_owned())];
        subject.extend(organizations.iter().map(|name| (ORGANIZATION, (*name).to_owned())));
        Self {
            subject,
            names: Vec::new(),
            extensions: Vec::new(),
            algorithm: Algorithm::P256,
            second_attribute: None,
            forged: false,
        }
    }

    /// What a kubelet asks for.
    pub(crate) fn node(name: &str) -> Self {
        Self::of(&format!("system:node:{name}"), &["system:nodes"])
    }

    /// With a DNS name.
    pub(crate) fn dns(self, name: impl Into<String>) -> Self {
        self.name(Name::Dns(name.into()))
    }

    /// With an address.
    pub(crate) fn ip(self, address: impl Into<IpAddr>) -> Self {
        self.name(Name::Ip(address.into()))
    }

    /// With an alternative name.
    pub(crate) fn name(mut self, name: Name) -> Self {
        self.names.push(name);
        self
    }

    /// With another attribute in the subject.
    pub(crate) fn rdn(mut self, kind: &'static str, text: &str) -> Self {
        self.subject.push((kind, text.to_owned()));
        self
    }

    /// With an extension.
    pub(crate) fn extension(mut self, kind: &'static str, critical: bool, content: Vec<u8>) -> Self {
        self.extensions.push((kind, critical, content));
        self
    }

    /// With alternative names.
    pub(crate) fn names(mut self, names: Vec<Name>) -> Self {
        self.names.extend(names);
        self
    }

    /// With a second extension of alternative names beside the first.
    pub(crate) fn second_names(self, names: &[Name]) -> Self {
        self.extension(ALTERNATIVE_NAMES, false, general_names(names))
    }

    /// With a key of this kind.
    pub(crate) fn key(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// A key that fits.
    pub(crate) fn new_key(&self) -> Result<KeyPair> {
        KeyPair::generate_for(self.algorithm.of_rcgen()).context("cannot make a key")
    }

    /// PEM, with a key that nobody keeps.
    pub(crate) fn pem(&self) -> Result<String> {
        self.pem_with(&self.new_key()?)
    }

    /// PEM, signed with `key`.
    pub(crate) fn pem_with(&self, key: &KeyPair) -> Result<String> {
        Ok(pem(&self.der(key)?))
    }

    fn der(&self, key: &KeyPair) -> Result<Vec<u8>> {
        let rdns: Vec<_> = self
            .subject
            .iter()
            .map(|(kind, text)| {
                // A country is a PrintableString.
                let text = if *kind == COUNTRY { value(0x13, text.as_bytes()) } else { utf8(text) };
                set(&sequence(&[oid(kind), text]))
            })
            .collect();
        let info = sequence(&[
            value(0x02, &[0]),
            sequence(&rdns),
            key.subject_public_key_info(),
            value(0xa0, &self.attributes()),
        ]);
        let mut signature = key.sign(&info).context("cannot sign")?;
        if self.forged
            && let Some(last) = signature.last_mut()
        {
            *last ^= 1;
        }
        Ok(sequence(&[info, self.algorithm.identifier(), bits(&signature)]))
    }

    fn attributes(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        if !self.names.is_empty() {
            extensions.push(extension(ALTERNATIVE_NAMES, false, &general_names(&self.names)));
        }
        extensions.extend(
            self.extensions.iter().map(|(kind, critical, content)| extension(kind, *critical, content)),
        );
        let mut attributes = Vec::new();
        if !extensions.is_empty() {
            attributes.extend(request_for(&extensions));
        }
        if let Some(names) = &self.second_attribute {
            attributes.extend(request_for(&[extension(ALTERNATIVE_NAMES, false, &general_names(names))]));
        }
        attributes
    }
}

/// PEM of a request.
fn pem(der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", lines.join("\n"))
}

/// RFC 4648 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let character = if place > chunk.len() { b'=' } else { ALPHABET[group >> (18 - 6 * place) & 63] };
            out.push(char::from(character));
        }
    }
    out
}

fn request_for(extensions: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[oid(EXTENSION_REQUEST), set(&sequence(extensions))])
}

fn extension(kind: &str, critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { yes() } else { Vec::new() };
    sequence(&[oid(kind), critical, octets(content)])
}

fn general_names(names: &[Name]) -> Vec<u8> {
    sequence(&names.iter().map(Name::der).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_it_should() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
