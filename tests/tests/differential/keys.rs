//! Keys, made once a run, and signatures with them.

use std::process::ChildStdin;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rcgen::{KeyPair, PublicKeyData as _, RsaKeySize, SigningKey as _};
use serde::{Deserialize, Serialize};

use crate::der::{self, oid};
use crate::go::{self, Answers};

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa2048,
    Rsa3072,
    /// Of Go's making.
    Rsa1024,
    /// Of Go's making.
    P224,
}

/// How the request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// As its key signs.
    Usual,
    /// Over SHA-1, with an RSA key.
    Sha1Rsa,
    /// Over SHA-1, with an ECDSA key.
    Sha1Ecdsa,
    /// RSA over SHA-512.
    Sha512Rsa,
    /// P-256 over SHA-512.
    Sha512Ecdsa,
    /// RSA-PSS over SHA-256 with a salt of this length and this trailer field.
    Pss { salt: u8, trailer: u8 },
}

/// What stands in a request for its key.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) algorithm: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// Every key of a run.
pub(crate) struct Keys {
    own: Vec<(Kind, KeyPair)>,
    go: Mutex<(ChildStdin, Answers)>,
}

#[derive(Serialize)]
struct Ask<'a> {
    key: &'a str,
    hash: &'a str,
    message: String,
    salt: u8,
}

#[derive(Deserialize)]
struct Told {
    key: k8s_openapi::ByteString,
    signature: k8s_openapi::ByteString,
}

impl Keys {
    /// Makes the keys, RSA ones few: each takes a moment.
    pub(crate) fn new() -> Result<Self> {
        let mut own = Vec::new();
        let kinds = [
            (Kind::P256, &rcgen::PKCS_ECDSA_P256_SHA256, 6),
            (Kind::P384, &rcgen::PKCS_ECDSA_P384_SHA384, 2),
            (Kind::P521, &rcgen::PKCS_ECDSA_P521_SHA512, 1),
            (Kind::Ed25519, &rcgen::PKCS_ED25519, 1),
            (Kind::Rsa2048, &rcgen::PKCS_RSA_SHA256, 2),
        ];
        for (kind, algorithm, count) in kinds {
            for _ in 0..count {
                own.push((kind, KeyPair::generate_for(algorithm)?));
            }
        }
        own.push((Kind::Rsa3072, KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072)?));
        Ok(Self { own, go: Mutex::new(go::start("sign")?) })
    }

    /// One of the keys of this kind that are ours.
    pub(crate) fn pair(&self, kind: Kind, which: usize) -> Result<&KeyPair> {
        let count = self.own.iter().filter(|(of, _)| *of == kind).count();
        let mut of_kind = self.own.iter().filter(|(of, _)| *of == kind).map(|(_, pair)| pair);
        of_kind.nth(which % count.max(1)).with_context(|| format!("no key {kind:?}"))
    }

    /// The public key for a request that is to be signed so.
    pub(crate) fn public(&self, kind: Kind, which: usize, signing: Signing) -> Result<Vec<u8>> {
        match go_key(kind, signing) {
            Some(key) => Ok(self.ask(key, "sha256", &[], 0)?.key.0),
            None => Ok(self.pair(kind, which)?.subject_public_key_info()),
        }
    }

    /// Signs `message`.
    pub(crate) fn sign(&self, kind: Kind, which: usize, signing: Signing, message: &[u8]) -> Result<Signed> {
        let null = der::tlv(5, &[]);
        let algorithm = match (signing, kind) {
            (Signing::Sha1Rsa, _) => der::sequence(&[der::identifier(oid::SHA1_RSA), null]),
            (Signing::Sha512Rsa, _) => der::sequence(&[der::identifier(oid::SHA512_RSA), null]),
            (Signing::Sha1Ecdsa, _) => der::sequence(&[der::identifier(oid::SHA1_ECDSA)]),
            (Signing::Sha512Ecdsa, _) | (_, Kind::P521) => {
                der::sequence(&[der::identifier(oid::SHA512_ECDSA)])
            }
            (Signing::Pss { salt, trailer }, _) => pss(salt, trailer),
            (_, Kind::Rsa1024 | Kind::Rsa2048 | Kind::Rsa3072) => {
                der::sequence(&[der::identifier(oid::SHA256_RSA), null])
            }
            (_, Kind::P256 | Kind::P224) => der::sequence(&[der::identifier(oid::SHA256_ECDSA)]),
            (_, Kind::P384) => der::sequence(&[der::identifier(oid::SHA384_ECDSA)]),
            (_, Kind::Ed25519) => der::sequence(&[der::identifier(oid::ED25519)]),
        };
        let signature = match go_key(kind, signing) {
            Some(key) => {
                let (hash, salt) = match signing {
                    Signing::Sha1Rsa | Signing::Sha1Ecdsa => ("sha1", 0),
                    Signing::Sha512Rsa | Signing::Sha512Ecdsa => ("sha512", 0),
                    Signing::Pss { salt, .. } => ("sha256", salt),
                    Signing::Usual => ("sha256", 0),
                };
                self.ask(key, hash, message, salt)?.signature.0
            }
            None => self.pair(kind, which)?.sign(message)?,
        };
        Ok(Signed { algorithm, signature })
    }

    fn ask(&self, key: &str, hash: &str, message: &[u8], salt: u8) -> Result<Told> {
        let mut go = self.go.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, answers) = &mut *go;
        go::ask(input, &Ask { key, hash, message: der::base64(message), salt })?;
        answers.next()
    }
}

/// The key of Go's that signs so, where ours do not.
fn go_key(kind: Kind, signing: Signing) -> Option<&'static str> {
    match (signing, kind) {
        (Signing::Usual, Kind::Rsa1024) => Some("rsa1024"),
        (Signing::Usual, Kind::P224) => Some("p224"),
        (Signing::Usual, _) => None,
        (Signing::Sha1Rsa | Signing::Sha512Rsa | Signing::Pss { .. }, _) => Some("rsa2048"),
        (Signing::Sha1Ecdsa | Signing::Sha512Ecdsa, _) => Some("p256"),
    }
}

/// RSASSA-PSS over SHA-256 (RFC 4055, section 3.1).
fn pss(salt: u8, trailer: u8) -> Vec<u8> {
    let sha256 = || der::sequence(&[der::identifier(oid::SHA256), der::tlv(5, &[])]);
    let mask = der::sequence(&[der::identifier(oid::MGF1), sha256()]);
    let mut parameters =
        vec![der::tlv(0xa0, &sha256()), der::tlv(0xa1, &mask), der::tlv(0xa2, &der::tlv(2, &[salt]))];
    if trailer != 1 {
        parameters.push(der::tlv(0xa3, &der::tlv(2, &[trailer])));
    }
    der::sequence(&[der::identifier(oid::PSS), der::sequence(&parameters)])
}
