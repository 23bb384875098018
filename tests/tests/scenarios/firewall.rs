//! Ports of a node that only some may reach, and rules for a port that the kubelet gave up.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::{Minor, say, wait_until};
use serde_json::json;

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};

const UNIT: &str = "kn-agent-firewall.service";
const TABLE: [&str; 5] = ["nft", "list", "table", "inet", "kn-agent-firewall"];

/// As an old kubelet's unit left them after three starts, among rules that are somebody's.
const OLD_RULES: &str = "
for start in 1 2 3; do
  for network in 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16; do
    iptables -A INPUT -s $network -p tcp --dport 4194 -j ACCEPT
  done
  iptables -A INPUT -p tcp --dport 4194 -j DROP
done
iptables -A INPUT -s 10.7.0.0/16 -p tcp --dport 4194 -j ACCEPT
iptables -A INPUT -p udp --dport 4194 -j DROP
iptables -A INPUT -p tcp --sport 4194 -j ACCEPT
iptables -A INPUT -p tcp --dport 41940 -j DROP
iptables -N MINE && iptables -A MINE -p tcp --dport 4194 -j DROP";

/// A Service whose nodePort leads to the kubelet, by kube-proxy's rules.
const NODE_PORT: u16 = 31_250;

/// A unit between the network's first step and `sysinit.target`, where cloud-init and ifupdown have theirs.
const EARLY: &str = "[Unit]
DefaultDependencies=no
After=network-pre.target
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/true
RemainAfterExit=yes
[Install]
WantedBy=sysinit.target
";

/// Whether the kubelet answers one who comes from `address`, an address of the host's on the node's network, and asks at
/// `port`.
fn answers_at(scenario: &Scenario, address: Ipv4Addr, port: u16) -> Result<bool> {
    let url = format!("https://{}:{port}/pods", scenario.node.address());
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--insecure",
        "--max-time",
        "3",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]);
    let output = curl.args(["--interface", &address.to_string(), &url]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim() == "401")
}

fn answers(scenario: &Scenario, address: Ipv4Addr) -> Result<bool> {
    answers_at(scenario, address, 10_250)
}

/// Another address of the host's: whoever is not named.
fn other(scenario: &Scenario) -> Result<Ipv4Addr> {
    let [a, b, c, _] = scenario.control_plane.run().host_address().octets();
    let other = Ipv4Addr::new(a, b, c, 200);
    let bridge = scenario.control_plane.run().bridge();
    let added =
        Command::new("ip").args(["address", "add", &format!("{other}/24"), "dev", &bridge]).status()?;
    ensure!(added.success(), "cannot add {other}");
    Ok(other)
}

fn rules(scenario: &Scenario) -> Result<Vec<String>> {
    let rules = scenario.node.exec(&["iptables", "-S"])?;
    Ok(rules.lines().filter(|rule| rule.contains("4194")).map(str::to_owned).collect())
}

