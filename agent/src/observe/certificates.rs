//! Certificates and keys on disk, reduced to what decisions need.

use std::path::Path;

use jiff::Timestamp;
use secrecy::SecretString;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Fact;
use crate::ports::Failure;
use crate::ports::keys;
use crate::ports::root::Root;
use crate::reason::Reason;

/// What matters of a certificate. Its key is checked against it and forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The user it names.
    pub common_name: String,
    /// Its groups.
    pub organizations: Vec<String>,
    /// Valid from, seconds since 1970.
    pub not_before: i64,
    /// Valid until.
    pub not_after: i64,
    /// Whether the key beside it is its own.
    pub key_fits: bool,
    /// It may sign others, which ours never may.
    pub is_ca: bool,
    /// SHA-256 of its public key.
    pub public_key_hash: String,
    /// DER, for the chain check.
    pub der: Vec<u8>,
}

impl Certificate {
    /// Whether it is valid at `now`.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now.as_second())
    }
}

/// A key that waits for its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingKey {
    /// SHA-256 of its public key.
    pub public_key_hash: String,
}

/// The first certificate in PEM text.
///
/// # Errors
/// There is none, or it does not parse.
pub fn parse(pem: &[u8]) -> Result<Certificate, String> {
    let block = x509_parser::pem::Pem::iter_from_buffer(pem)
        .flatten()
        .find(|block| block.label == "CERTIFICATE")
        .ok_or("there is no certificate in it")?;
    let (_, parsed) = X509Certificate::from_der(&block.contents)
        .map_err(|error| format!("its certificate does not parse: {error}"))?;
    let subject = parsed.subject();
    let texts = |attributes: Vec<&str>| attributes.into_iter().map(str::to_owned).collect::<Vec<_>>();
    Ok(Certificate {
        common_name: subject.iter_common_name().find_map(|a| a.as_str().ok()).unwrap_or_default().to_owned(),
        organizations: texts(subject.iter_organization().filter_map(|a| a.as_str().ok()).collect()),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        key_fits: false,
        is_ca: parsed.is_ca(),
        public_key_hash: keys::sha256(parsed.public_key().raw),
        der: block.contents.clone(),
    })
}

/// Whether one of the certificates in `ca_pem` signed the certificate.
pub fn is_signed_by(certificate: &Certificate, ca_pem: &[u8]) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(&certificate.der) else { return false };
    x509_parser::pem::Pem::iter_from_buffer(ca_pem).flatten().any(|block| {
        X509Certificate::from_der(&block.contents).is_ok_and(|(_, ca)| {
            ca.subject() == parsed.issuer() && parsed.verify_signature(Some(ca.public_key())).is_ok()
        })
    })
}

/// The certificate at `path` with its key, through a symlink. A file that is no such pair is an error with the reason.
///
/// # Errors
/// It can't be read or does not parse.
pub fn read(root: &Root, path: &Path) -> Fact<Option<Certificate>> {
    let Some(file) = root.read_following(path)? else { return Ok(None) };
    let bad = |why: String| Failure::new(Reason::FileTrouble, format!("`{}`: {why}", path.display()));
    let mut certificate = parse(&file.content).map_err(bad)?;
    let hash = key_in(&file.content).and_then(|key| keys::public_key_hash(&key).ok());
    certificate.key_fits = hash.as_deref() == Some(certificate.public_key_hash.as_str());
    Ok(Some(certificate))
}

pub(super) fn key_in(pem: &[u8]) -> Option<SecretString> {
    let text = std::str::from_utf8(pem).ok()?;
    let begin = text
        .match_indices("-----BEGIN ")
        .find(|(at, _)| text[*at..].lines().next().is_some_and(|l| l.ends_with("PRIVATE KEY-----")))?
        .0;
    let end = text[begin..].find("-----END ").map(|at| begin + at)?;
    let line = text[end..].lines().next()?;
    Some(text[begin..end + line.len()].to_owned().into())
}

/// The key that waits at `path`. One that does not parse (a full disk, an operator's hand) counts as absent: it is made
/// again, since no certificate hangs on it yet.
///
/// # Errors
/// It can't be read.
pub fn read_pending_key(root: &Root, path: &Path) -> Fact<Option<PendingKey>> {
    let Some(file) = root.read(path)? else { return Ok(None) };
    let Ok(text) = String::from_utf8(file.content) else { return Ok(None) };
    Ok(keys::public_key_hash(&text.into()).ok().map(|public_key_hash| PendingKey { public_key_hash }))
}
