//! What somebody else had issued and put on this machine: the node's certificate with its key, kube-proxy's kubeconfig.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use kube::config::{AuthInfo, Kubeconfig as Parsed};
use secrecy::ExposeSecret;
use serde_json::Value;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Fact;
use super::certificates::{self, Certificate};
use crate::config::SuppliedPair;
use crate::ports::root::{FileOnDisk, Root};
use crate::ports::{Failure, keys};
use crate::reason::Reason;

/// A certificate and its key, as supplied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, compared with its key.
    pub certificate: Certificate,
    /// What it may be used for and what it names.
    pub uses: Uses,
    /// When one of the files was last put in place, microseconds since 1970.
    pub placed_usec: i64,
}

/// What a certificate may be used for and what it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// Client authentication.
    pub client: bool,
    /// Server authentication.
    pub server: bool,
    /// DNS names among its subject alternative names.
    pub names: Vec<String>,
    /// Addresses among them.
    pub addresses: Vec<IpAddr>,
}

/// kube-proxy's kubeconfig, as supplied: what its current context leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The API server's address.
    pub server: String,
    /// Whether it names certificates the server is checked against.
    pub has_ca: bool,
    /// Whether it says that the server need not be checked.
    pub is_insecure: bool,
    /// The client certificate; `None` where a token stands in its place.
    pub certificate: Option<Certificate>,
    /// When the file was last put in place, microseconds since 1970.
    pub placed_usec: i64,
}

/// Reads certificate and key, and compares them.
///
/// # Errors
/// One of them is missing, can't be read or does not parse; or others may read the key.
pub fn pair(root: &Root, files: &SuppliedPair) -> Fact<Pair> {
    let at = |key: &str, path: &Path| format!("{key} `{}`", path.display());
    let (certificate_file, key_file) =
        (at("identity.certFile", &files.certificate), at("identity.keyFile", &files.key));
    let unusable =
        |file: &str, why: &str| Failure::new(Reason::CertificateUnusable, format!("{file}: {why}"));
    let found = read(root, &files.certificate, &certificate_file, Reason::CertificateUnusable)?;
    let key = read_secret(root, &files.key, &key_file, Reason::CertificateUnusable)?;
    let mut certificate =
        certificates::parse(&found.content).map_err(|why| unusable(&certificate_file, &why))?;
    certificate.key_fits = fits(&certificate, &key.content).ok_or_else(|| {
        unusable(&key_file, "there is no private key in it that can be read; expected PEM, unencrypted")
    })?;
    let placed = |path: &Path| placed_usec(root, path);
    let uses = uses(&certificate);
    Ok(Pair { uses, certificate, placed_usec: placed(&files.certificate).max(placed(&files.key)) })
}

/// Whether the certificate at `path` is one to serve with; `None` where there is none.
pub fn is_for_serving(root: &Root, path: &Path) -> Option<bool> {
    let file = root.read_following(path).ok()??;
    Some(uses(&certificates::parse(&file.content).ok()?).server)
}

/// A certificate without extended key usages is one for all of them (RFC 5280, 4.2.1.12).
fn uses(certificate: &Certificate) -> Uses {
    let Ok((_, parsed)) = X509Certificate::from_der(&certificate.der) else { return Uses::default() };
    let (client, server) = match parsed.extended_key_usage() {
        Ok(None) => (true, true),
        Ok(Some(usage)) => {
            (usage.value.any || usage.value.client_auth, usage.value.any || usage.value.server_auth)
        }
        Err(_) => (false, false),
    };
    let mut uses = Uses { client, server, ..Uses::default() };
    let names = parsed.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => uses.names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => uses.addresses.extend(address(bytes)),
            _ => {}
        }
    }
    uses
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Whether the key in `pem` is the certificate's; `None` where there is none.
fn fits(certificate: &Certificate, pem: &[u8]) -> Option<bool> {
    let hash = keys::public_key_hash(&certificates::key_in(pem)?).ok()?;
    Some(hash == certificate.public_key_hash)
}

