//! A verdict without a cluster: on objects in a file, for whoever wants to know why.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use serde_json::Value;
use thiserror::Error;

use jiff::Timestamp;

use crate::cluster::csr::CsrFacts;
use crate::cluster::inventory::{Inventory, NodeFacts};
use crate::cluster::policy::{self, Policy, Verdict};
use crate::config::{SyntaxError, syntax_error};

/// Why there is nothing to explain.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// It is no YAML, and no JSON either.
    #[error("it is neither YAML nor JSON: {0}")]
    Unreadable(SyntaxError),
    /// An object is not what it says it is.
    #[error("object {number}, a {kind}: {why}")]
    Object {
        /// Which, counted from 1.
        number: usize,
        /// Its kind.
        kind: String,
        /// What is wrong.
        why: String,
    },
    /// Nothing to judge.
    #[error("it holds no CertificateSigningRequest; write one with: kubectl get csr NAME -o yaml")]
    NoRequest,
}

/// What the policy says of each request in `text`, by name, where the Nodes in `text` are all the Nodes there are.
///
/// # Errors
/// The text holds something else, or no request.
pub fn explain(text: &str, policy: &Policy, now: Timestamp) -> Result<Vec<(String, Verdict)>, OfflineError> {
    let mut inventory = Inventory::default();
    let mut requests = Vec::new();
    for (index, object) in objects(text)?.into_iter().enumerate() {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or("nameless thing").to_owned();
        let bad = |why: String| OfflineError::Object { number: index + 1, kind: kind.clone(), why };
        match kind.as_str() {
            "CertificateSigningRequest" => {
                let csr: CertificateSigningRequest =
                    serde_json::from_value(object).map_err(|error| bad(error.to_string()))?;
                requests.push(csr);
            }
            "Node" => {
                let node: Node = serde_json::from_value(object).map_err(|error| bad(error.to_string()))?;
                inventory.set(&node.name_any(), NodeFacts::of(&node));
            }
            _ => {
                return Err(bad(
                    "expected CertificateSigningRequests, and Nodes where they matter".to_owned()
                ));
            }
        }
    }
    if requests.is_empty() {
        return Err(OfflineError::NoRequest);
    }
    let judge = |csr: &CertificateSigningRequest| policy::judge(&CsrFacts::of(csr), &inventory, policy, now);
    Ok(requests.iter().map(|csr| (csr.name_any(), judge(csr))).collect())
}

/// All objects of all documents, those in Lists too.
fn objects(text: &str) -> Result<Vec<Value>, OfflineError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| OfflineError::Unreadable(syntax_error(&error)))?;
    let mut objects = Vec::new();
    for mut document in documents {
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => objects.extend(items),
            _ => objects.push(document),
        }
    }
    Ok(objects)
}
