//! Ports of a node that only some may reach, and rules for a port that the kubelet gave up.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::{Minor, say, wait_until};

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

/// Whether the kubelet answers one who comes from `address`, an address of the host's on the node's network.
fn answers(scenario: &Scenario, address: Ipv4Addr) -> Result<bool> {
    let url = format!("https://{}:10250/pods", scenario.node.address());
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
    let restrict = format!("firewall:\n  restrict:\n  - {{port: 10250, allow: [{allowed}/32]}}\n");
    scenario.node.put(DROP_IN, restrict, 0o600)?;
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

    // The control: without the setting the same connection is answered, and nothing of it is left.
    scenario.node.exec(&["rm", DROP_IN])?;
    wait_until("the unit to be gone", JOIN, || {
        Ok((scenario.unit(UNIT, "LoadState")? == "not-found").then_some(()))
    })
    .with_context(|| scenario.describe())?;
    scenario.wait_ready(JOIN)?;
    ensure!(answers(&scenario, other)?, "it is still closed");
    ensure!(!scenario.node.try_exec(&TABLE)?.status.success(), "the table is left");
    let left =
        scenario.node.sh("ls /etc/systemd/system /etc/systemd/system/*.wants /var/lib/kn-agent", &[])?;
    ensure!(left.contains("kubelet.service") && !left.contains("firewall"), "{left}");
    Ok(())
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
