use serde_json::json;

use super::*;

fn release(store: &str, deployment: &str) -> String {
    let env = if store == "kubernetes" { "[{name: DATASTORE_TYPE, value: kubernetes}]" } else { "[]" };
    format!(
        "# comment
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: calico-node, namespace: kube-system}}
spec: {{template: {{spec: {{containers: [{{name: calico-node, image: 'docker.io/calico/node:v3.28.5', env: {env}}}]}}}}}}
---
# nothing
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: calico-config, namespace: kube-system}}
data: {{etcd_endpoints: 'http://10.0.0.1:2379'}}
{deployment}"
    )
}

fn controllers_of(replicas: u8, strategy: &str, host: bool) -> String {
    format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: calico-kube-controllers, namespace: kube-system}}
spec: {{replicas: {replicas}, strategy: {{type: {strategy}}}, template: {{spec: {{hostNetwork: {host}}}}}}}
"
    )
}

fn refused(text: &str) -> String {
    Release::read("calico.yaml", text).unwrap_err().to_string()
}

#[test]
fn release_with_right_controllers_is_taken_as_it_is() {
    let etcd = Release::read("f", &release("etcdv3", &controllers_of(1, "Recreate", true))).unwrap();
    assert_eq!(etcd.documents.len(), 3);
    // What others stand on comes first.
    assert_eq!(word(&etcd.documents[0], "kind"), "ConfigMap");
    Release::read("f", &release("kubernetes", &controllers_of(1, "Recreate", false))).unwrap();
}

#[test]
fn controllers_that_are_not_one_or_not_where_their_data_want_them_are_refused() {
    let text = refused(&release("etcdv3", &controllers_of(2, "RollingUpdate", false)));
    for said in [
        "calico.yaml is not applied",
        "spec.replicas is 2, expected 1",
        "spec.strategy.type is RollingUpdate, expected Recreate",
        "hostNetwork is false, expected true, as its data are in etcd",
    ] {
        assert!(text.contains(said), "`{said}` is not in {text}");
    }
    let two = controllers_of(1, "Recreate", true).repeat(2);
    assert!(refused(&release("etcdv3", &two)).contains("there are 2 Deployments"));
}

#[test]
fn what_is_no_release_is_refused() {
    assert!(refused("a: [").contains("is no YAML"));
    assert!(refused("apiVersion: v1\nkind: ConfigMap\n").contains("a ConfigMap has no name"));
    assert!(refused("a: b\n").contains("a document without `apiVersion`"));
    assert!(
        refused(&release("kubernetes", "").replace("calico-node", "other")).contains("DaemonSet calico-node")
    );
    assert!(
        refused(&release("etcdv3", "").replace("10.0.0.1:2379", "<ETCD_IP>:<ETCD_PORT>")).contains("example")
    );
}

#[test]
fn controllers_are_added_where_the_release_has_none() {
    for (store, host, rules) in [("etcdv3", json!(true), 2), ("kubernetes", json!(null), 6)] {
        let release = Release::read("f", &release(store, "")).unwrap();
        let of = |kind: &str| {
            let mut found =
                release.documents.iter().filter(|one| word(one, "kind") == kind && name(one) == CONTROLLERS);
            found.next().unwrap_or_else(|| panic!("no {kind}")).clone()
        };
        let deployment = of("Deployment");
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["hostNetwork"], host);
        assert_eq!(pod["containers"][0]["image"], "docker.io/calico/kube-controllers:v3.28.5");
        assert_eq!(of("ClusterRole")["rules"].as_array().unwrap().len(), rules);
        assert_eq!(of("ClusterRoleBinding")["subjects"][0]["name"], of("ServiceAccount")["metadata"]["name"]);
        // A misspelt field would be dropped by the API server without a word.
        let typed: k8s_openapi::api::apps::v1::Deployment =
            serde_json::from_value(deployment.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), deployment);
    }
}

#[test]
fn rights_beside_the_needed_are_told() {
    let role = |verbs: &str| {
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: calico-kube-controllers}}\n\
             rules: [{{apiGroups: [''], resources: [nodes], verbs: [{verbs}]}}]\n"
        )
    };
    let warnings = |verbs: &str| {
        let deployment = controllers_of(1, "Recreate", false) + &role(verbs);
        Release::read("f", &release("kubernetes", &deployment)).unwrap().warnings()
    };
    assert!(warnings("get, list").is_empty());
    let told = warnings("get, delete");
    assert!(told.len() == 1 && told[0].contains("delete nodes;"), "{told:?}");
}
