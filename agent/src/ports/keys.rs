//! Private keys and certificate signing requests. A key leaves this module only as PEM on its way to a 0600 file.

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    PublicKeyData, RsaKeySize,
};
use secrecy::{ExposeSecret, SecretString};
use x509_parser::prelude::FromDer;

use crate::config::KeyAlgorithm;
use crate::names::Subject;

/// A new private key as PKCS#8 PEM.
///
/// # Errors
/// The random source or the algorithm failed.
pub fn generate(algorithm: KeyAlgorithm) -> Result<SecretString, String> {
    let pair = match algorithm {
        KeyAlgorithm::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
    };
    pair.map(|pair| pair.serialize_pem().into()).map_err(|error| error.to_string())
}

/// SHA-256 of the public key's SubjectPublicKeyInfo, hexadecimal.
///
/// # Errors
/// The text holds no private key.
pub fn public_key_hash(key_pem: &SecretString) -> Result<String, String> {
    let pair = KeyPair::from_pem(key_pem.expose_secret()).map_err(|error| error.to_string())?;
    Ok(sha256(&pair.subject_public_key_info()))
}

/// A signing request as PEM.
///
/// # Errors
/// The text holds no private key.
pub fn request(key_pem: &SecretString, subject: &Subject) -> Result<String, String> {
    let pair = KeyPair::from_pem(key_pem.expose_secret()).map_err(|error| error.to_string())?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (name, value) in subject.attributes() {
        let (kind, value) = attribute(name, value);
        params.distinguished_name.push(kind, value);
    }
    params.serialize_request(&pair).and_then(|request| request.pem()).map_err(|error| error.to_string())
}

/// X.520 wants a country as PrintableString, and some signers insist.
fn attribute(name: &str, value: &str) -> (DnType, DnValue) {
    let text = || DnValue::from(value);
    match name {
        "C" => (DnType::CountryName, value.try_into().map_or_else(|_| text(), DnValue::PrintableString)),
        "ST" => (DnType::StateOrProvinceName, text()),
        "L" => (DnType::LocalityName, text()),
        "O" => (DnType::OrganizationName, text()),
        "OU" => (DnType::OrganizationalUnitName, text()),
        _ => (DnType::CommonName, text()),
    }
}

/// The hash, as [`public_key_hash`] makes it, of the key a PEM request was signed with; `None` where the text is none.
pub fn request_key_hash(pem: &[u8]) -> Option<String> {
    let block = x509_parser::pem::Pem::iter_from_buffer(pem).next()?.ok()?;
    let (_, request) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&block.contents).ok()?;
    request.verify_signature().ok()?;
    Some(sha256(request.certification_request_info.subject_pki.raw))
}

/// SHA-256 as hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    digest::digest(&digest::SHA256, bytes).as_ref().iter().fold(
        String::with_capacity(64),
        |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        },
    )
}
