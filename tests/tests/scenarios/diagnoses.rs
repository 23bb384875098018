//! Causes of a node that does not come up, made one after the other on one machine: each is told with its cause in words,
//! and the node recovers by itself once it is mended. `docs/diagnoses.md` names who shows the others.

use std::time::Duration;

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::{Minor, say, wait_until};

/// What gives no signal is looked for again after 5 s.
const SEEN: Duration = Duration::from_secs(30);

/// A kubelet that was restarted in vain is started again within 10 s.
const HEALED: Duration = Duration::from_mins(1);

/// The address that the second interface has, and the network it is in.
const SECOND: &str = "172.31.77.9";

/// Such a name as a machine's second interface may have, and docker's bridge with an address in the same network.
const INTERFACES: &str = "
ip link add lan0 type veth peer name lan1
ip address add $1/24 dev lan0
ip link set lan0 up
ip link set lan1 up
ip link add docker_gwbridge type bridge
ip address add 172.31.77.1/24 dev docker_gwbridge
ip link set docker_gwbridge up";

/// A drop-in of the operator's for the kubelet's unit; `$1` is a section's lines.
const UNIT_DROP_IN: &str = "
mkdir -p /etc/systemd/system/kubelet.service.d
printf '[Service]\\n%s\\n' \"$1\" > /etc/systemd/system/kubelet.service.d/90-scenario.conf
systemctl daemon-reload
systemctl --no-block restart kubelet";

/// The unit's own command with a flag more.
const FLAG_DROP_IN: &str = "
mkdir -p /etc/systemd/system/kubelet.service.d
{ echo '[Service]'; echo 'ExecStart='
  sed -n '/^ExecStart=/,/[^\\\\]$/p' /etc/systemd/system/kubelet.service | sed '$s/$/ --allow-privileged=true/'
} > /etc/systemd/system/kubelet.service.d/90-scenario.conf
systemctl daemon-reload
systemctl --no-block restart kubelet";

const NO_DROP_IN: &str = "
rm /etc/systemd/system/kubelet.service.d/90-scenario.conf
systemctl daemon-reload";

fn told(scenario: &Scenario, reason: &str, marks: &[&str]) -> Result<()> {
    say(format_args!("{reason}: {}", scenario.wait_trouble(reason, marks, SEEN)?));
    Ok(())
}

/// The line of `kn-agent check` on the node's address.
fn check_of_address(scenario: &Scenario) -> Result<String> {
    let output = scenario.node.try_exec(&["kn-agent", "check"])?;
    let line = output.stdout.lines().find(|line| line.split_whitespace().nth(1) == Some("address"));
    line.map(str::to_owned).with_context(|| format!("no check `address`: {output:?}"))
}

fn internal_address(scenario: &Scenario) -> Result<Option<String>> {
    let node = scenario.control_plane.kubectl()?.get(&["node", NODE])?;
    let addresses = node["status"]["addresses"].as_array().cloned().unwrap_or_default();
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP");
    Ok(internal.and_then(|address| address["address"].as_str()).map(str::to_owned))
}

/// The second of two interfaces is the one asked for; a bridge of docker's in the same network does not count.
fn a_network_chooses_the_second_interface(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    node.sh(INTERFACES, &[SECOND])?;
    node.put(DROP_IN, "node: {addressFrom: [192.168.254.0/24]}\n", 0o600)?;
    scenario.configure(&scenario.fresh_config()?)?;
    let first = format!("host0 {}", node.address());
    let second = format!("lan0 {SECOND}");
    told(scenario, "NodeAddress", &["no address is in 192.168.254.0/24", &first, &second])?;
    let line = check_of_address(scenario)?;
    ensure!(line.starts_with('✗') && line.contains(&second) && !line.contains("gwbridge"), "{line}");

    node.put(DROP_IN, "node: {addressFrom: [192.168.254.0/24, 172.31.77.0/24]}\n", 0o600)?;
    let status = scenario.wait_ready(JOIN)?["phases"].to_string();
    let from = format!("{SECOND} of lan0, in 172.31.77.0/24 (node.addressFrom)");
    ensure!(status.contains(&from), "{status}");
    ensure!(check_of_address(scenario)?.contains(&from), "{}", check_of_address(scenario)?);
    ensure!(internal_address(scenario)?.as_deref() == Some(SECOND), "{:?}", internal_address(scenario)?);
    Ok(())
}

