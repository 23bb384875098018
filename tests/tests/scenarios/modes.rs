//! kube-proxy's modes: from one to another with Services that answer, nothing of the old one left, and what is missing
//! for one named while the old one goes on.

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::{Minor, wait_until};
use serde_json::Value;

/// Each chain of kube-proxy's for Services, and whether its own table of nftables is there.
const TABLES: &str = "
for tables in iptables-save ip6tables-save; do $tables 2>/dev/null | grep -o '^:KUBE-\\(SVC\\|SEP\\|SERVICES\\|NODEPORTS\\)[^ ]*' || true; done
nft list tables | grep -o 'table ip6* kube-proxy' || true";

/// kube-proxy's configuration.
const PROXY_CONFIG: &str = "/etc/kubernetes/kube-proxy.yaml";

fn tables(scenario: &Scenario) -> Result<String> {
    scenario.node.sh(TABLES, &[])
}

/// The pod's page, through its Service.
fn answers(scenario: &Scenario) -> Result<()> {
    let kubectl = scenario.control_plane.kubectl()?;
    let service = kubectl.get(&["service", "hello"])?;
    let url = format!("http://{}/", service["spec"]["clusterIP"].as_str().context("no address")?);
    wait_until("an answer through the Service", JOIN, || {
        let output = scenario.node.try_exec(&["curl", "--silent", "--fail", "--max-time", "2", &url])?;
        Ok(output.stdout.starts_with("hello from hello on").then_some(()))
    })
}

/// Sets a mode; waits until its rules are there and Services answer, with nothing left of the other mode and nothing to do.
fn change(scenario: &Scenario, mode: &str, rules: &str, others: &str) -> Result<()> {
    ensure!(tables(scenario)?.contains(others), "the control: the search does not find {others}");
    scenario.node.put(DROP_IN, format!("proxy: {{mode: {mode}}}\n"), 0o600)?;
    wait_until(&format!("rules of {mode} alone"), JOIN, || {
        let found = tables(scenario)?;
        Ok((found.contains(rules) && !found.contains(others)).then_some(()))
    })
    .with_context(|| format!("{}\n{}", tables(scenario).unwrap_or_default(), scenario.describe()))?;
    scenario.wait_ready(JOIN)?;
    answers(scenario)?;
    let config = scenario.node.exec(&["cat", PROXY_CONFIG])?;
    ensure!(config.contains(&format!("\nmode: {mode}\n")), "{config}");
    is_at_rest(scenario)
}

/// Nothing is to do, and nothing of the clean-up is left.
fn is_at_rest(scenario: &Scenario) -> Result<()> {
    lab::ensure_nothing_planned(&scenario.node)?;
    for path in ["/var/lib/kn-agent/proxy-left", "/etc/systemd/system/kn-agent-proxy-cleanup.service"] {
        ensure!(!scenario.node.try_exec(&["test", "-e", path])?.status.success(), "{path} is left");
    }
    Ok(())
}

/// A mode that lacks something is named by status and check, and kube-proxy goes on in the one it has.
fn is_refused(scenario: &Scenario, mode: &str, lacks: &str) -> Result<()> {
    let pid = scenario.unit("kube-proxy.service", "MainPID")?;
    let before = scenario.node.exec(&["cat", PROXY_CONFIG])?;
    scenario.node.put(DROP_IN, format!("proxy: {{mode: {mode}}}\n"), 0o600)?;
    lab::say(scenario.wait_trouble("ProxyModeUnsupported", &["check proxy-mode: ", lacks], JOIN)?);
    let phases = scenario.phases()?;
    let is_blocked = |phase: &Value| phase["reason"] == "ProxyModeUnsupported" && phase["state"] == "blocked";
    ensure!(phases.iter().any(is_blocked), "{phases:#?}");
    let check = scenario.node.try_exec(&["kn-agent", "check"])?;
    ensure!(check.status.code() == Some(4) && check.stdout.contains("✗ proxy-mode"), "{check:?}");
    ensure!(scenario.node.exec(&["cat", PROXY_CONFIG])? == before);
    ensure!(scenario.unit("kube-proxy.service", "MainPID")? == pid, "kube-proxy was restarted");
    answers(scenario)
}

