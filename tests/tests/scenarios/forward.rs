//! docker drops what is forwarded; pods on kn-agent's own bridge reach each other and the world all the same.

use anyhow::{Context as _, Result, ensure};
use lab::{DEMO_IMAGE, Minor, say, wait_until};

use crate::scenario::{JOIN, NODE, Scenario};

const UNIT: &str = "kn-agent-forward.service";

const POD: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: @NAME@}
spec:
  nodeName: @NODE@
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers:
  - name: httpd
    image: @IMAGE@
    imagePullPolicy: Never
    command: [/bin/sh, -c, 'echo hello > /www/index.html; exec httpd -f -p 80 -h /www']
";

/// Runs a program in a pod's container, as `$1` is its name.
const IN_POD: &str = "
pod=$1; shift
container=$(docker ps --quiet --filter label=io.kubernetes.pod.name=$pod --filter label=io.kubernetes.container.name=httpd)
docker exec ${container:?no such pod runs} \"$@\"";

fn in_pod(scenario: &Scenario, pod: &str, words: &[&str]) -> Result<bool> {
    let output = scenario.node.try_exec(&[&["sh", "-c", IN_POD, "sh", pod], words].concat())?;
    Ok(output.status.success())
}

/// Whether one pod reaches the other, beside it on the bridge, and what is outside of the machine: the API server's port.
fn reaches(scenario: &Scenario) -> Result<(bool, bool)> {
    let pod = scenario.control_plane.kubectl()?.get(&["pod", "two"])?;
    let address = pod["status"]["podIP"].as_str().context("no address")?;
    let beside =
        in_pod(scenario, "one", &["wget", "-q", "-O", "-", "-T", "2", &format!("http://{address}/")])?;
    let server = scenario.control_plane.server();
    let (host, port) = server.trim_start_matches("https://").split_once(':').context("no port")?;
    let outside = in_pod(scenario, "one", &["/bin/busybox", "nc", "-w", "2", host, port, "-e", "true"])?;
    Ok((beside, outside))
}

fn rules(scenario: &Scenario) -> Result<Vec<String>> {
    let rules = scenario.node.exec(&["iptables", "-S", "FORWARD"])?;
    Ok(rules.lines().map(str::to_owned).collect())
}

#[test]
fn pods_of_the_bridge_pass_where_docker_drops_what_is_forwarded() -> Result<()> {
    let scenario = Scenario::start("forward", Minor::V1_36)?;
    // As on a machine that had docker before: one that turns forwarding on itself drops what it did not ask for.
    scenario.node.sh("echo 0 > /proc/sys/net/ipv4/ip_forward && systemctl start docker", &[])?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    let kubectl = scenario.control_plane.kubectl()?;
    wait_until("the default service account", JOIN, || {
        Ok(kubectl.run(&["get", "serviceaccount", "default"]).ok())
    })?;
    for name in ["one", "two"] {
        kubectl.apply(&POD.replace("@NAME@", name).replace("@NODE@", NODE).replace("@IMAGE@", DEMO_IMAGE))?;
        kubectl.run(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"])?;
    }
    let before = rules(&scenario)?;
    say(format_args!("{}", before.join("\n")));
    ensure!(
        before.first().is_some_and(|policy| policy == "-P FORWARD DROP"),
        "docker drops nothing: {before:?}"
    );
    ensure!(reaches(&scenario)? == (true, true), "{:?} of {before:?}", reaches(&scenario)?);

    // The control: without the rules the same probe fails.
    scenario.node.exec(&["systemctl", "stop", "kn-agent", UNIT])?;
    let none = rules(&scenario)?;
    ensure!(!none.iter().any(|rule| rule.contains("kn-agent")), "stopping the unit leaves {none:?}");
    ensure!(reaches(&scenario)? == (false, false), "{:?} without the rules", reaches(&scenario)?);

    scenario.node.exec(&["systemctl", "start", "kn-agent"])?;
    wait_until("the pods to reach all again", JOIN, || {
        Ok((reaches(&scenario)? == (true, true)).then_some(()))
    })
    .with_context(|| scenario.describe())?;
    // A second start of the unit makes no second rule, and docker's own restart takes none away.
    let kubelet = scenario.unit("kubelet.service", "MainPID")?;
    scenario.node.exec(&["systemctl", "restart", "docker"])?;
    ensure!(scenario.unit("kubelet.service", "MainPID")? == kubelet, "the kubelet went down with docker");
    scenario.node.exec(&["systemctl", "restart", UNIT])?;
    let ours = rules(&scenario)?.iter().filter(|rule| rule.contains("kn-agent")).count();
    ensure!(ours == 2, "{ours} rules of ours: {:?}", rules(&scenario)?);
    wait_until("the pods to pass after docker's restart", JOIN, || {
        Ok((reaches(&scenario).is_ok_and(|reached| reached == (true, true))).then_some(()))
    })
    .with_context(|| scenario.describe())
}
