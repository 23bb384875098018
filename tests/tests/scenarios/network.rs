//! A network that the operator brings, of a kind that kn-agent does not know.

use anyhow::{Context as _, Result, ensure};
use lab::{Minor, say};

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};

const CONF: &str = "/etc/cni/net.d/20-own.conflist";

/// No runtime can work with it: it has no plugin.
const EMPTY: &str = r#"{"cniVersion": "0.3.1", "name": "own", "plugins": []}"#;

const OWN: &str = r#"{"cniVersion": "0.3.1", "name": "own", "plugins": [
{"type": "bridge", "bridge": "own0", "isGateway": true, "ipam": {"type": "host-local", "subnet": "10.99.0.0/24"}}]}"#;

/// It comes after the one that is used.
const LATER: &str = r#"{"cniVersion": "0.3.1", "name": "later", "plugins": [{"type": "nowhere"}]}"#;

#[test]
fn a_network_that_the_operator_brings_is_waited_for_named_and_used() -> Result<()> {
    let scenario = Scenario::start("network-none", Minor::V1_36)?;
    let node = &scenario.node;
    node.put(DROP_IN, "network: {plugin: none}\n", 0o600)?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_trouble("CniMissing", &["/etc/cni/net.d"], JOIN)?;
    let directory = || node.exec(&["ls", "/etc/cni/net.d"]);
    ensure!(directory()?.is_empty(), "kn-agent wrote one: {}", directory()?);

    node.put(CONF, EMPTY, 0o644)?;
    say(format_args!("{}", scenario.wait_trouble("CniConfUnusable", &["20-own.conflist"], JOIN)?));

    node.put("/etc/cni/net.d/30-later.conflist", LATER, 0o644)?;
    node.put(CONF, OWN, 0o644)?;
    scenario.wait_ready(JOIN)?;
    let outside = scenario.control_plane.kubectl()?.node_condition(NODE, "Ready")?;
    ensure!(outside.as_deref() == Some("True"), "from outside: {outside:?}");
    let check = node.try_exec(&["kn-agent", "check"])?.stdout;
    let programs = check.lines().find(|line| line.contains("cni-programs")).context("no such check")?;
    ensure!(programs.starts_with('✓') && programs.contains("not used: "), "{programs}");
    ensure!(programs.contains("30-later.conflist") && programs.contains("nowhere"), "{programs}");
    Ok(())
}
