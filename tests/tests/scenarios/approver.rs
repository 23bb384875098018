//! The approver where it runs: as a unit of a machine, and out of its image.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::scenario::{JOIN, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::{Minor, Node, wait_until};

const UNIT: &str = "kn-agent-approver.service";
const INIT: &[&str] =
    &["kn-agent", "cluster", "init", "--approver", "unit", "--kubeconfig", "/root/admin.conf"];

/// A start of the unit takes a tenth of a second; on a busy machine a multiple.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn approver_runs_as_a_unit_of_systemd_257_and_out_of_its_image() -> Result<()> {
    let scenario = Scenario::start("approver", Minor::V1_36)?;
    runs_as_a_unit(&scenario)?;
    image_is_taken_by_docker_and_containerd(&scenario.node)
}

#[test]
fn approver_runs_as_a_unit_of_systemd_252() -> Result<()> {
    runs_as_a_unit(&Scenario::start("approver-unit", Minor::V1_20)?)
}

/// The machine stands for a control-plane host.
fn runs_as_a_unit(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    let admin = scenario.control_plane.kubectl()?.run(&["config", "view", "--raw", "--flatten"])?;
    node.put("/root/admin.conf", admin, 0o600)?;
    let condition = || scenario.unit(UNIT, "ActiveState");
    ensure!(condition()? == "inactive", "the package starts it");
    let first = node.exec(INIT)?;
    for said in [
        "File /etc/kn-agent/approver.kubeconfig: created",
        "Unit kn-agent-approver.service: changed (enabled, running)",
    ] {
        ensure!(first.contains(said), "`{said}` is not in\n{first}");
    }
    let mode = node.exec(&["stat", "-c", "%a %U", "/etc/kn-agent/approver.kubeconfig"])?;
    ensure!(mode.trim() == "600 root", "{mode}");
    // The word it says once it has seen every request: its credentials and rights are good, within its sandbox.
    let journal = || node.exec(&["journalctl", "-u", UNIT, "-o", "cat", "--no-pager"]);
    wait_until("the approver to be ready", SOON, || Ok(journal()?.contains("ready").then_some(())))
        .with_context(|| journal().unwrap_or_default())?;
    let user = node.exec(&["sh", "-c", &format!("ps -o user= -p $(systemctl show -P MainPID {UNIT})")])?;
    ensure!(!user.trim().is_empty() && user.trim() != "root", "it runs as `{user}`");
    let pid = scenario.unit(UNIT, "MainPID")?;
    let again = node.exec(INIT)?;
    let told = |line: &&str| !line.starts_with("next: ") && !line.starts_with("warning: ");
    let objects: Vec<&str> = again.lines().filter(told).collect();
    ensure!(objects.len() > 10 && objects.iter().all(|line| line.ends_with(": unchanged")), "{again}");
    ensure!(scenario.unit(UNIT, "MainPID")? == pid, "it was started anew for nothing");
    let security = node.exec(&["systemd-analyze", "security", "--no-pager", UNIT])?;
    let level = security.split("exposure level for").nth(1).and_then(|rest| rest.split(": ").nth(1));
    let level: f64 = level.and_then(|rest| rest.split(' ').next()).context("no level")?.parse()?;
    ensure!(level <= 2.0, "{security}");
    Ok(())
}

/// Builds the image and has the node's docker take it.
fn load_image(node: &Node) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let tar = directory.path().join("kn-agent.tar");
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/image/build");
    let program = std::env::var_os("KN_AGENT").context("$KN_AGENT is not set: run `make test`")?;
    let status = Command::new(build).arg(program).arg(&tar).arg("kn-agent:test").status()?;
    ensure!(status.success(), "{status}");
    node.put("/root/kn-agent.tar", std::fs::read(&tar)?, 0o644)?;
    node.exec(&["systemctl", "start", "docker"])?;
    node.exec(&["docker", "load", "--input", "/root/kn-agent.tar"]).map(drop)
}

fn image_is_taken_by_docker_and_containerd(node: &Node) -> Result<()> {
    load_image(node)?;
    let run = "docker run --rm --network host --read-only --cap-drop ALL --security-opt no-new-privileges";
    let version = node.sh(&format!("{run} kn-agent:test --version"), &[])?;
    ensure!(version.starts_with("kn-agent "), "{version}");
    // As in a pod, but with the administrator's credentials: it finds the API server and is let in.
    let mount = "--user 0 --volume /root/admin.conf:/admin.conf:ro kn-agent:test approver --once --kubeconfig /admin.conf";
    node.sh(&format!("{run} {mount}"), &[])?;
    node.exec(&["ctr", "--namespace", "k8s.io", "images", "import", "/root/kn-agent.tar"])?;
    let names = node.exec(&["ctr", "--namespace", "k8s.io", "images", "list", "--quiet"])?;
    ensure!(names.lines().any(|name| name == "docker.io/library/kn-agent:test"), "{names}");
    Ok(())
}

/// It can't approve the node that it is to run on: an administrator does, and then it does for all others.
#[test]
fn approver_runs_as_a_deployment_on_the_first_node_and_lets_the_second_in() -> Result<()> {
    const ACCOUNT: &str = r#""username":"system:serviceaccount:kn-agent:kn-agent-approver""#;
    let mut scenario = Scenario::start("approver-deployment", Minor::V1_36)?;
    scenario.stop_approver()?;
    load_image(&scenario.node)?;
    scenario.agent(&["cluster", "init", "--approver", "deployment", "--image", "kn-agent:test"])?;
    scenario.configure(&scenario.fresh_config()?)?;
    wait_until("the first node to be Ready", JOIN, || {
        // Its exit code says whether a request is left: one may come right after.
        scenario.agent_command(&["approver", "--once"])?.output()?;
        Ok(scenario.status()?.filter(|status| status["ready"] == true))
    })
    .with_context(|| scenario.describe())?;
    let kubectl = scenario.control_plane.kubectl()?;
    let describe = || kubectl.run(&["describe", "pods", "-n", "kn-agent"]).unwrap_or_default();
    wait_until("the approver's pod to be Ready", JOIN, || {
        let deployment = kubectl.get(&["deployment", "-n", "kn-agent", "kn-agent-approver"])?;
        Ok((deployment["status"]["readyReplicas"] == 1).then_some(()))
    })
    .with_context(describe)?;

    let approvals = || -> Result<usize> {
        let log = std::fs::read_to_string(scenario.control_plane.audit_log())?;
        let by_it = |line: &&str| line.contains(ACCOUNT) && line.contains("/approval");
        Ok(log.lines().filter(by_it).count())
    };
    let before = approvals()?;
    let second = scenario.join_another("worker-2")?;
    wait_until("the second node to be Ready", JOIN, || {
        Ok(kubectl.node_condition("worker-2", "Ready").ok().flatten().filter(|ready| ready == "True"))
    })
    .with_context(|| {
        let said = kubectl.run(&["logs", "-n", "kn-agent", "deployment/kn-agent-approver"]);
        let status = second.try_exec(&["kn-agent", "status"]);
        format!("{status:?}\n{}", said.unwrap_or_else(|error| error.to_string()))
    })?;
    wait_until("all of its certificates", JOIN, || {
        Ok(second.try_exec(&["kn-agent", "certs"])?.status.success().then_some(()))
    })?;
    ensure!(approvals()? >= before + 3, "{} approvals by the pod's account", approvals()?);
    let text = scenario.agent_command(&["cluster", "status"])?.output()?.stdout;
    lab::say(format_args!("{}", String::from_utf8_lossy(&text)));
    Ok(())
}