#[test]
fn a_restricted_port_is_open_to_those_who_are_named_and_to_all_when_nothing_is_restricted() -> Result<()> {
    let scenario = Scenario::start("firewall", Minor::V1_36)?;
    let (allowed, other) = (scenario.control_plane.run().host_address(), other(&scenario)?);
    let restrict = |port| format!("firewall:\n  restrict:\n  - {{port: {port}, allow: [{allowed}/32]}}\n");
    scenario.node.put(DROP_IN, restrict(10_250), 0o600)?;
    scenario.configure(&scenario.fresh_config()?)?;
    let status = scenario.wait_ready(JOIN)?;
    let done = |what: &str| -> Result<i64> {
        let timeline = status["timeline"].as_array().context("no timeline")?;
        let entry = timeline.iter().find(|entry| entry["what"] == what).with_context(|| what.to_owned())?;
        entry["fromMs"].as_i64().with_context(|| entry.to_string())
    };
    ensure!(done("start kn-agent-firewall.service")? < done("start kubelet.service")?);
    scenario.wait_message("upkeep", "turns strangers away")?;
    say(format_args!("{}", scenario.node.exec(&TABLE)?));
    ensure!(answers(&scenario, allowed)?, "who is named is turned away");
    ensure!(!answers(&scenario, other)?, "who is not named is let in");
    ensure!(scenario.unit(UNIT, "UnitFileState")? == "enabled", "{}", scenario.unit(UNIT, "UnitFileState")?);

    // The same after two restarts: one table, each rule once.
    let counters = |table: String| {
        table.split_whitespace().filter(|word| word.parse::<u64>().is_err()).collect::<Vec<_>>().join(" ")
    };
    let before = counters(scenario.node.exec(&TABLE)?);
    scenario.node.exec(&["systemctl", "restart", UNIT])?;
    scenario.node.exec(&["systemctl", "restart", UNIT])?;
    ensure!(counters(scenario.node.exec(&TABLE)?) == before, "{}", scenario.node.exec(&TABLE)?);
    ensure!(!answers(&scenario, other)?, "who is not named is let in after restarts");
    let kubectl = scenario.control_plane.kubectl()?;
    kubectl.run(&["get", "--raw", &format!("/api/v1/nodes/{NODE}/proxy/healthz")])?;

    let address = scenario.node.address();
    kubectl.apply(&service(address))?;
    wait_until("kube-proxy to lead the nodePort to the kubelet", JOIN, || {
        Ok(answers_at(&scenario, allowed, NODE_PORT)?.then_some(()))
    })?;
    ensure!(!answers_at(&scenario, other, NODE_PORT)?, "a nodePort leads to the port that is closed");

    // The other way round: the port that is asked for is closed, the one it leads to is not.
    scenario.node.put(DROP_IN, restrict(NODE_PORT), 0o600)?;
    wait_until("the kubelet's own port to be open", JOIN, || Ok(answers(&scenario, other)?.then_some(())))?;
    ensure!(!answers_at(&scenario, other, NODE_PORT)?, "a nodePort that is closed lets in who is not named");
    ensure!(answers_at(&scenario, allowed, NODE_PORT)?, "a nodePort that is closed turns away who is named");

    // The control: without the setting the same connections are answered, and nothing of it is left.
    scenario.node.exec(&["rm", DROP_IN])?;
    wait_until("the unit to be gone", JOIN, || {
        Ok((scenario.unit(UNIT, "LoadState")? == "not-found").then_some(()))
    })
    .with_context(|| scenario.describe())?;
    scenario.wait_ready(JOIN)?;
    ensure!(answers(&scenario, other)?, "it is still closed");
    ensure!(answers_at(&scenario, other, NODE_PORT)?, "the nodePort is still closed");
    ensure!(!scenario.node.try_exec(&TABLE)?.status.success(), "the table is left");
    let left =
        scenario.node.sh("ls /etc/systemd/system /etc/systemd/system/*.wants /var/lib/kn-agent", &[])?;
    ensure!(left.contains("kubelet.service") && !left.contains("firewall"), "{left}");

    scenario.node.put(DROP_IN, restrict(10_250), 0o600)?;
    wait_until("the port to be closed again", JOIN, || Ok((!answers(&scenario, other)?).then_some(())))?;
    a_purged_agent_leaves_the_ports_closed(&scenario, allowed, other)
}

/// The node may go on without its agent, and then nobody is to notice at the next boot that a port is open.
fn a_purged_agent_leaves_the_ports_closed(
    scenario: &Scenario,
    allowed: Ipv4Addr,
    other: Ipv4Addr,
) -> Result<()> {
    scenario.node.exec(&["dpkg", "--purge", "kn-agent"])?;
    let left = scenario.node.exec(&["find", "/var/lib/kn-agent", "-type", "f"])?;
    ensure!(left.trim() == "/var/lib/kn-agent/firewall.nft", "{left}");
    scenario.node.exec(&["systemctl", "stop", UNIT])?;
    ensure!(answers(scenario, other)?, "the control: without its unit it is open");
    scenario.node.exec(&["systemctl", "start", UNIT])?;
    ensure!(answers(scenario, allowed)? && !answers(scenario, other)?, "the unit does not close it");
    Ok(())
}

