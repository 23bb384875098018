//! Certificates a node needs, and the requests for them.

use std::path::Path;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::ObjectMeta;

use super::paths;
use crate::config::Config;
use crate::names::Subject;
use crate::ports::keys::{request_key_hash, sha256};

/// What every message of an approver of ours begins with: of all that is said about a request, these words are its.
pub const APPROVER_SAYS: &str = "kn-agent approver: ";

/// A certificate that must exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSpec {
    /// Whose; also the first part of the request's name.
    pub purpose: Purpose,
    /// Who it is for.
    pub subject: Subject,
    /// The signer that issues it.
    pub signer: &'static str,
    /// The ClusterRoleBinding that lets its request be made, where one is needed: a node may ask as it is.
    pub binding: Option<&'static str>,
    /// Where its key waits for it.
    pub pending_key: &'static Path,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The node itself, as the kubelet.
    KubeletClient,
    /// kube-proxy.
    KubeProxy,
}

impl Purpose {
    /// As it stands in names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KubeletClient => "kubelet",
            Self::KubeProxy => "proxy",
        }
    }
}

/// The binding that lets tokens create certificate signing requests; `kn-agent cluster init` makes it.
pub const BOOTSTRAPPER_BINDING: &str = "kn-agent:node-bootstrapper";

/// 1.20 demands exactly these for an RSA and an ECDSA key alike (`ValidateKubeletClientCSR`).
const USAGES: [&str; 3] = ["digital signature", "key encipherment", "client auth"];

/// The kubelet's client certificate.
pub fn kubelet_client(config: &Config) -> CertificateSpec {
    CertificateSpec {
        purpose: Purpose::KubeletClient,
        subject: Subject {
            common_name: config.node.name.user(),
            organization: Some("system:nodes".to_owned()),
            ..Subject::default()
        },
        signer: "kubernetes.io/kube-apiserver-client-kubelet",
        binding: Some(BOOTSTRAPPER_BINDING),
        pending_key: paths::pending_client_key(),
    }
}

/// kube-proxy's. The cluster's own binding `system:node-proxier` is for the user `system:kube-proxy`.
pub fn proxy(config: &Config) -> CertificateSpec {
    CertificateSpec {
        purpose: Purpose::KubeProxy,
        subject: config.proxy.subject.clone(),
        signer: "kubernetes.io/kube-apiserver-client",
        binding: None,
        pending_key: paths::pending_proxy_key(),
    }
}

impl CertificateSpec {
    /// The request's name: from key, subject, signer and usages, so that a restarted agent finds its own request.
    pub fn request_name(&self, public_key_hash: &str) -> String {
        let organization = self.subject.organization.as_deref().unwrap_or("");
        let mut inputs =
            [public_key_hash, &self.subject.common_name, organization, self.signer, &USAGES.join(",")]
                .join("\n");
        for (name, value) in self.subject.attributes() {
            if !matches!(name, "CN" | "O") {
                inputs.extend(["\n", name, "=", value]);
            }
        }
        let hash = sha256(inputs.as_bytes());
        format!("{}{}", self.name_prefix(), hash.get(..24).unwrap_or(&hash))
    }

    /// What every name of a request of this purpose begins with.
    pub fn name_prefix(&self) -> String {
        format!("kn-{}-", self.purpose.as_str())
    }

    /// Whether `request` asks for this certificate with the key of this hash. Anybody who may create requests can take a
    /// name that is free.
    pub fn is_asked_for_by(&self, request: &CertificateSigningRequestSpec, public_key_hash: &str) -> bool {
        let usages = request.usages.iter().flatten().map(String::as_str);
        let (mut asked, mut wanted) = (usages.collect::<Vec<_>>(), USAGES.to_vec());
        asked.sort_unstable();
        wanted.sort_unstable();
        request.signer_name == self.signer
            && asked == wanted
            && request_key_hash(&request.request.0).as_deref() == Some(public_key_hash)
    }

    /// The request object around a PEM request.
    pub fn request_object(&self, name: &str, pem: String) -> CertificateSigningRequest {
        CertificateSigningRequest {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(pem.into_bytes()),
                signer_name: self.signer.to_owned(),
                usages: Some(USAGES.iter().map(|&usage| usage.to_owned()).collect()),
                ..Default::default()
            },
            status: None,
        }
    }
}
