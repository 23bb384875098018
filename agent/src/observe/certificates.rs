//! Certificates and keys on disk, reduced to what decisions need.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use secrecy::SecretString;
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME, OID_X509_ORGANIZATION_NAME,
    OID_X509_ORGANIZATIONAL_UNIT, OID_X509_STATE_OR_PROVINCE_NAME,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::Fact;
use crate::ports::Failure;
use crate::ports::keys;
use crate::ports::root::{FileOnDisk, Root};
use crate::reason::Reason;

/// What matters of a certificate. Its key is checked against it and forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The user it names.
    pub common_name: String,
    /// All of its subject: short names (RFC 4514) or object identifiers, and values, sorted.
    pub subject: Vec<(String, String)>,
    /// As above, as its issuer's certificates write it.
    pub subject_name: String,
    /// Who signed it, by its own word.
    pub issuer: String,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// The DNS names and addresses it is for, in its order.
    pub names: Vec<String>,
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

    /// Its subject as a person reads it.
    pub fn subject_text(&self) -> String {
        self.subject.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    }
}

/// A key that waits for its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingKey {
    /// SHA-256 of its public key.
    pub public_key_hash: String,
    /// How many keys before it ended in a refusal.
    pub refusals: u32,
    /// When it was made, seconds since 1970.
    pub made_at: i64,
}

/// The line before a key that says how many before it ended in a refusal. PEM allows text before its first line
/// (RFC 7468, 2), so that key and count are one file.
pub const REFUSALS: &str = "refusals: ";

/// The first certificate in PEM text.
///
/// # Errors
/// There is none, or it does not parse.
pub fn parse(pem: &[u8]) -> Result<Certificate, String> {
    let block = x509_parser::pem::Pem::iter_from_buffer(pem)
        .flatten()
        .find(|block| block.label == "CERTIFICATE")
        .ok_or("there is no certificate in it")?;
    from_der(&block.contents)
}

fn from_der(der: &[u8]) -> Result<Certificate, String> {
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|error| format!("its certificate does not parse: {error}"))?;
    let subject = parsed.subject();
    Ok(Certificate {
        common_name: subject.iter_common_name().find_map(|a| a.as_str().ok()).unwrap_or_default().to_owned(),
        subject: attributes(subject),
        subject_name: subject.to_string(),
        issuer: parsed.issuer().to_string(),
        serial: parsed.raw_serial_as_string(),
        names: names(&parsed),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        key_fits: false,
        is_ca: parsed.is_ca(),
        public_key_hash: keys::sha256(parsed.public_key().raw),
        der: der.to_vec(),
    })
}

/// Every certificate in PEM text that parses.
pub fn all(pem: &[u8]) -> Vec<Certificate> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(pem).flatten();
    blocks.filter_map(|block| from_der(&block.contents).ok()).collect()
}

fn attributes(name: &X509Name<'_>) -> Vec<(String, String)> {
    let short = |attribute: &AttributeTypeAndValue<'_>| match attribute.attr_type() {
        oid if *oid == OID_X509_COMMON_NAME => "CN".to_owned(),
        oid if *oid == OID_X509_ORGANIZATION_NAME => "O".to_owned(),
        oid if *oid == OID_X509_ORGANIZATIONAL_UNIT => "OU".to_owned(),
        oid if *oid == OID_X509_COUNTRY_NAME => "C".to_owned(),
        oid if *oid == OID_X509_STATE_OR_PROVINCE_NAME => "ST".to_owned(),
        oid if *oid == OID_X509_LOCALITY_NAME => "L".to_owned(),
        oid => oid.to_id_string(),
    };
    let pair = |attribute| (short(attribute), attribute.as_str().unwrap_or("unreadable").to_owned());
    let mut all: Vec<_> = name.iter_attributes().map(pair).collect();
    all.sort();
    all
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            bytes => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
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
    let Some(file) = read_current(root, path)? else { return Ok(None) };
    let bad = |why: String| Failure::new(Reason::FileTrouble, format!("`{}`: {why}", path.display()));
    let mut certificate = parse(&file.content).map_err(bad)?;
    let hash = key_in(&file.content).and_then(|key| keys::public_key_hash(&key).ok());
    certificate.key_fits = hash.as_deref() == Some(certificate.public_key_hash.as_str());
    Ok(Some(certificate))
}

