//! Certificate signing requests as anybody may send them, and a watch that remembers what became of each.

mod approver;
pub(crate) mod der;
mod history;
pub(crate) mod pkcs10;
mod requester;

use anyhow::Result;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

pub(crate) use approver::Approver;
pub(crate) use history::{Fate, History};
pub(crate) use requester::{Requesters, client_of};

/// Client certificates of kubelets.
pub(crate) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of kubelets.
pub(crate) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Client certificates of anybody.
pub(crate) const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// The usages that every version of the signers takes.
pub(crate) const CLIENT_USAGES: &[&str] = &["digital signature", "key encipherment", "client auth"];
/// The same for what serves.
pub(crate) const SERVER_USAGES: &[&str] = &["digital signature", "key encipherment", "server auth"];

/// The object around a PKCS #10 request.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) signer: String,
    pub(crate) usages: &'static [&'static str],
    pub(crate) seconds: Option<i32>,
    pub(crate) pem: Vec<u8>,
}

impl Envelope {
    /// For a kubelet's client certificate.
    pub(crate) fn kubelet_client(pem: impl Into<Vec<u8>>) -> Self {
        Self::of(KUBELET_CLIENT, CLIENT_USAGES, pem)
    }

    /// For a kubelet's serving certificate.
    pub(crate) fn kubelet_serving(pem: impl Into<Vec<u8>>) -> Self {
        Self::of(KUBELET_SERVING, SERVER_USAGES, pem)
    }

    /// For any signer.
    pub(crate) fn of(signer: &str, usages: &'static [&'static str], pem: impl Into<Vec<u8>>) -> Self {
        Self { signer: signer.to_owned(), usages, seconds: None, pem: pem.into() }
    }

    /// The object, called `name`.
    pub(crate) fn object(&self, name: &str) -> CertificateSigningRequest {
        CertificateSigningRequest {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                signer_name: self.signer.clone(),
                usages: Some(self.usages.iter().map(|usage| (*usage).to_owned()).collect()),
                expiration_seconds: self.seconds,
                request: ByteString(self.pem.clone()),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        }
    }

    /// Sends it; the UID it got.
    pub(crate) async fn send(&self, client: &Client, name: &str) -> Result<String, kube::Error> {
        let api: Api<CertificateSigningRequest> = Api::all(client.clone());
        let made = api.create(&PostParams::default(), &self.object(name)).await?;
        Ok(made.metadata.uid.unwrap_or_default())
    }

    /// Sends it in the version of the API that has the signer `kubernetes.io/legacy-unknown`; the UID it got.
    pub(crate) async fn send_v1beta1(&self, client: &Client, name: &str) -> Result<String, kube::Error> {
        let mut object = serde_json::to_value(self.object(name)).map_err(kube::Error::SerdeError)?;
        object["apiVersion"] = "certificates.k8s.io/v1beta1".into();
        let body = serde_json::to_vec(&object).map_err(kube::Error::SerdeError)?;
        let request = http::Request::post("/apis/certificates.k8s.io/v1beta1/certificatesigningrequests")
            .header("content-type", "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        let made: serde_json::Value = client.request(request).await?;
        Ok(made["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
    }
}
