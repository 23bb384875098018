//! What pods resolve with where the operator names no DNS, whom the kubelet lets in, and where it is asked for its health.

use anyhow::{Result, ensure};
use lab::{DEMO_IMAGE, Minor, say, wait_until};
use serde_json::{Value, json};

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};

const CONFIG: &str = "/etc/kubernetes/kubelet.yaml";

/// Flags win over the kubelet's configuration, which an operator's drop-in may well add.
const OPENED: &str = "
mkdir -p /etc/systemd/system/kubelet.service.d
{ echo '[Service]'; echo 'ExecStart='
  sed -n '/^ExecStart=/,/[^\\\\]$/p' /etc/systemd/system/kubelet.service | sed '$s/$/ --anonymous-auth=true --authorization-mode=AlwaysAllow --read-only-port=10255/'
} > /etc/systemd/system/kubelet.service.d/open.conf
systemctl daemon-reload
systemctl restart kubelet";

const CLOSED: &str = "
rm /etc/systemd/system/kubelet.service.d/open.conf
systemctl daemon-reload
systemctl restart kubelet";

fn dns_service(address: &str) -> String {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": address, "selector": {"k8s-app": "kube-dns"},
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]},
    });
    service.to_string()
}

/// The resolver configuration of a pod, as its container has it.
fn resolver_of_a_pod(scenario: &Scenario) -> Result<String> {
    const READ: &str = "
container=$(docker ps --quiet --filter label=io.kubernetes.pod.name=asks --filter label=io.kubernetes.container.name=one)
docker exec ${container:?no such pod runs} cat /etc/resolv.conf";
    let pod: Value = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asks"},
        "spec": {
            "nodeName": NODE,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "one", "image": DEMO_IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", "exec httpd -f -p 80 -h /www"]}],
        },
    });
    let kubectl = scenario.control_plane.kubectl()?;
    wait_until("the default service account", JOIN, || {
        Ok(kubectl.run(&["get", "serviceaccount", "default"]).ok())
    })?;
    kubectl.apply(&pod.to_string())?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/asks", "--timeout=60s"])?;
    scenario.node.sh(READ, &[])
}

fn started(scenario: &Scenario) -> Result<String> {
    scenario.unit("kubelet.service", "ActiveEnterTimestampMonotonic")
}

#[test]
fn pods_resolve_by_the_clusters_own_dns_service() -> Result<()> {
    let scenario = Scenario::start("dns", Minor::V1_36)?;
    let kubectl = scenario.control_plane.kubectl()?;
    let config = || -> Result<String> { scenario.node.exec(&["cat", CONFIG]) };
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    say(format_args!(
        "without the Service: {}",
        scenario.wait_message("kubelet", "no Service kube-system/kube-dns")?
    ));
    ensure!(!config()?.contains("clusterD"), "{}", config()?);

    let before = started(&scenario)?;
    kubectl.create(&dns_service("10.96.0.10"))?;
    wait_until("the kubelet to start with the Service's address", JOIN, || {
        let is_told = config()?.contains("10.96.0.10") && started(&scenario)? != before;
        Ok((is_told && scenario.unit("kubelet.service", "ActiveState")? == "active").then_some(()))
    })?;
    scenario.wait_ready(JOIN)?;
    let resolver = resolver_of_a_pod(&scenario)?;
    say(format_args!("a pod's resolver:\n{resolver}"));
    ensure!(
        resolver.contains("nameserver 10.96.0.10") && resolver.contains("svc.cluster.local"),
        "{resolver}"
    );

    scenario.node.exec(&["systemctl", "restart", "kn-agent"])?;
    scenario.wait_ready(JOIN)?;
    lab::ensure_nothing_planned(&scenario.node)?;
    // One that is made anew elsewhere is followed.
    kubectl.run(&["-n", "kube-system", "delete", "service", "kube-dns"])?;
    kubectl.create(&dns_service("10.96.0.11"))?;
    wait_until("the kubelet to be told the other address", JOIN, || {
        Ok(config()?.contains("10.96.0.11").then_some(()))
    })?;
    scenario.wait_ready(JOIN).map(drop)
}

#[test]
fn a_kubelet_that_a_drop_in_opens_is_told_and_one_that_is_closed_again_is_well() -> Result<()> {
    let scenario = Scenario::start("strangers", Minor::V1_36)?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    say(format_args!("{}", scenario.wait_message("upkeep", "turns strangers away")?));

    scenario.node.sh(OPENED, &[])?;
    let marks = ["answers strangers (HTTP 200", ":10255", "systemctl cat kubelet"];
    let told = scenario.wait_trouble("KubeletOpen", &marks, JOIN)?;
    say(format_args!("{told}"));
    ensure!(
        scenario.status()?.is_some_and(|status| status["ready"] == true),
        "it is told, and holds nothing back"
    );

    scenario.node.sh(CLOSED, &[])?;
    scenario.wait_message("upkeep", "turns strangers away")?;
    Ok(())
}

#[test]
fn health_is_asked_where_the_configuration_of_the_components_has_it() -> Result<()> {
    const FIELDS: &str = "
kubelet: {config: {healthzPort: 10348}}
proxy: {config: {healthzBindAddress: '127.0.0.1:10356'}}
";
    let scenario = Scenario::start("health", Minor::V1_36)?;
    scenario.node.put(DROP_IN, FIELDS, 0o600)?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    let listening = scenario.node.exec(&["ss", "-Hltn"])?;
    let is_there = |port: u16| listening.contains(&format!(":{port} "));
    ensure!(is_there(10348) && is_there(10356), "{listening}");
    ensure!(!is_there(10248) && !is_there(10256), "the fixed ports answer, too: {listening}");
    Ok(())
}
