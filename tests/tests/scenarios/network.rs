//! A network that the operator brings, of a kind that kn-agent does not know.

use anyhow::{Context as _, Result, ensure};
use lab::{Minor, say, wait_until};

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

/// Another interface with an address; the API server's name, which leads there by way of `host0`.
const ARRANGE: &str = "
ip link add name second type veth peer name other
ip address add 192.0.2.7/24 dev second
ip link set second up
ip link set other up
echo \"$1 kubernetes\" >> /etc/hosts";

/// The name leads out by the other interface.
const ELSEWHERE: &str = "sed -i 's/^[^ ]* kubernetes$/192.0.2.9 kubernetes/' /etc/hosts";

#[test]
fn api_server_that_goes_by_a_name_gives_the_node_its_address_for_good() -> Result<()> {
    // A name that YAML takes for a number, unless every file has it as a text.
    const NAME: &str = "1e3";
    let scenario = Scenario::start("by-name", Minor::V1_36)?;
    let node = &scenario.node;
    let (server, address) =
        (scenario.control_plane.server(), scenario.control_plane.run().host_address().to_string());
    // Not there yet: nothing is written before it is known which way the node is reached.
    let config = scenario.fresh_config_of(NAME)?;
    ensure!(config.contains(&server) && server.contains(&address), "{config}");
    scenario.configure(&config.replace(&server, &server.replace(&address, "kubernetes")))?;
    let told = scenario.wait_trouble("ApiUnreachable", &["cannot look up `kubernetes`"], JOIN)?;
    let unit = || node.try_exec(&["cat", "/etc/systemd/system/kubelet.service"]);
    ensure!(!unit()?.status.success(), "a unit was written: {}", unit()?.stdout);
    say(format_args!("{told}"));

    node.sh(ARRANGE, &[&address])?;
    scenario.wait_ready(JOIN)?;
    let own = node.address().to_string();
    let kubectl = scenario.control_plane.kubectl()?;
    let internal = "jsonpath={.status.addresses[?(@.type=='InternalIP')].address}";
    let internal = || kubectl.run(&["get", "node", NAME, "-o", internal]);
    ensure!(internal()? == own, "the Node says {}, it is {own}", internal()?);
    ensure!(unit()?.stdout.contains(&format!("--node-ip={own}")), "{}", unit()?.stdout);

    // The name now leads another way: the node stays where it is, though its daemon begins anew.
    let before = (unit()?.stdout, scenario.unit("kubelet.service", "MainPID")?);
    node.sh(ELSEWHERE, &[])?;
    node.exec(&["systemctl", "restart", "kn-agent"])?;
    let told = scenario.wait_message("host", "the one it has been")?;
    ensure!(told.contains(&own), "{told}");
    let now = (unit()?.stdout, scenario.unit("kubelet.service", "MainPID")?);
    ensure!(now == before, "{before:?}, then {now:?}");

    // The control: where it is told to be elsewhere it goes there, and back again.
    node.put(DROP_IN, "node: {address: 192.0.2.7}\n", 0o600)?;
    let is_given = |address: &str| {
        let word = format!("--node-ip={address}");
        wait_until(&format!("the kubelet to be given {address}"), JOIN, || {
            Ok(unit()?.stdout.contains(&word).then_some(()))
        })
    };
    is_given("192.0.2.7")?;
    node.exec(&["rm", DROP_IN])?;
    is_given(&own)
}
