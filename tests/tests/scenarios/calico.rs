//! What calico leaves on a node, put there by hand piece by piece: calico-node itself needs what this lab has not.

use anyhow::{Context as _, Result, ensure};
use lab::{Minor, say};

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};

/// As install-cni writes it for a release that keeps its data in the API server.
const CONF: &str = r#"{"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [
{"type": "calico", "datastore_type": "kubernetes", "nodename": "worker-1", "mtu": 0, "ipam": {"type": "calico-ipam"},
 "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}},
{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}]}"#;

#[test]
fn what_calico_leaves_on_a_node_is_looked_at_piece_by_piece() -> Result<()> {
    let scenario = Scenario::start("calico-node", Minor::V1_36)?;
    let node = &scenario.node;
    node.put(DROP_IN, "network: {plugin: calico}\n", 0o644)?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_trouble("CniMissing", &["/etc/cni/net.d"], JOIN)?;
    let check = node.try_exec(&["kn-agent", "check"])?.stdout;
    let tunnels = check.lines().find(|line| line.contains("cni-tunnels")).context("no line of tunnels")?;
    // What can be made here is asked of the kernel itself, where it shows the node its modules.
    let probe = ["ip", "link", "add", "probe0", "type", "vxlan", "id", "7", "dstport", "4789"];
    let can = node.try_exec(&probe)?.status.success();
    let shown = node.try_exec(&["test", "-d", "/sys/module"])?.status.success();
    let told = !tunnels.contains("not told");
    let has = told && !tunnels.contains("no vxlan") && !tunnels.contains("nor vxlan");
    ensure!(told == shown && (!told || has == can), "modules shown: {shown}, vxlan made: {can}; {tunnels}");
    say(format_args!("{}", tunnels.trim()));

    node.put("/etc/cni/net.d/10-calico.conflist", CONF, 0o600)?;
    let told =
        scenario.wait_trouble("CniPluginMissing", &["10-calico.conflist", "calico, calico-ipam"], JOIN)?;
    say(format_args!("{told}"));
    for program in ["calico", "calico-ipam"] {
        node.put(&format!("/usr/lib/cni/{program}"), "#!/bin/sh\nexit 1\n", 0o755)?;
    }
    scenario.wait_trouble("CalicoPending", &["/etc/cni/net.d/calico-kubeconfig"], JOIN)?;
    node.put("/etc/cni/net.d/calico-kubeconfig", "", 0o600)?;
    scenario.wait_trouble("CalicoPending", &["/var/lib/calico/nodename", "calico-node"], JOIN)?;
    node.put("/var/lib/calico/nodename", "worker-7", 0o644)?;
    scenario.wait_trouble("CalicoPending", &["worker-7", NODE], JOIN)?;
    node.put("/var/lib/calico/nodename", NODE, 0o644)?;
    scenario.wait_satisfied("network", JOIN)
}
