//! A request as the approver watches it: without the record of who wrote which field, and without the certificate. Both
//! are much of what a watch brings, each request comes by three times, and nothing here reads them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// A request, read as far as it matters. What it says may be sent back to the API server: of `metadata` everything but
/// `managedFields` is kept, and of `status` an approval changes the conditions only (`certificates/strategy.go`).
#[derive(Debug, Clone)]
pub(super) struct Watched(CertificateSigningRequest);

impl Deref for Watched {
    type Target = CertificateSigningRequest;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Body { metadata, spec, status } = Body::deserialize(deserializer)?;
        let status = status.and_then(|status| status.conditions).map(|conditions| {
            CertificateSigningRequestStatus { conditions: Some(conditions), ..Default::default() }
        });
        Ok(Self(CertificateSigningRequest { metadata: metadata.into(), spec, status }))
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: CertificateSigningRequestSpec,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
struct Status {
    conditions: Option<Vec<CertificateSigningRequestCondition>>,
}

/// [`ObjectMeta`] but `managedFields`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    self_link: Option<String>,
    uid: Option<String>,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            annotations: metadata.annotations,
            creation_timestamp: metadata.creation_timestamp,
            deletion_grace_period_seconds: metadata.deletion_grace_period_seconds,
            deletion_timestamp: metadata.deletion_timestamp,
            finalizers: metadata.finalizers,
            generate_name: metadata.generate_name,
            generation: metadata.generation,
            labels: metadata.labels,
            managed_fields: None,
            name: metadata.name,
            namespace: metadata.namespace,
            owner_references: metadata.owner_references,
            resource_version: metadata.resource_version,
            self_link: metadata.self_link,
            uid: metadata.uid,
        }
    }
}

impl Resource for Watched {
    type DynamicType = ();
    type Scope = <CertificateSigningRequest as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        CertificateSigningRequest::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        CertificateSigningRequest::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        CertificateSigningRequest::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        CertificateSigningRequest::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Every field of `metadata` that there is.
    fn request() -> Value {
        json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {
                "annotations": {"a": "1"},
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "deletionGracePeriodSeconds": 7,
                "deletionTimestamp": "2026-01-02T03:04:06Z",
                "finalizers": ["example.com/f"],
                "generateName": "csr-",
                "generation": 3,
                "labels": {"l": "2"},
                "managedFields": [{
                    "apiVersion": "certificates.k8s.io/v1", "fieldsType": "FieldsV1", "manager": "kubelet",
                    "fieldsV1": {"f:spec": {"f:request": {}}}, "operation": "Update", "time": "2026-01-02T03:04:05Z",
                }],
                "name": "csr-x",
                "namespace": "none",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
                "resourceVersion": "12",
                "selfLink": "/x",
                "uid": "5e6f",
            },
            "spec": {
                "request": "AAEC", "signerName": "kubernetes.io/kubelet-serving", "usages": ["digital signature"],
                "username": "system:node:n", "uid": "9", "groups": ["system:nodes"], "expirationSeconds": 600,
                "extra": {"k": ["v"]},
            },
            "status": {
                "certificate": "AAEC",
                "conditions": [{"type": "Approved", "status": "True", "reason": "R", "message": "M"}],
            },
        })
    }

    #[test]
    fn all_but_managed_fields_and_the_certificate_is_read() {
        let watched: Watched = serde_json::from_value(request()).unwrap();
        let mut whole: CertificateSigningRequest = serde_json::from_value(request()).unwrap();
        assert!(whole.metadata.managed_fields.take().is_some());
        assert!(whole.status.as_mut().and_then(|status| status.certificate.take()).is_some());
        assert_eq!(*watched, whole);
        // Nothing was forgotten in what is compared.
        let told = serde_json::to_value(&whole.metadata).unwrap();
        assert_eq!(told.as_object().unwrap().len() + 1, request()["metadata"].as_object().unwrap().len());
    }

    #[test]
    fn a_request_that_is_new_has_no_status() {
        let mut new = request();
        new["status"] = json!({});
        let watched: Watched = serde_json::from_value(new).unwrap();
        assert_eq!(watched.status, None);
    }
}
