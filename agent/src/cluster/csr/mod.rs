//! A certificate signing request as the approver sees it: read strictly, so that whatever is said about it here is
//! what the signer will find in it too. What we do not understand is refused, never skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use x509_parser::asn1_rs::{FromDer, Header, Oid, Tag};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry as oid;
use x509_parser::public_key::PublicKey;

use crate::cluster::pkcs10;
use crate::ports::keys::sha256;

/// The attributes of a subject that are read beside the common name and organizations.
const PLACES: [(Oid<'static>, Place); 4] = [
    (oid::OID_X509_COUNTRY_NAME, Place::Country),
    (oid::OID_X509_STATE_OR_PROVINCE_NAME, Place::Province),
    (oid::OID_X509_LOCALITY_NAME, Place::Locality),
    (oid::OID_X509_ORGANIZATIONAL_UNIT, Place::OrganizationalUnit),
];

/// Longer requests are refused unread; a node's own is about 1 KiB.
const MAX_PEM: usize = 64 * 1024;

/// What the API server asserts about a request, and what is in it.
#[derive(Debug, Clone)]
pub struct CsrFacts {
    /// The signer it is addressed to.
    pub signer: String,
    /// Who created it, as the API server authenticated them.
    pub username: String,
    /// The groups of who created it, as the API server authenticated them.
    pub groups: Vec<String>,
    /// What the certificate is to be used for.
    pub usages: Vec<String>,
    /// The lifetime asked for, where one is.
    pub expiration_seconds: Option<i32>,
    /// What the PKCS#10 request asks for, or why it cannot be trusted to say.
    pub request: Result<Request, Malformed>,
}

/// What a well-formed, self-signed PKCS#10 request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Every common name in the subject.
    pub common_names: Vec<String>,
    /// Every organization in the subject.
    pub organizations: Vec<String>,
    /// Country, province, locality and organizational unit in the subject, as they stand there.
    pub places: Vec<(Place, String)>,
    /// Whether the subject has anything else.
    pub other_subject: bool,
    /// Alternative names: DNS.
    pub dns_names: Vec<String>,
    /// Alternative names: IP addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether there are alternative names of any other kind.
    pub other_names: bool,
    /// SHA-256 of the public key (its SubjectPublicKeyInfo), hexadecimal.
    pub public_key_hash: String,
}

/// What a subject may hold beside the common name and organizations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// C
    Country,
    /// ST
    Province,
    /// L
    Locality,
    /// OU
    OrganizationalUnit,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Country => "C",
            Self::Province => "ST",
            Self::Locality => "L",
            Self::OrganizationalUnit => "OU",
        })
    }
}

impl Request {
    /// Whether it asks for alternative names at all.
    pub fn has_names(&self) -> bool {
        self.other_names || !self.dns_names.is_empty() || !self.addresses.is_empty()
    }
}

/// Why a request is not looked into further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl CsrFacts {
    /// Everything the policy needs to know about `csr`.
    pub fn of(csr: &CertificateSigningRequest) -> Self {
        let spec = &csr.spec;
        Self {
            signer: spec.signer_name.clone(),
            username: spec.username.clone().unwrap_or_default(),
            groups: spec.groups.clone().unwrap_or_default(),
            usages: spec.usages.clone().unwrap_or_default(),
            expiration_seconds: spec.expiration_seconds,
            request: parse(&spec.request.0),
        }
    }
}

/// Reads one PEM block `CERTIFICATE REQUEST` and checks its signature with its own key.
///
/// # Errors
/// Where it is not exactly that, or asks for something that this approver does not know.
pub fn parse(pem: &[u8]) -> Result<Request, Malformed> {
    let der = only_block(pem)?;
    pkcs10::check(&der).map_err(|pkcs10::Unusual(part)| {
        malformed(format!("its {part} is not written as DER and RFC 2986 say"))
    })?;
    let (rest, csr) =
        X509CertificationRequest::from_der(&der).map_err(|_| malformed("it is no PKCS#10 request"))?;
    if !rest.is_empty() {
        return Err(malformed("something follows the request"));
    }
    strong_key(&csr)?;
    csr.verify_signature().map_err(|_| malformed("its signature does not verify with its own key"))?;
    let public_key_hash = sha256(csr.certification_request_info.subject_pki.raw);
    let mut request = Request { public_key_hash, ..Request::default() };
    read_subject(&csr, &mut request)?;
    read_attributes(&csr, &mut request)?;
    Ok(request)
}

fn malformed(why: impl Into<String>) -> Malformed {
    Malformed(why.into())
}

fn only_block(pem: &[u8]) -> Result<Vec<u8>, Malformed> {
    if pem.len() > MAX_PEM {
        return Err(malformed(format!("it has {} bytes, more than {MAX_PEM}", pem.len())));
    }
    // Nothing on the lines of the block but the block: what a parser finds there and does not like it may skip, and the
    // next block is the request then.
    let text = std::str::from_utf8(pem).map_err(|_| malformed("it is no PEM text"))?;
    let text = text.trim_start_matches('\n').trim_end_matches([' ', '\t', '\r', '\n']);
    let inner = text.lines().collect::<Vec<_>>();
    let base64 = |line: &&str| line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    match inner.as_slice() {
        ["-----BEGIN CERTIFICATE REQUEST-----", inner @ .., "-----END CERTIFICATE REQUEST-----"]
            if inner.iter().all(base64) => {}
        _ => return Err(malformed("it is not exactly one PEM block CERTIFICATE REQUEST")),
    }
    let (_, block) =
        x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|_| malformed("its PEM is broken"))?;
    Ok(block.contents)
}