/// The default follows when the filter goes, and an address that nobody has is told while the kubelet complains.
fn an_address_that_no_interface_has(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    node.exec(&["rm", DROP_IN])?;
    let own = node.address().to_string();
    wait_until("the Node to have the address of the route", HEALED, || {
        Ok((internal_address(scenario)?.as_deref() == Some(&own)).then_some(()))
    })
    .with_context(|| scenario.describe())?;
    ensure!(check_of_address(scenario)?.contains("from the route to the API server"));
    node.put(DROP_IN, "node: {address: 172.31.77.200}\n", 0o600)?;
    wait_until("the kubelet to complain of its address", HEALED, || {
        let log = node.exec(&["journalctl", "-u", "kubelet", "-o", "cat", "--no-pager"])?;
        Ok(log.contains("not found in the host's network interfaces").then_some(()))
    })?;
    let line = check_of_address(scenario)?;
    ensure!(line.starts_with('✗') && line.contains("no interface has 172.31.77.200"), "{line}");
    say(format_args!("{line}"));
    node.exec(&["rm", DROP_IN])?;
    scenario.wait_ready(HEALED).map(drop)
}

/// Settings of the kubelet's that it ends for.
fn settings_that_it_ends_for(scenario: &Scenario) -> Result<()> {
    let put = |fields: &str| scenario.node.put(DROP_IN, format!("kubelet: {{config: {fields}}}\n"), 0o600);
    // What it could not read at all is not written.
    put("{kubeReserved: {pid: 1000}}")?;
    told(scenario, "FieldRefused", &["kubelet.config.kubeReserved.pid: expected a text in quotes"])?;
    let causes = [
        ("{failCgroupV1: true}", "the machine has cgroup v1, and kubelet.config.failCgroupV1 forbids it"),
        ("{kubeReserved: {memory: 9000Gi}}", "more is reserved than this machine has"),
    ];
    for (settings, cause) in causes {
        if settings.contains("failCgroupV1") && lab::is_unified() {
            say(format_args!("not caused here, for want of cgroup v1: {cause}"));
            continue;
        }
        put(settings)?;
        told(scenario, "UnitCrashLoop", &["`kubelet.service`", cause])?;
        scenario.node.exec(&["rm", DROP_IN])?;
        scenario.wait_ready(HEALED)?;
    }
    Ok(())
}

/// Drop-ins of the operator's, which no check of ours reads.
fn drop_ins_that_it_ends_for(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    node.sh(UNIT_DROP_IN, &["WorkingDirectory=/nowhere"])?;
    told(
        scenario,
        "UnitCrashLoop",
        &["`kubelet.service`", "WorkingDirectory is not there", "systemctl cat"],
    )?;
    node.sh(NO_DROP_IN, &[])?;
    scenario.wait_ready(HEALED)?;
    node.sh(FLAG_DROP_IN, &[])?;
    told(
        scenario,
        "UnitCrashLoop",
        &["`kubelet.service`", "this version has no such flag", "--allow-privileged"],
    )?;
    node.sh(NO_DROP_IN, &[])?;
    scenario.wait_ready(HEALED).map(drop)
}

#[test]
fn what_ends_a_kubelet_is_told_in_words_and_the_node_recovers() -> Result<()> {
    let scenario = Scenario::start("diagnoses", Minor::V1_36)?;
    a_network_chooses_the_second_interface(&scenario)?;
    let daemon = scenario.incarnation()?;
    an_address_that_no_interface_has(&scenario)?;
    settings_that_it_ends_for(&scenario)?;
    drop_ins_that_it_ends_for(&scenario)?;
    ensure!(scenario.incarnation()? == daemon, "the daemon was restarted");
    Ok(())
}
