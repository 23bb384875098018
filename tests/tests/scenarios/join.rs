//! From "package installed" to Ready on real parts, and what must hold on the way and after.

use crate::scenario::{JOIN, NODE, Scenario, early, labels};
use anyhow::{Result, ensure};
use lab::Minor;

/// What a machine holds of ours before it is configured: nothing.
const OURS: &[&str] = &[
    "/etc/systemd/system/kubelet.service",
    "/etc/systemd/system/kube-proxy.service",
    "/etc/systemd/system/cri-docker.service",
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/etc/cni/net.d/10-kn-agent-bridge.conflist",
    "/etc/sysctl.d/95-kn-agent.conf",
];

fn present(scenario: &Scenario) -> Vec<&'static str> {
    let is_there =
        |path: &&&str| scenario.node.try_exec(&["test", "-e", path]).is_ok_and(|o| o.status.success());
    OURS.iter().filter(is_there).copied().collect()
}

#[test]
fn a_fresh_machine_becomes_a_ready_node_and_stays_untouched_after() -> Result<()> {
    let scenario = Scenario::start("join", Minor::V1_36)?;
    let node = &scenario.node;
    ensure!(present(&scenario).is_empty(), "not fresh: {:?}", present(&scenario));
    ensure!(scenario.unit("docker.service", "ActiveState")? != "active");
    let status = node.try_exec(&["kn-agent", "status"])?;
    ensure!(status.status.code() == Some(2) && status.stderr.contains("not configured"), "{status:?}");
    ensure!(scenario.unit("kn-agent.service", "ActiveState")? == "inactive");
    ensure!(scenario.unit("kn-agent.path", "ActiveState")? == "active");

    early::make(&scenario, NODE)?;
    scenario.configure(&scenario.fresh_config()?)?;
    let status = scenario.wait_ready(JOIN)?;
    early::run(&scenario, NODE)?;
    let outside = scenario.control_plane.kubectl()?.node_condition(NODE, "Ready")?;
    ensure!(outside.as_deref() == Some("True"), "from outside: {outside:?}");
    // The control of the first check: the same search finds all of it now.
    ensure!(present(&scenario).len() == OURS.len(), "only {:?}", present(&scenario));
    ensure!(
        status["timeline"].as_array().is_some_and(|t| t.iter().any(|d| d["what"] == "start kubelet.service"))
    );

    labels::are_judged_alike(&scenario.control_plane)?;
    files_have_their_modes(&scenario)?;
    lab::prove_logs(node)?;
    few_and_scoped_requests(&scenario)?;
    csi_node_is_made_with_the_node(&scenario, NODE)?;
    the_unit_is_the_one_that_ships(&scenario)?;
    the_daemon_is_small_and_boxed_in(&scenario)?;
    a_second_run_changes_nothing(&scenario, &["docker", "cri-docker", "kubelet", "kube-proxy"])
}

fn files_have_their_modes(scenario: &Scenario) -> Result<()> {
    for (path, mode) in [
        ("/etc/kubernetes/pki/ca.crt", "644"),
        ("/etc/kubernetes/kubelet.kubeconfig", "600"),
        ("/etc/kubernetes/kube-proxy.kubeconfig", "600"),
        ("/etc/kubernetes/kubelet.yaml", "600"),
        ("/etc/systemd/system/kubelet.service", "600"),
        ("/var/lib/kube-proxy/pki/kube-proxy-client.pem", "600"),
        ("/var/lib/kn-agent", "700"),
        ("/run/kn-agent/status.json", "644"),
    ] {
        let found = scenario.node.exec(&["stat", "-L", "-c", "%a", path])?;
        ensure!(found.trim() == mode, "{path} has mode {}, expected {mode}", found.trim());
    }
    let link = scenario.node.exec(&["readlink", "/var/lib/kubelet/pki/kubelet-client-current.pem"])?;
    ensure!(link.starts_with("kubelet-client-"), "{link}");
    let left = scenario.node.exec(&[
        "find",
        "/etc",
        "/var/lib/kubelet/pki",
        "/var/lib/kn-agent",
        "/run/kn-agent",
        "-name",
        "*.kn-agent-new",
    ])?;
    ensure!(left.is_empty(), "temporary files are left: {left}");
    Ok(())
}