#[test]
fn kubernetes_1_36_goes_from_iptables_to_nftables_and_back_and_not_to_ipvs_here() -> Result<()> {
    let scenario = Scenario::start("modes", Minor::V1_36)?;
    let node = &scenario.node;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    lab::prove_workload(&scenario.control_plane, node)?;
    lab::prove_reachable(&scenario.control_plane, node)?;
    let check = node.try_exec(&["kn-agent", "check"])?;
    ensure!(check.stdout.contains("✓ proxy-mode        iptables"), "{check:?}");
    ensure!(!tables(&scenario)?.contains("table ip kube-proxy"));

    is_refused(&scenario, "ipvs", "ipvs needs the program `ipset`")?;
    if has_ip_vs()? {
        lab::say("not refused here for want of ip_vs: this kernel has it; make test-machine changes to ipvs");
    } else {
        node.put("/usr/local/sbin/ipset", "#!/bin/sh\necho 'ipset v7.17, protocol version: 7'\n", 0o755)?;
        is_refused(&scenario, "ipvs", "ipvs needs the kernel's `ip_vs`")?;
    }

    change(&scenario, "nftables", "table ip kube-proxy", ":KUBE-SVC-")?;
    ensure!(!tables(&scenario)?.contains("KUBE-"), "{}", tables(&scenario)?);
    change(&scenario, "iptables", ":KUBE-SVC-", "table ip kube-proxy")?;

    node.exec(&["mv", "/usr/sbin/nft", "/root/nft"])?;
    is_refused(&scenario, "nftables", "nftables needs the program `nft`; install it (Debian: nftables)")?;
    node.exec(&["mv", "/root/nft", "/usr/sbin/nft"])?;
    node.exec(&["rm", DROP_IN])?;
    scenario.wait_ready(JOIN)?;
    cleans_up_after_ipvs(&scenario)
}

/// Whether this kernel has ip_vs, or a module of it.
fn has_ip_vs() -> Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let modules = std::path::Path::new("/lib/modules").join(release.trim());
    let named =
        |file| std::fs::read_to_string(modules.join(file)).is_ok_and(|text| text.contains("/ip_vs.ko"));
    let loaded = std::path::Path::new("/proc/net/ip_vs").exists();
    Ok(loaded || ["modules.dep", "modules.builtin"].into_iter().any(named))
}

/// kube-proxy's file says ipvs, as one that ran before did: the unit runs that has kube-proxy clean up, and the Services
/// work after it.
fn cleans_up_after_ipvs(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    let pid = scenario.unit("kube-proxy.service", "MainPID")?;
    node.exec(&["iptables", "-t", "nat", "-N", "KUBE-LOAD-BALANCER"])?;
    node.exec(&["sed", "-i", "s/^mode: .*/mode: \"ipvs\"/", PROXY_CONFIG])?;
    let log = || node.exec(&["journalctl", "-u", "kn-agent-proxy-cleanup", "-o", "cat", "--no-pager"]);
    wait_until("the clean-up", JOIN, || Ok(log()?.contains("Finished ").then_some(())))
        .with_context(|| scenario.describe())?;
    lab::say(log()?);
    scenario.wait_ready(JOIN)?;
    ensure!(scenario.unit("kube-proxy.service", "MainPID")? != pid, "kube-proxy was not restarted");
    answers(scenario)?;
    let kubectl = scenario.control_plane.kubectl()?;
    ensure!(kubectl.node_condition(NODE, "Ready")?.as_deref() == Some("True"));
    is_at_rest(scenario)
}

#[test]
fn kubernetes_1_20_takes_away_what_ipvs_left_before_it_goes_on_as_iptables() -> Result<()> {
    let scenario = Scenario::start("modes-old", Minor::V1_20)?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    lab::prove_workload(&scenario.control_plane, &scenario.node)?;
    cleans_up_after_ipvs(&scenario)?;
    let chains = scenario.node.exec(&["iptables-save", "-t", "nat"])?;
    // A chain that only ipvs makes, and that kube-proxy as iptables leaves alone: see the control in what it made itself.
    ensure!(chains.contains(":KUBE-SVC-") && !chains.contains("KUBE-LOAD-BALANCER"), "{chains}");
    Ok(())
}
