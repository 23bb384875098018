//! The command line on a real node: what it says would happen is what happens.

use std::time::Duration;

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::{Minor, wait_until};
use serde_json::Value;

/// A restart of the kubelet takes about two seconds.
const RESTART: Duration = Duration::from_secs(30);

/// Two changes: one for the kubelet, and one for docker, which is not restarted on a node.
const CHANGES: &str =
    "kubelet: {config: {maxPods: 50}}\nruntime: {daemonJson: {log-opts: {max-size: 10m}}}\n";

#[test]
fn plan_says_what_then_happens_and_the_documents_have_their_schemas() -> Result<()> {
    let scenario = Scenario::start("cli", Minor::V1_36)?;
    the_printed_line_joins(&scenario)?;
    let settled = || Ok(plan(&scenario)?.starts_with("nothing to do\n").then_some(()));
    wait_until("a plan with nothing to do", JOIN, settled).with_context(|| scenario.describe())?;

    documents_have_their_schemas(&scenario)?;
    a_wrong_configuration_has_its_code(&scenario)?;
    another_version_is_looked_at_ahead(&scenario)?;
    the_way_to_ready_is_drawn(&scenario)?;
    a_plan_is_a_diff_and_its_consequence(&scenario)?;
    what_happens_is_told_as_it_does(&scenario)?;
    status_works_without_the_daemon(&scenario)
}

/// Pasted into root's shell, as a person does.
fn the_printed_line_joins(scenario: &Scenario) -> Result<()> {
    scenario.configure_lab()?;
    let line = scenario.agent(&["token", "create", "--node", NODE, "--print", "shell"])?;
    let told = scenario.node.sh(&line, &[]).with_context(|| scenario.describe())?;
    ensure!(told.contains("worker-1 · Ready"), "{told}");
    let mode = scenario.node.exec(&["stat", "-c", "%a", "/etc/kn-agent/config.yaml"])?;
    ensure!(mode.trim() == "600", "the configuration has mode {mode}");
    scenario.wait_ready(JOIN).map(drop)
}

/// By `status --watch` and `logs -f`, until they are interrupted.
fn what_happens_is_told_as_it_does(scenario: &Scenario) -> Result<()> {
    const FOLLOW: &str = "
kn-agent status --watch > /run/watched 2>&1 & echo $!
kn-agent logs -f > /run/followed 2>&1 & echo $!";
    let node = &scenario.node;
    let told =
        |file: &str, text: &str| -> Result<usize> { Ok(node.exec(&["cat", file])?.matches(text).count()) };
    scenario.wait_ready(JOIN)?;
    let followers = node.sh(FOLLOW, &[])?;
    let begun =
        || Ok((told("/run/watched", "Ready")? > 0 && told("/run/followed", "Ready")? > 0).then_some(()));
    wait_until("both to tell what was", JOIN, begun)?;
    // What is over between two looks of the watch it does not tell; that the unit is not up it does.
    let (unit, begins) = ("kube-proxy.service", "start kube-proxy.service");
    let ready = told("/run/watched", "worker-1 · Ready")?;
    let (watched, followed) = (told("/run/watched", unit)?, told("/run/followed", begins)?);
    ensure!(watched == 0, "kube-proxy is started on a node that is Ready");
    node.exec(&["systemctl", "stop", "kube-proxy.service"])?;
    let news = || {
        let again = told("/run/watched", "worker-1 · Ready")? > ready;
        Ok((again && told("/run/watched", unit)? > 0 && told("/run/followed", begins)? > followed)
            .then_some(()))
    };
    wait_until("both to tell of kube-proxy", JOIN, news)
        .with_context(|| node.exec(&["tail", "/run/watched", "/run/followed"]).unwrap_or_default())?;
    for follower in followers.lines() {
        node.exec(&["kill", follower]).with_context(|| format!("{follower} did not go on"))?;
    }
    node.exec(&["rm", "/run/watched", "/run/followed"]).map(drop)
}

/// It looks itself, says so, and says how old is what the daemon said.
fn status_works_without_the_daemon(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    scenario.wait_ready(JOIN)?;
    // The agent first: one that lives sees kube-proxy stop, and says so.
    node.exec(&["systemctl", "stop", "kn-agent.path", "kn-agent.service"])?;
    node.exec(&["systemctl", "stop", "kube-proxy.service"])?;
    let status = node.try_exec(&["kn-agent", "status"])?;
    ensure!(status.status.code() == Some(5), "{status:?}");
    ensure!(status.stderr.contains("the daemon is not running; it last said"), "{}", status.stderr);
    ensure!(status.stderr.contains("s ago: Ready"), "{}", status.stderr);
    // What the daemon said is old: kube-proxy has stopped since.
    ensure!(status.stdout.contains("start kube-proxy.service"), "{}", status.stdout);
    let waited = node.try_exec(&["kn-agent", "status", "--wait", "--timeout", "1s"])?;
    ensure!(waited.status.code() == Some(5), "{waited:?}");
    node.exec(&["systemctl", "start", "kn-agent.path", "kn-agent.service"])?;
    scenario.wait_ready(JOIN).map(drop)
}

fn plan(scenario: &Scenario) -> Result<String> {
    scenario.node.exec(&["kn-agent", "plan"])
}

