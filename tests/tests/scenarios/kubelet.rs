//! What pods resolve with where the operator names no DNS, whom the kubelet lets in, and where it is asked for its health.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail, ensure};
use lab::{DEMO_IMAGE, Minor, say, wait_until};
use serde_json::{Value, json};

use crate::scenario::name_service::NameService;
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

/// As the documents warn of: kube-proxy goes by another name than the kubelet.
const RENAMED: &str = "
mkdir -p /etc/systemd/system/kube-proxy.service.d
{ echo '[Service]'; echo 'ExecStart='
  sed -n '/^ExecStart=/,/[^\\\\]$/p' /etc/systemd/system/kube-proxy.service | sed '$s/$/ --hostname-override=somebody-else/'
} > /etc/systemd/system/kube-proxy.service.d/name.conf
systemctl daemon-reload
systemctl restart kube-proxy";

const NAMED_AGAIN: &str = "
rm /etc/systemd/system/kube-proxy.service.d/name.conf
systemctl daemon-reload
systemctl restart kube-proxy";

fn dns_service(address: &str) -> String {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": address, "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]},
    });
    service.to_string()
}

/// Has whoever asks the Service be answered at this address and port.
fn dns_endpoints(address: Ipv4Addr, port: u16) -> String {
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "dns", "port": port, "protocol": "UDP"}]}],
    });
    endpoints.to_string()
}

/// A pod finds another by the first word of its name: server, search list and kube-proxy do their part. For want of another
/// it is itself.
fn pod_finds_a_service_by_its_name(scenario: &Scenario) -> Result<()> {
    let ask = |name: &str| {
        let script = format!("{POD}docker exec $container wget -q -O - -T 5 http://{name}/ 2>&1");
        scenario.node.try_exec(&["sh", "-c", &script])
    };
    let kubectl = scenario.control_plane.kubectl()?;
    let pod = kubectl.run(&["get", "pod", "asks", "-o", "jsonpath={.status.podIP}"])?.parse()?;
    let host = scenario.control_plane.run().host_address();
    let names = NameService::start(host, "web.default.svc.cluster.local", pod)?;
    kubectl.create(&dns_endpoints(host, names.port()))?;
    let page = wait_until("the pod to find `web`", JOIN, || {
        let answer = ask("web")?;
        Ok(answer.status.success().then_some(answer.stdout))
    })
    .with_context(|| format!("{:?}", ask("web")))?;
    ensure!(page.trim() == "here", "{page}");
    // The control: another name is none.
    let other = ask("nobody")?;
    ensure!(!other.status.success() && other.stdout.contains("bad address"), "{other:?}");
    Ok(())
}

/// Finds the container of the pod that asks.
const POD: &str = "
container=$(docker ps --quiet --filter label=io.kubernetes.pod.name=asks --filter label=io.kubernetes.container.name=one)
: ${container:?no such pod runs}
";

/// The resolver configuration of a pod, as its container has it.
fn resolver_of_a_pod(scenario: &Scenario) -> Result<String> {
    let pod: Value = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asks"},
        "spec": {
            "nodeName": NODE,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "one", "image": DEMO_IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", "echo here > /www/index.html; exec httpd -f -p 80 -h /www"]}],
        },
    });
    let kubectl = scenario.control_plane.kubectl()?;
    wait_until("the default service account", JOIN, || {
        Ok(kubectl.run(&["get", "serviceaccount", "default"]).ok())
    })?;
    kubectl.apply(&pod.to_string())?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/asks", "--timeout=60s"])?;
    scenario.node.sh(&format!("{POD}docker exec $container cat /etc/resolv.conf"), &[])
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

    pod_finds_a_service_by_its_name(&scenario)?;

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

    scenario.wait_message("kubelet", "its command line is not ours but that of")?;

    scenario.node.sh(CLOSED, &[])?;
    scenario.wait_message("upkeep", "turns strangers away")?;
    another_name_of_kube_proxy_is_told(&scenario)
}

fn another_name_of_kube_proxy_is_told(scenario: &Scenario) -> Result<()> {
    let said = || -> Result<String> {
        let phase = scenario.phases()?.into_iter().find(|phase| phase["phase"] == "proxy");
        Ok(phase.context("no such phase")?["message"].as_str().unwrap_or_default().to_owned())
    };
    ensure!(!said()?.contains("name.conf"), "{}", said()?);
    scenario.node.sh(RENAMED, &[])?;
    let told = scenario.wait_message("proxy", "/etc/systemd/system/kube-proxy.service.d/name.conf")?;
    let journal = ["journalctl", "-u", "kube-proxy", "-o", "cat", "--no-pager"];
    let log = wait_until("kube-proxy to look for another Node", JOIN, || {
        Ok(Some(scenario.node.exec(&journal)?).filter(|log| log.contains("somebody-else")))
    })?;
    let line = log.lines().find(|line| line.contains("somebody-else")).unwrap_or_default();
    say(format_args!("{told}\n{line}"));
    scenario.node.sh(NAMED_AGAIN, &[])?;
    wait_until("nothing to be told of it", JOIN, || Ok((!said()?.contains("name.conf")).then_some(())))?;
    scenario.wait_ready(JOIN).map(drop)
}

