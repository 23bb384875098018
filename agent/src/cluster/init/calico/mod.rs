//! calico: the operator's own release, applied as it is after it has been looked at, and its controllers.
//!
//! A release is hundreds of kilobytes and the operator's to choose. What is ours is `calico-kube-controllers` where the
//! release has none, and the rules that any must keep: one instance, on the host's network where its data are in etcd.

mod controllers;
mod found;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::core::ApiResource;
use serde_json::Value;
use thiserror::Error;

use super::objects::Wanted;
use crate::cluster::client::{CallError, Cluster};
use crate::config::syntax_error;

pub(super) use found::Found;

/// The name of calico's controllers: of their Deployment, role, binding and account.
const CONTROLLERS: &str = "calico-kube-controllers";

/// The namespace of a release that is applied without calico's operator.
const NAMESPACE: &str = "kube-system";

/// A release, as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    file: String,
    documents: Vec<Value>,
}

/// Why a file is no release that can be applied. Nothing was changed.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// No YAML.
    #[error("{file} is no YAML: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// Where and why.
        why: String,
    },
    /// It would not work, or not as it has to.
    #[error("{file} is not applied:\n  {}", .problems.join("\n  "))]
    Refused {
        /// The file.
        file: String,
        /// Each of them.
        problems: Vec<String>,
    },
}

/// Where calico keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Datastore {
    /// In the API server, as objects of its own kinds.
    Kubernetes,
    /// In an etcd of its own.
    Etcd,
}

impl Release {
    /// Reads the text of a file and looks whether it can be what it should.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(file: &str, text: &str) -> Result<Self, ReleaseError> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
            ReleaseError::Unreadable { file: file.to_owned(), why: syntax_error(&error).to_string() }
        })?;
        // What stands between two `---` may be a comment alone.
        let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
        let problems = verify::problems(&documents);
        if !problems.is_empty() {
            return Err(ReleaseError::Refused { file: file.to_owned(), problems });
        }
        let ours = controllers::missing(&documents);
        let mut release = Self { file: file.to_owned(), documents: [documents, ours].concat() };
        release.documents.sort_by_key(|document| rank(word(document, "kind")));
        Ok(release)
    }

    /// What the operator should know of it.
    pub(super) fn warnings(&self) -> Vec<String> {
        verify::warnings(&self.documents)
    }

    /// The objects, with the way to each in this cluster.
    pub(super) async fn objects(&self, cluster: &Cluster) -> Result<Vec<Wanted>, super::InitError> {
        let versions: BTreeSet<&str> =
            self.documents.iter().map(|document| word(document, "apiVersion")).collect();
        let lists = versions.into_iter().map(|version| served(cluster, version));
        let served: BTreeMap<(String, String), Kind> =
            try_join_all(lists).await?.into_iter().flatten().collect();
        let mut problems = Vec::new();
        let mut wanted = Vec::new();
        for document in &self.documents {
            let (version, kind) = (word(document, "apiVersion"), word(document, "kind"));
            match served.get(&(version.to_owned(), kind.to_owned())) {
                Some(found) => wanted.push(found.wanted(document)),
                None => problems.push(format!("this API server knows no {kind} of {version}")),
            }
        }
        problems.dedup();
        if problems.is_empty() {
            return Ok(wanted);
        }
        let refused = ReleaseError::Refused { file: self.file.clone(), problems };
        Err(super::Unusable::Calico(refused).into())
    }
}

/// A kind as the API server has it.
#[derive(Debug, Clone)]
struct Kind {
    resource: ApiResource,
    namespaced: bool,
}

impl Kind {
    fn wanted(&self, document: &Value) -> Wanted {
        let metadata = &document["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or("default");
        let namespace = self.namespaced.then(|| namespace.to_owned());
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        Wanted::found(&self.resource, namespace, name, document.clone())
    }
}

/// The kinds of a version that are served; none where the version is not.
async fn served(cluster: &Cluster, version: &str) -> Result<Vec<((String, String), Kind)>, CallError> {
    let client = cluster.client();
    let ask = async {
        if version.contains('/') {
            client.list_api_group_resources(version).await
        } else {
            client.list_core_api_resources(version).await
        }
    };
    let list: APIResourceList = match cluster.call("list", format!("kinds of {version}"), ask).await {
        Ok(list) => list,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (group, number) = version.rsplit_once('/').unwrap_or(("", version));
    // What has a `/` in its name is a part of another.
    let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
    let kind = |resource: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource| {
        let found = Kind {
            resource: ApiResource {
                group: group.to_owned(),
                version: number.to_owned(),
                api_version: version.to_owned(),
                kind: resource.kind.clone(),
                plural: resource.name,
            },
            namespaced: resource.namespaced,
        };
        ((version.to_owned(), resource.kind), found)
    };
    Ok(whole.map(kind).collect())
}

/// What others stand on comes first.
fn rank(kind: &str) -> usize {
    const ORDER: [&str; 9] = [
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "Secret",
        "ConfigMap",
        "ClusterRole",
        "Role",
        "ClusterRoleBinding",
        "RoleBinding",
    ];
    ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn name(document: &Value) -> &str {
    word(&document["metadata"], "name")
}

#[cfg(test)]
mod tests;