fn the_unit_is_the_one_that_ships(scenario: &Scenario) -> Result<()> {
    let shown = |property: &str| scenario.unit("kn-agent.service", property);
    let path = shown("FragmentPath")?;
    let found = scenario.node.exec(&["cat", &path])?;
    ensure!(found == include_str!("../../../systemd/kn-agent.service"), "{path} is another:\n{found}");
    ensure!(shown("DropInPaths")?.is_empty(), "{}", shown("DropInPaths")?);
    ensure!(shown("StatusText")?.starts_with("Ready"), "STATUS= says `{}`", shown("StatusText")?);
    Ok(())
}

fn few_and_scoped_requests(scenario: &Scenario) -> Result<()> {
    let requests = scenario.requests_of_agent()?;
    ensure!(requests.len() <= 15, "{} requests: {requests:#?}", requests.len());
    let is_scoped = |(_, verb, uri): &(String, String, String)| {
        !matches!(verb.as_str(), "list" | "watch") || uri.contains("fieldSelector=metadata.name")
    };
    let unscoped = requests.iter().find(|request| !is_scoped(request));
    ensure!(unscoped.is_none(), "{unscoped:?} is not scoped to one object");
    let kubectl = scenario.control_plane.kubectl()?;
    let names = kubectl.run(&["get", "csr", "-o", "name"])?;
    // The control: kubectl asked for all of them.
    let kubectls = scenario.requests(|agent, _| agent.starts_with("kubectl"))?;
    ensure!(!kubectls.iter().all(is_scoped), "the audit log shows no LIST: the search is wrong");
    for purpose in ["kn-kubelet-", "kn-proxy-"] {
        let count = names.lines().filter(|name| name.contains(purpose)).count();
        ensure!(count == 1, "{count} requests {purpose}: {names}");
    }
    Ok(())
}

/// By the agent, and the Node's: a kubelet that has to make it may take ten seconds more.
fn csi_node_is_made_with_the_node(scenario: &Scenario, name: &str) -> Result<()> {
    let kubectl = scenario.control_plane.kubectl()?;
    let node = kubectl.get(&["node", name])?;
    let owners = &kubectl.get(&["csinode", name])?["metadata"]["ownerReferences"];
    ensure!(owners[0]["uid"] == node["metadata"]["uid"] && owners[0]["uid"].is_string(), "{owners}");
    let verbs = |program: &str| -> Result<Vec<String>> {
        let requests = scenario.requests(|agent, _| agent.starts_with(program))?;
        let about = requests.into_iter().filter(|(_, _, uri)| uri.contains("/csinodes"));
        Ok(about.map(|(_, verb, _)| verb).collect())
    };
    let (ours, kubelets) = (verbs("kn-agent/")?, verbs("kubelet/")?);
    ensure!(ours == ["create"], "the agent's requests for it: {ours:?}");
    // The control: the same search finds that the kubelet looked, and had nothing to make.
    let get = |verb: &String| verb == "get";
    ensure!(kubelets.iter().any(get), "the kubelet's requests for it: {kubelets:?}");
    ensure!(!kubelets.contains(&"create".to_owned()), "the kubelet's requests for it: {kubelets:?}");
    Ok(())
}

fn the_daemon_is_small_and_boxed_in(scenario: &Scenario) -> Result<()> {
    let pid = scenario.unit("kn-agent.service", "MainPID")?;
    let status = scenario.node.exec(&["cat", &format!("/proc/{pid}/status")])?;
    let field =
        |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let rss: u32 = field("VmRSS:").trim_end_matches(" kB").parse()?;
    ensure!(rss <= 15 * 1024, "{rss} KiB resident");
    ensure!(field("CapBnd:").trim_start_matches('0').is_empty(), "capabilities: {}", field("CapBnd:"));
    let score = scenario.node.try_exec(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=20",
        "kn-agent.service",
    ])?;
    ensure!(score.status.success(), "{}", score.stdout.lines().last().unwrap_or_default());
    // The control: a unit without a sandbox does not pass.
    let control = scenario.node.try_exec(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=20",
        "kubelet.service",
    ])?;
    ensure!(!control.status.success(), "the threshold refuses nothing");
    Ok(())
}