/// The configuration that the kubelet itself says it goes by.
fn in_force(scenario: &Scenario) -> Result<Value> {
    let kubectl = scenario.control_plane.kubectl()?;
    let path = format!("/api/v1/nodes/{NODE}/proxy/configz");
    // It serves with a certificate that it asks for after its start.
    let text = wait_until("the kubelet to say its configuration", JOIN, || {
        Ok(kubectl.run(&["get", "--raw", &path]).ok())
    })?;
    Ok(serde_json::from_str::<Value>(&text)?["kubeletconfig"].take())
}

#[test]
fn what_is_kept_from_pods_is_what_the_kubelet_itself_goes_by() -> Result<()> {
    const FIELDS: &str = "
kubelet:
  reserved: auto
  config:
    maxPods: 42
    systemReserved: {cpu: 50m, memory: 64Mi}
    evictionHard: {memory.available: 150Mi}
    failSwapOn: false
    memorySwap: {swapBehavior: @SWAP@}
    providerID: @TEXT@
";
    // Whatever means something to YAML, to a unit or to a shell.
    const TEXT: &str = "- a: b # c, 'd' \"e\" %h ${HOME} {f} [g] \\n & * ! | > @ ` 節 ";
    let scenario = Scenario::start("kept", Minor::V1_36)?;
    let fields = FIELDS.replace("@TEXT@", &json!(TEXT).to_string());
    let with_swap = |behavior: &str| scenario.node.put(DROP_IN, fields.replace("@SWAP@", behavior), 0o600);
    with_swap("LimitedSwap")?;
    scenario.configure(&scenario.fresh_config()?)?;
    let swap = if lab::is_unified() {
        "LimitedSwap"
    } else {
        scenario.wait_trouble("UnitCrashLoop", &["kubelet.config.memorySwap wants cgroup v2"], JOIN)?;
        with_swap("NoSwap")?;
        "NoSwap"
    };
    scenario.wait_ready(JOIN)?;
    let config = in_force(&scenario)?;
    say(format_args!("the kubelet goes by {config}"));
    ensure!(config["providerID"] == TEXT, "{}", config["providerID"]);
    ensure!(config["maxPods"] == 42, "{}", config["maxPods"]);
    ensure!(
        config["systemReserved"] == json!({"cpu": "50m", "memory": "64Mi"}),
        "{}",
        config["systemReserved"]
    );
    ensure!(config["memorySwap"]["swapBehavior"] == swap, "{}", config["memorySwap"]);
    // The thresholds that are not named keep their defaults, or what the lab has for them.
    let hard = config["evictionHard"].as_object().context("no evictionHard")?;
    let others = ["nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree"];
    ensure!(
        hard["memory.available"] == "150Mi" && others.iter().all(|name| hard.contains_key(*name)),
        "{hard:?}"
    );
    for resource in ["cpu", "memory"] {
        let key = format!("kubelet.config.kubeReserved.{resource}");
        let explained = scenario.node.exec(&["kn-agent", "config", "explain", &key])?;
        let reserved = config["kubeReserved"][resource].as_str().context("nothing is reserved")?;
        ensure!(explained.contains(reserved), "{reserved} is not in: {explained}");
    }
    node_says_what_is_left(&scenario, &config)
}

/// All of it but what is kept.
fn node_says_what_is_left(scenario: &Scenario, config: &Value) -> Result<()> {
    let status = &scenario.control_plane.kubectl()?.get(&["node", NODE])?["status"];
    ensure!(status["allocatable"]["pods"] == "42", "{}", status["allocatable"]);
    let mebibytes = |text: &Value| -> Result<u64> {
        let text = text.as_str().context("no memory")?;
        let (number, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
        let number: u64 = number.parse()?;
        match unit {
            "Mi" => Ok(number),
            "Ki" => Ok(number >> 10),
            _ => bail!("memory of `{text}`"),
        }
    };
    let kept = 64 + 150 + mebibytes(&config["kubeReserved"]["memory"])?;
    let [all, left] = ["capacity", "allocatable"].map(|what| mebibytes(&status[what]["memory"]));
    let (all, left) = (all?, left?);
    ensure!((all - left).abs_diff(kept) <= 1, "of {all} MiB {left} are left, where {kept} are kept");
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