/// Reads kube-proxy's kubeconfig, and what it names.
///
/// # Errors
/// It is missing, others may read it, or what it leads to is incomplete or does not parse.
pub fn kubeconfig(root: &Root, path: &Path) -> Fact<Kubeconfig> {
    let file = format!("proxy.kubeconfig `{}`", path.display());
    let bad = |why: String| Failure::new(Reason::KubeconfigUnusable, format!("{file}: {why}"));
    let found = read_secret(root, path, &file, Reason::KubeconfigUnusable)?;
    let text = String::from_utf8(found.content).map_err(|_| bad("it is no text".to_owned()))?;
    // The parser's own message could quote the file.
    let parsed = Parsed::from_yaml(&text).map_err(|_| bad("it does not parse as a kubeconfig".to_owned()))?;
    let named = parsed.current_context.as_deref().filter(|name| !name.is_empty());
    let named = named.ok_or_else(|| bad("it has no current-context".to_owned()))?;
    let context = parsed.contexts.iter().find(|c| c.name == named).and_then(|c| c.context.as_ref());
    let context = context.ok_or_else(|| bad(format!("its current-context `{named}` does not exist")))?;
    let cluster = parsed.clusters.iter().find(|c| c.name == context.cluster).and_then(|c| c.cluster.as_ref());
    let cluster = cluster.ok_or_else(|| bad(format!("its cluster `{}` does not exist", context.cluster)))?;
    let user = context.user.as_deref().unwrap_or_default();
    let credentials = parsed.auth_infos.iter().find(|u| u.name == user).and_then(|u| u.auth_info.as_ref());
    let credentials = credentials.ok_or_else(|| bad(format!("its user `{user}` does not exist")))?;
    let named_in_it = Content { root, directory: path.parent().unwrap_or(Path::new("/")), file: &file };
    let ca = named_in_it.of(
        cluster.certificate_authority_data.as_deref(),
        cluster.certificate_authority.as_deref(),
        false,
    )?;
    if let Some(ca) = &ca {
        certificates::parse(ca).map_err(|why| bad(format!("its certificate authority: {why}")))?;
    }
    Ok(Kubeconfig {
        server: cluster.server.clone().unwrap_or_default(),
        has_ca: ca.is_some(),
        is_insecure: cluster.insecure_skip_tls_verify == Some(true),
        certificate: named_in_it.certificate(credentials, user)?,
        placed_usec: placed_usec(root, path),
    })
}

/// What a kubeconfig holds or names.
struct Content<'a> {
    root: &'a Root,
    directory: &'a Path,
    file: &'a str,
}

impl Content<'_> {
    fn bad(&self, why: &str) -> Failure {
        Failure::new(Reason::KubeconfigUnusable, format!("{}: {why}", self.file))
    }

    /// The bytes in `data`, or in the file it names instead, which is relative to the kubeconfig. Data wins, as in
    /// client-go.
    fn of(&self, data: Option<&str>, path: Option<&str>, is_secret: bool) -> Fact<Option<Vec<u8>>> {
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            let bytes = serde_json::from_value::<ByteString>(Value::String(data.to_owned()));
            return bytes.map(|bytes| Some(bytes.0)).map_err(|_| self.bad("what it embeds is no base64"));
        }
        let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(None) };
        let path: PathBuf = self.directory.join(path);
        let file = format!("{} names `{}`, which", self.file, path.display());
        let read = if is_secret { read_secret } else { read };
        read(self.root, &path, &file, Reason::KubeconfigUnusable).map(|file| Some(file.content))
    }

    fn certificate(&self, user: &AuthInfo, name: &str) -> Fact<Option<Certificate>> {
        let certificate =
            self.of(user.client_certificate_data.as_deref(), user.client_certificate.as_deref(), false)?;
        let Some(certificate) = certificate else {
            let has_token = user.token.is_some() || user.token_file.is_some();
            let why = format!("its user `{name}` has neither a client certificate nor a token");
            return if has_token { Ok(None) } else { Err(self.bad(&why)) };
        };
        let embedded = user.client_key_data.as_ref().map(ExposeSecret::expose_secret);
        let key = self.of(embedded, user.client_key.as_deref(), true)?;
        let key =
            key.ok_or_else(|| self.bad(&format!("its user `{name}` has a client certificate and no key")))?;
        let mut parsed = certificates::parse(&certificate)
            .map_err(|why| self.bad(&format!("the client certificate of its user `{name}`: {why}")))?;
        parsed.key_fits = fits(&parsed, &key)
            .ok_or_else(|| self.bad(&format!("its user `{name}` has no private key that can be read")))?;
        Ok(Some(parsed))
    }
}

fn read(root: &Root, path: &Path, file: &str, reason: Reason) -> Fact<FileOnDisk> {
    match root.read_following(path) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Failure::new(reason, format!("{file} does not exist"))),
        Err(failure) => Err(Failure::new(reason, format!("{file}: {}", failure.message))),
    }
}

/// As [`read`], of a file that nobody but its owner may read.
fn read_secret(root: &Root, path: &Path, file: &str, reason: Reason) -> Fact<FileOnDisk> {
    let found = read(root, path, file, reason)?;
    if found.mode & 0o077 != 0 {
        let why = format!("{file} has mode {:04o}, expected 0600", found.mode);
        return Err(Failure::new(Reason::KeyExposed, why));
    }
    Ok(found)
}

/// A file that was written elsewhere and moved here has an old time of writing, but a new one of change.
fn placed_usec(root: &Root, path: &Path) -> i64 {
    let times = |meta: std::fs::Metadata| meta.ctime() * 1_000_000 + meta.ctime_nsec() / 1000;
    std::fs::metadata(root.path(path)).map_or(0, times)
}