/// How often a link that is being replaced is looked for, some 10 ms: two system calls of the kubelet's, between which a
/// busy machine may do something else.
const LOOKS: u32 = 20_000;

/// The kubelet takes its link away right before it gives the next one its name (client-go, certificate_store.go,
/// `updateSymlink`), and that is what wakes us: while the next one lies beside it, the node has not lost its certificate.
fn read_current(root: &Root, path: &Path) -> Result<Option<FileOnDisk>, Failure> {
    let stem = path.to_str().and_then(|path| path.strip_suffix("-current.pem"));
    let next = stem.map(|stem| PathBuf::from(format!("{stem}-updated.pem")));
    for _ in 0..LOOKS {
        if let Some(file) = root.read_following(path)? {
            return Ok(Some(file));
        }
        if !next.as_ref().is_some_and(|next| root.exists(next)) {
            break;
        }
        std::thread::yield_now();
    }
    // It may have got its name between the two looks.
    root.read_following(path)
}

/// The private key in PEM text, from its first line to its last.
pub fn key_in(pem: &[u8]) -> Option<SecretString> {
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
    let made_at = file.mtime_usec / 1_000_000;
    let Ok(text) = String::from_utf8(file.content) else { return Ok(None) };
    let refusals = text.lines().next().and_then(|line| line.strip_prefix(REFUSALS)?.trim().parse().ok());
    let key = |public_key_hash| PendingKey { public_key_hash, refusals: refusals.unwrap_or(0), made_at };
    Ok(keys::public_key_hash(&text.into()).ok().map(key))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test plays the kubelet")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_link_that_the_kubelet_replaces_is_never_missed() {
        let directory = tempfile::tempdir().unwrap();
        let (root, at) = (Root::new(directory.path()), |name: &str| directory.path().join(name));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        fs::write(at("kubelet-client-1.pem"), certificate.pem() + &key.serialize_pem()).unwrap();
        let current = Path::new("/kubelet-client-current.pem");
        assert!(matches!(read(&root, current), Ok(None)));
        symlink("kubelet-client-1.pem", at("kubelet-client-current.pem")).unwrap();
        // Far more often than a kubelet does it, but not at once again.
        let enough = AtomicBool::new(false);
        let replace = || {
            for _ in 0..10_000 {
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
                symlink("kubelet-client-1.pem", at("kubelet-client-updated.pem")).unwrap();
                fs::remove_file(at("kubelet-client-current.pem")).unwrap();
                fs::rename(at("kubelet-client-updated.pem"), at("kubelet-client-current.pem")).unwrap();
            }
        };
        let mut missed = 0;
        std::thread::scope(|scope| {
            let replaced = scope.spawn(replace);
            while !replaced.is_finished() {
                // The control: who looks once misses it.
                missed += u32::from(matches!(root.read_following(current), Ok(None)));
                enough.store(missed >= 3, Ordering::Relaxed);
                assert!(
                    matches!(read_current(&root, current), Ok(Some(_))),
                    "missed after all, and {missed} times by one look"
                );
            }
        });
        assert!(missed >= 3, "it was hardly ever being replaced");
        assert!(read(&root, current).is_ok_and(|found| found.is_some_and(|found| found.key_fits)));
        // One that was left in between by a kubelet that was killed is not there.
        fs::rename(at("kubelet-client-current.pem"), at("kubelet-client-updated.pem")).unwrap();
        assert!(matches!(read(&root, current), Ok(None)));
    }
}