fn a_second_run_changes_nothing(scenario: &Scenario, units: &[&str]) -> Result<()> {
    // Of the kubelet's directory what the agent writes there; the rest changes by itself.
    const SNAPSHOT: &str = "find /etc /var/lib/kn-agent /var/lib/kube-proxy \
        /var/lib/kubelet/pki/kubelet-client* \
        '(' -type f -o -type l ')' -printf '%p %T@ %i %l\\n' | sort";
    let before = scenario.node.sh(SNAPSHOT, &[])?;
    let started = |unit: &str| scenario.unit(&format!("{unit}.service"), "ActiveEnterTimestampMonotonic");
    let kubelet = started("kubelet")?;
    let times: Vec<String> = units.iter().map(|unit| started(unit)).collect::<Result<_>>()?;
    lab::ensure_nothing_planned(&scenario.node)?;
    scenario.node.exec(&["systemctl", "restart", "kn-agent"])?;
    scenario.wait_ready(JOIN)?;
    ensure!(scenario.node.sh(SNAPSHOT, &[])? == before, "files were written");
    let after: Vec<String> = units.iter().map(|unit| started(unit)).collect::<Result<_>>()?;
    ensure!(after == times, "units were started anew: {times:?} {after:?}");
    // The control: what an operator breaks is seen by the same search, and put right.
    scenario.node.sh("echo broken >> /etc/kubernetes/kubelet.yaml", &[])?;
    ensure!(scenario.node.sh(SNAPSHOT, &[])? != before, "the snapshot sees nothing");
    lab::wait_until("the file to be put right", JOIN, || {
        Ok((!scenario.node.exec(&["cat", "/etc/kubernetes/kubelet.yaml"])?.contains("broken")).then_some(()))
    })?;
    lab::wait_until("the kubelet's restart", JOIN, || {
        Ok((started("kubelet")? != kubelet && scenario.unit("kubelet.service", "ActiveState")? == "active")
            .then_some(()))
    })?;
    scenario.wait_ready(JOIN).map(drop)
}

#[test]
fn kubernetes_1_20_joins_through_dockershim_under_the_name_of_its_address() -> Result<()> {
    let scenario = Scenario::start("dockershim", Minor::V1_20)?;
    labels::are_judged_alike(&scenario.control_plane)?;
    let name = scenario.node.address().to_string();
    early::make(&scenario, &name)?;
    scenario.configure(&scenario.fresh_config_of(&name)?)?;
    let status = scenario.wait_ready(JOIN)?;
    early::run(&scenario, &name)?;
    ensure!(status["node"] == name.as_str(), "{}", status["node"]);
    let kubectl = scenario.control_plane.kubectl()?;
    ensure!(kubectl.node_condition(&name, "Ready")?.as_deref() == Some("True"));
    let runtime =
        kubectl.run(&["get", "node", &name, "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}"])?;
    ensure!(runtime.starts_with("docker://20."), "{runtime}");
    let unit = scenario.node.exec(&["cat", "/etc/systemd/system/kubelet.service"])?;
    ensure!(unit.contains("--network-plugin=cni") && unit.contains("AWS_EC2_METADATA_DISABLED"), "{unit}");
    // Both programs go by the one name.
    ensure!(unit.contains(&format!("--hostname-override={name}")));
    let proxy = scenario.node.exec(&["cat", "/etc/kubernetes/kube-proxy.yaml"])?.replace('"', "");
    ensure!(proxy.contains(&format!("hostnameOverride: {name}")), "{proxy}");
    few_and_scoped_requests(&scenario)?;
    the_unit_is_the_one_that_ships(&scenario)?;
    the_daemon_is_small_and_boxed_in(&scenario)?;
    lab::prove_logs(&scenario.node)?;
    scenario.wait_message("upkeep", "turns strangers away")?;
    csi_node_is_made_with_the_node(&scenario, &name)?;
    a_second_run_changes_nothing(&scenario, &["docker", "kubelet", "kube-proxy"])
}