/// ECDSA on P-256 or P-384, RSA with 2048 bits or more, never signed over SHA-1.
fn strong_key(csr: &X509CertificationRequest<'_>) -> Result<(), Malformed> {
    let signature = &csr.signature_algorithm.algorithm;
    if *signature == oid::OID_PKCS1_SHA1WITHRSA || *signature == oid::OID_SHA1_WITH_RSA {
        return Err(malformed("it is signed over SHA-1"));
    }
    let spki = &csr.certification_request_info.subject_pki;
    let key = spki.parsed().map_err(|_| malformed("its public key is unreadable"))?;
    match key {
        PublicKey::RSA(rsa) if rsa.key_size() >= 2048 => Ok(()),
        PublicKey::RSA(rsa) => {
            Err(malformed(format!("its RSA key has {} bits, fewer than 2048", rsa.key_size())))
        }
        PublicKey::EC(_) => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
            match curve {
                Some(c) if c == oid::OID_EC_P256 || c == oid::OID_NIST_EC_P384 => Ok(()),
                _ => Err(malformed("its EC key is on neither P-256 nor P-384")),
            }
        }
        _ => Err(malformed("its key is neither ECDSA (P-256, P-384) nor RSA")),
    }
}

fn read_subject(csr: &X509CertificationRequest<'_>, request: &mut Request) -> Result<(), Malformed> {
    let subject = &csr.certification_request_info.subject;
    // The parser stops silently at what it cannot read; `pkcs10` lets through nothing of that kind.
    for attribute in subject.iter_attributes() {
        if !matches!(attribute.attr_value().tag(), Tag::Utf8String | Tag::PrintableString) {
            return Err(malformed("a name in its subject is neither a UTF8String nor a PrintableString"));
        }
        let text = attribute.as_str().map_err(|_| malformed("a name in its subject is unreadable"))?;
        let text = text.to_owned();
        let kind = attribute.attr_type();
        if *kind == oid::OID_X509_COMMON_NAME {
            request.common_names.push(text);
        } else if *kind == oid::OID_X509_ORGANIZATION_NAME {
            request.organizations.push(text);
        } else if let Some((_, place)) = PLACES.iter().find(|(oid, _)| oid == kind) {
            request.places.push((*place, text));
        } else {
            request.other_subject = true;
        }
    }
    Ok(())
}

fn read_attributes(csr: &X509CertificationRequest<'_>, request: &mut Request) -> Result<(), Malformed> {
    let mut seen = false;
    for attribute in csr.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else {
            return Err(malformed(format!("it has the attribute {}", attribute.oid)));
        };
        // A second value in the set would be read by some parsers and skipped by others.
        let whole = Header::from_der(attribute.value)
            .is_ok_and(|(content, set)| set.length().definite().is_ok_and(|length| length == content.len()));
        if seen || !whole {
            return Err(malformed("it requests extensions more than once"));
        }
        seen = true;
        read_extensions(&asked.extensions, request)?;
    }
    Ok(())
}

fn read_extensions(extensions: &[X509Extension<'_>], request: &mut Request) -> Result<(), Malformed> {
    for (index, extension) in extensions.iter().enumerate() {
        if extensions[..index].iter().any(|earlier| earlier.oid == extension.oid) {
            return Err(malformed(format!("it requests the extension {} twice", extension.oid)));
        }
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => read_names(&names.general_names, request)?,
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                return Err(malformed("it asks to be a certificate authority"));
            }
            // The signer sets these from the usages and never from the request.
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_) => {}
            _ => return Err(malformed(format!("it requests the extension {}", extension.oid))),
        }
    }
    Ok(())
}

fn read_names(names: &[GeneralName<'_>], request: &mut Request) -> Result<(), Malformed> {
    for name in names {
        match name {
            GeneralName::DNSName(dns) if !dns.is_ascii() => {
                return Err(malformed("a DNS name in it has letters beyond ASCII"));
            }
            GeneralName::DNSName(dns) => request.dns_names.push((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => request.addresses.push(address(bytes)?),
            _ => request.other_names = true,
        }
    }
    Ok(())
}

fn address(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(v4).into());
    }
    let v6 = <[u8; 16]>::try_from(bytes)
        .map_err(|_| malformed("an IP address in it is neither 4 nor 16 bytes long"))?;
    let v6 = Ipv6Addr::from(v6);
    if let Some(v4) = v6.to_ipv4_mapped() {
        // The certificate would hold the IPv4 address: something else than is asked for.
        return Err(malformed(format!("the IP address {v4} is written in it as the IPv6 address {v6}")));
    }
    Ok(v6.into())
}

#[cfg(test)]
mod tests;
