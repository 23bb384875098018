//! Private keys and certificate signing requests. A key leaves this module only as PEM on its way to a 0600 file.

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    PublicKeyData, RsaKeySize,
};
use secrecy::{ExposeSecret, SecretString};

use crate::config::KeyAlgorithm;

/// Who a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The user.
    pub common_name: String,
    /// Its group, if any.
    pub organization: Option<String>,
}

/// Gathers the entropy that the first random number of a process waits for, some 50 ms: best done while nobody waits.
pub fn warm_up() {
    let mut byte = [0];
    // A random source that fails here fails again where it is told.
    let _ = aws_lc_rs::rand::fill(&mut byte);
}

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
    if let Some(organization) = &subject.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, &subject.common_name);
    params.serialize_request(&pair).and_then(|request| request.pem()).map_err(|error| error.to_string())
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
