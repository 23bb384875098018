//! A cluster's certificate authority and what it has signed.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::process::run;

/// The authority and the directory its files are in.
#[derive(Debug)]
pub(crate) struct Pki {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM (PKCS #8).
    pub key: PathBuf,
}

impl Pki {
    /// Makes an authority: `ca.crt`, `ca.key`, and the pair that signs service account
    /// tokens, `sa.key` and `sa.pub`.
    pub(crate) fn create(directory: PathBuf) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kn-agent lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        fs::write(directory.join("ca.crt"), certificate.pem())?;
        write_secret(&directory.join("ca.key"), &key.serialize_pem())?;
        let tokens = KeyPair::generate()?;
        write_secret(&directory.join("sa.key"), &tokens.serialize_pem())?;
        fs::write(directory.join("sa.pub"), tokens.public_key_pem())?;
        Ok(Self { issuer: Issuer::new(params, key), directory })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A client certificate for a user in the groups given, as `<name>.crt` and `<name>.key`.
    pub(crate) fn client(&self, name: &str, user: &str, groups: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, params)
    }

    /// A serving certificate for the addresses and names given.
    pub(crate) fn server(&self, name: &str, addresses: &[IpAddr], names: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = addresses.iter().copied().map(SanType::IpAddress).collect();
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(name, params)
    }

    /// A certificate for a user in a group that may also serve at an address and a name; `days` from now on, which may
    /// lie behind.
    pub(crate) fn both(&self, name: &str, user: &str, at: (IpAddr, &str), days: i64) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.subject_alt_names = vec![SanType::IpAddress(at.0), SanType::DnsName(at.1.try_into()?)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let now = SystemTime::now();
        let day = Duration::from_hours(24) * u32::try_from(days.unsigned_abs())?;
        params.not_before = (now - day - Duration::from_hours(24)).into();
        params.not_after = if days < 0 { now - day } else { now + day }.into();
        self.sign(name, params)
    }

    /// A signing request, as the API takes it: PEM in base64.
    pub(crate) fn request(&self, user: &str) -> Result<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        let path = self.path("request.csr");
        fs::write(&path, params.serialize_request(&KeyPair::generate()?)?.pem()?)?;
        run(Command::new("base64").arg("--wrap=0").arg(path))
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer).context("cannot sign")?;
        let identity = Identity {
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
        };
        fs::write(&identity.certificate, certificate.pem())?;
        write_secret(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

/// A kubeconfig that names files.
pub(crate) fn kubeconfig(server: &str, ca: &Path, identity: &Identity) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: lab, cluster: {{server: '{server}', certificate-authority: '{}'}}}}]
users: [{{name: lab, user: {{client-certificate: '{}', client-key: '{}'}}}}]
contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]
current-context: lab
",
        ca.display(),
        identity.certificate.display(),
        identity.key.display()
    )
}

pub(crate) fn write_secret(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
