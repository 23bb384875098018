//! calico's controllers as they are in a cluster, whoever put them there.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{CONTROLLERS, Datastore, name, verify, word};
use crate::cluster::client::{CallError, Cluster};

/// Their Deployments.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster::init) struct Found {
    deployments: Vec<Value>,
}

impl Found {
    /// Looks.
    pub(in crate::cluster::init) async fn look(cluster: &Cluster) -> Result<Self, CallError> {
        let deployments: Api<Deployment> = Api::all(cluster.client());
        let theirs = ListParams::default().labels(&format!("k8s-app={CONTROLLERS}"));
        let list = cluster.call("list", "Deployments", deployments.list(&theirs)).await?;
        let typed = |deployment: Deployment| {
            let namespace = deployment.namespace().unwrap_or_default();
            let mut value = json!(deployment);
            value["metadata"]["name"] = format!("{namespace}/{}", deployment.name_any()).into();
            value
        };
        Ok(Self { deployments: list.items.into_iter().map(typed).collect() })
    }

    /// What is wrong with them, and the command that mends it.
    pub(in crate::cluster::init) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.deployments.len() > 1 {
            let names: Vec<&str> = self.deployments.iter().map(name).collect();
            warnings.push(format!(
                "there are {} Deployments of {CONTROLLERS} ({}), which undo each other's work: remove all but one",
                names.len(),
                names.join(", ")
            ));
        }
        for deployment in &self.deployments {
            let path = name(deployment);
            let (namespace, own) = path.split_once('/').unwrap_or(("default", path));
            let wrong = verify::wrong(deployment, store(deployment));
            warnings.extend(wrong.into_iter().map(|wrong| {
                format!("{wrong}; kubectl -n {namespace} edit deployment {own}, or kn-agent cluster init --cni calico --manifest FILE")
            }));
        }
        warnings
    }
}

/// The controllers say themselves where their data are.
fn store(deployment: &Value) -> Datastore {
    let containers =
        deployment["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let variables = containers.iter().filter_map(|container| container["env"].as_array()).flatten();
    let mut types = variables.filter(|variable| word(variable, "name") == "DATASTORE_TYPE");
    match types.next() {
        Some(kind) if word(kind, "value") == "kubernetes" => Datastore::Kubernetes,
        _ => Datastore::Etcd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(name: &str, replicas: i64, strategy: &str, host: bool, store: &str) -> Value {
        let env = json!([{"name": "DATASTORE_TYPE", "value": store}]);
        let pod = json!({"hostNetwork": host, "containers": [{"name": "c", "env": env}]});
        json!({"kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas,
            "strategy": {"type": strategy}, "template": {"spec": pod}}})
    }

    #[test]
    fn controllers_that_would_undo_their_work_are_told_with_the_command() {
        let told = |deployments: Vec<Value>| Found { deployments }.warnings();
        let right = deployment("kube-system/a", 1, "Recreate", false, "kubernetes");
        assert!(told(vec![right.clone()]).is_empty());
        assert!(told(vec![deployment("kube-system/a", 1, "Recreate", true, "etcdv3")]).is_empty());
        let wrong = told(vec![deployment("kube-system/a", 2, "RollingUpdate", false, "etcdv3")]);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].starts_with(
            "Deployment kube-system/a: spec.replicas is 2, expected 1; kubectl -n kube-system edit"
        ));
        let two = told(vec![right.clone(), deployment("other/a", 1, "Recreate", false, "kubernetes")]);
        assert!(two.len() == 1 && two[0].contains("kube-system/a, other/a"), "{two:?}");
    }
}