/// A Service without pods: its one endpoint is the kubelet of the node at `address`.
fn service(address: Ipv4Addr) -> String {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubelet", "namespace": "default"},
        "spec": {"type": "NodePort", "ports": [{"port": 443, "targetPort": 10250, "nodePort": NODE_PORT}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "kubelet-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubelet"},
        },
        "ports": [{"port": 10250, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]}).to_string()
}

#[test]
fn a_restricted_port_stays_closed_when_the_hosts_own_firewall_starts_anew_and_from_the_first_moment_of_a_boot()
-> Result<()> {
    let mut scenario = Scenario::start("firewall-boot", Minor::V1_36)?;
    let restrict = "firewall:\n  restrict:\n  - {port: 10250, allow: [192.0.2.0/24]}\n";
    scenario.node.put(DROP_IN, restrict, 0o600)?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    let is_there =
        |scenario: &Scenario| -> Result<bool> { Ok(scenario.node.try_exec(&TABLE)?.status.success()) };
    ensure!(is_there(&scenario)?, "no table");

    // Debian's own unit takes every table away each time, as this does: the control.
    scenario.node.exec(&["nft", "flush", "ruleset"])?;
    ensure!(!is_there(&scenario)?, "a table that was taken away is there");
    // The daemon sees a first start, and the end; of the others systemd tells our unit.
    for verb in ["start", "reload", "restart", "stop"] {
        scenario.node.exec(&["systemctl", verb, "nftables.service"])?;
        wait_until(&format!("the table after: systemctl {verb} nftables.service"), JOIN, || {
            Ok(is_there(&scenario)?.then_some(()))
        })?;
    }

    scenario.node.put("/etc/systemd/system/early.service", EARLY, 0o644)?;
    scenario.node.exec(&["systemctl", "enable", "--quiet", "early.service", "nftables.service"])?;
    scenario.node.reboot()?;
    scenario.wait_ready(JOIN)?;
    ensure!(is_there(&scenario)?, "no table after a boot");
    // At that time of a boot systemd speaks to the console.
    let console = |scenario: &Scenario| -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(scenario.node.console_log())?).to_lowercase())
    };
    ensure!(!console(&scenario)?.contains("ordering cycle"), "{}", console(&scenario)?);
    let at = |unit: &str, property: &str| -> Result<u64> { Ok(scenario.unit(unit, property)?.parse()?) };
    let loaded = at(UNIT, "ActiveEnterTimestampMonotonic")?;
    ensure!(loaded > 0 && loaded <= at("early.service", "InactiveExitTimestampMonotonic")?, "{loaded}");

    // The control: with the dependencies that a service has by default there is one, and systemd says so.
    let default = "[Unit]\nDefaultDependencies=yes\n";
    scenario.node.put(&format!("/etc/systemd/system/{UNIT}.d/default.conf"), default, 0o644)?;
    scenario.node.reboot()?;
    wait_until("systemd to speak of the cycle", JOIN, || {
        Ok(console(&scenario)?.contains("ordering cycle").then_some(()))
    })
    .with_context(|| console(&scenario).unwrap_or_default())
}

#[test]
fn rules_for_port_4194_go_and_those_of_others_stay() -> Result<()> {
    let scenario = Scenario::start("port-4194", Minor::V1_36)?;
    scenario.node.sh(OLD_RULES, &[])?;
    let before = rules(&scenario)?;
    ensure!(before.len() == 17, "{before:?}");
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    scenario.wait_satisfied("upkeep", JOIN)?;
    let after = rules(&scenario)?;
    say(format_args!("{}", after.join("\n")));
    // The four forms, three times each, are the first twelve.
    let of_others: Vec<String> = before
        .into_iter()
        .filter(|rule| {
            let is_old = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
                .iter()
                .any(|network| rule.contains(network));
            !is_old && rule != "-A INPUT -p tcp -m tcp --dport 4194 -j DROP"
        })
        .collect();
    ensure!(of_others.len() == 5 && after == of_others, "{after:?}");
    let log = scenario.node.exec(&["journalctl", "-u", "kn-agent-port-4194", "-o", "cat", "--no-pager"])?;
    ensure!(log.matches("removed: INPUT").count() == 12, "{log}");
    Ok(())
}