fn documents_have_their_schemas(scenario: &Scenario) -> Result<()> {
    for command in ["status", "plan", "check", "timeline"] {
        let text = scenario.node.exec(&["kn-agent", command, "-o", "json"])?;
        let document: Value = serde_json::from_str(&text)?;
        ensure!(document["schema"] == format!("kn-agent.io/{command}/v1"), "{command}: {text}");
    }
    for command in ["status", "plan", "check"] {
        let text = scenario.node.exec(&["kn-agent", command, "-o", "yaml"])?;
        ensure!(text.contains(&format!("schema: kn-agent.io/{command}/v1\n")), "{command}: {text}");
    }
    let late = scenario.node.try_exec(&["kn-agent", "status", "--wait", "--timeout", "1s"])?;
    ensure!(late.status.success(), "a node that is Ready is waited for: {late:?}");
    Ok(())
}

/// A wrong file's code is 2, a right one's 0.
fn a_wrong_configuration_has_its_code(scenario: &Scenario) -> Result<()> {
    const FILE: &str = "/root/asked/config.yaml";
    let node = &scenario.node;
    let text = String::from_utf8(node.get("/etc/kn-agent/config.yaml")?)?;
    let validate = |text: &str| {
        node.put(FILE, text, 0o600)?;
        node.try_exec(&["kn-agent", "config", "validate", FILE])
    };
    let wrong = validate(&format!("{text}\nkubelett: {{}}\n"))?;
    ensure!(wrong.status.code() == Some(2) && wrong.stdout.is_empty(), "{wrong:?}");
    ensure!(wrong.stderr.contains(FILE) && wrong.stderr.contains("did you mean `kubelet`"), "{wrong:?}");
    let right = validate(&text)?;
    ensure!(right.status.code() == Some(0) && right.stdout.starts_with("valid\n"), "{right:?}");
    node.exec(&["rm", "-r", "/root/asked"]).map(drop)
}

fn another_version_is_looked_at_ahead(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    let fits = node.try_exec(&["kn-agent", "check", "--for", "1.36"])?;
    ensure!(
        fits.status.code() == Some(0) && fits.stdout.contains("have cri-dockerd on the node"),
        "{fits:?}"
    );
    let old = node.try_exec(&["kn-agent", "check", "--for", "1.19"])?;
    ensure!(old.status.code() == Some(2) && old.stderr.contains("1.20 to 1.36"), "{old:?}");
    // A file beside the daemon's: it would act on its own.
    let text = node.exec(&["cat", "/etc/kn-agent/config.yaml"])?
        + "\nkubelet: {extraArgs: {port: '10250', docker: /x}}\n";
    node.put("/root/ahead/config.yaml", text, 0o600)?;
    let gone =
        node.try_exec(&["kn-agent", "--config", "/root/ahead/config.yaml", "check", "--for", "1.36"])?;
    ensure!(gone.status.code() == Some(4), "{gone:?}");
    ensure!(gone.stdout.contains("kubelet.extraArgs.docker: is gone since 1.24"), "{gone:?}");
    Ok(())
}

fn the_way_to_ready_is_drawn(scenario: &Scenario) -> Result<()> {
    let svg = scenario.node.exec(&["kn-agent", "timeline", "-o", "svg"])?;
    let drawn = svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>");
    ensure!(drawn && svg.contains("start kubelet.service") && svg.contains(">Ready "), "{svg}");
    Ok(())
}

/// The daemon is stopped meanwhile: it would act at once.
fn a_plan_is_a_diff_and_its_consequence(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    node.exec(&["systemctl", "stop", "kn-agent.path", "kn-agent.service"])?;
    let before = pids(scenario)?;
    node.put(DROP_IN, CHANGES, 0o600)?;
    let text = plan(scenario)?;
    for said in [
        "\n    +maxPods: 50\n",
        "\nrestarts       kubelet.service: pods keep running",
        "docker reads it when it starts next",
        "max-size",
    ] {
        ensure!(text.contains(said), "`{said}` is not in\n{text}");
    }
    let restarts = text.lines().filter(|line| line.starts_with("restarts ")).count();
    ensure!(restarts == 1, "{restarts} units would restart:\n{text}");
    ensure!(pids(scenario)? == before, "a plan restarted something");
    let kubelet = String::from_utf8(node.get("/etc/kubernetes/kubelet.yaml")?)?;
    ensure!(!kubelet.contains("maxPods"), "a plan wrote a file:\n{kubelet}");

    node.exec(&["systemctl", "start", "kn-agent.path", "kn-agent.service"])?;
    let [kubelet, others @ ..] = before;
    let restarted = || Ok(Some(pids(scenario)?).filter(|now| now[0] != kubelet && now[0] != "0"));
    let now =
        wait_until("the kubelet to restart", RESTART, restarted).with_context(|| scenario.describe())?;
    scenario.wait_ready(JOIN)?;
    ensure!(now[1..] == others, "others restarted too: {now:?}, before {others:?}");
    let kubelet = String::from_utf8(node.get("/etc/kubernetes/kubelet.yaml")?)?;
    ensure!(kubelet.contains("maxPods: 50"), "{kubelet}");
    Ok(())
}

/// Main processes: the kubelet's first.
fn pids(scenario: &Scenario) -> Result<[String; 4]> {
    let pid = |unit: &str| scenario.unit(unit, "MainPID");
    Ok([
        pid("kubelet.service")?,
        pid("kube-proxy.service")?,
        pid("docker.service")?,
        pid("cri-docker.service")?,
    ])
}
