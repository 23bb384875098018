//! A machine that can't be a node as it is: `check` and `status` name the trouble, and nothing is changed on it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::scenario::{DROP_IN, JOIN, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::{Minor, wait_until};
use serde_json::Value;

const SEEN: Duration = Duration::from_secs(10);

/// Everything in the directories a join writes to, but the configuration, which is the scenario's own.
const SNAPSHOT: &str = "
for directory in /etc /var/lib/kubelet /var/lib/kube-proxy; do
    find $directory -path /etc/kn-agent -prune -o -type d -printf '%p %m\\n' -o -printf '%p %y %m %s %T@ %i %l\\n' 2>&1
done | sort
find /var/lib/kn-agent -mindepth 1 2>/dev/null | sort";

/// Programs and directories that are not as they should be.
const PREPARE: &str = "
mkdir -p /opt/bad/net.d /opt/late
echo '{}' > /opt/bad/net.d/00-other.conf
echo 'no program' > /opt/bad/not-executable
printf '#!/bin/sh\\necho Kubernetes v1.19.9\\n' > /opt/bad/old
cat > /opt/bad/new <<'END'
#!/bin/sh
[ \"$1\" = --version ] && { echo Kubernetes v1.37.0; exit; }
exec /usr/local/bin/kubelet \"$@\"
END
chmod 755 /opt/bad/old /opt/bad/new";

/// A trouble: the drop-in that makes it, the check that finds it, its reason, and what the message names.
struct Case {
    drop_in: &'static str,
    check: &'static str,
    reason: &'static str,
    named: &'static [&'static str],
}

/// What is seen without executing anything.
const SEEN_AT_ONCE: &[Case] = &[
    Case {
        drop_in: "kubelet: {binary: /opt/bad/absent}",
        check: "kubelet",
        reason: "BinaryMissing",
        named: &["`/opt/bad/absent` is not there"],
    },
    Case {
        drop_in: "kubelet: {binary: /opt/bad/not-executable}",
        check: "kubelet",
        reason: "BinaryMissing",
        named: &["`/opt/bad/not-executable` is there and can't be executed"],
    },
    Case {
        drop_in: "runtime: {daemonJson: {exec-opts: [native.cgroupdriver=systemd]}}\n\
                  kubelet: {config: {cgroupDriver: cgroupfs}}",
        check: "cgroup-driver",
        reason: "CgroupDriverMismatch",
        named: &["docker would use systemd", "the kubelet cgroupfs"],
    },
    Case {
        drop_in: "network: {confDir: /opt/bad/net.d}",
        check: "cni-conf",
        reason: "CniConflict",
        named: &["`/opt/bad/net.d/00-other.conf`", "10-kn-agent-bridge.conflist"],
    },
    Case {
        drop_in: "network: {binDir: /opt/bad}",
        check: "cni-plugins",
        reason: "CniPluginMissing",
        named: &["`/opt/bad` lacks bridge, host-local, loopback, portmap"],
    },
];

/// What the kubelet has to be asked for. docker's start does not wait for the answer.
const ASKED: &[Case] = &[
    Case {
        drop_in: "kubelet: {binary: /opt/bad/old}",
        check: "kubelet",
        reason: "UnsupportedVersion",
        named: &["`/opt/bad/old` is 1.19.9", "1.20 to 1.36"],
    },
    Case {
        drop_in: "kubelet: {extraArgs: {no-such-flag: '1'}}",
        check: "kubelet-flags",
        reason: "UnknownFlag",
        named: &["kubelet.extraArgs.no-such-flag", "kubelet 1.36 has no such flag"],
    },
    Case {
        drop_in: "kubelet: {config: {maxPod: 50}}",
        check: "kubelet-config",
        reason: "FieldRefused",
        named: &["kubelet.config.maxPod", "kubelet 1.36 has no such field", "did you mean `maxPods`?"],
    },
    Case {
        drop_in: "proxy: {config: {udpIdleTimeout: 250ms}}",
        check: "kube-proxy-config",
        reason: "FieldRefused",
        named: &["proxy.config.udpIdleTimeout", "is gone since 1.26"],
    },
];

/// What containerd makes when it starts.
const CONTAINERDS_OWN: [&str; 2] = ["/etc/cni ", "/etc/cni/net.d "];

fn snapshot(scenario: &Scenario) -> Result<String> {
    scenario.node.sh(SNAPSHOT, &[])
}

/// Waits until a phase is blocked for `reason`, in a message that names all of `named`.
fn blocked(scenario: &Scenario, reason: &str, named: &[&str]) -> Result<()> {
    let begun = Instant::now();
    let told = wait_until(&format!("a phase blocked for {reason}, naming {named:?}"), SEEN, || {
        let phases = scenario.phases()?;
        let mut blocked =
            phases.iter().filter(|phase| phase["state"] == "blocked" && phase["reason"] == reason);
        let message = |phase: &Value| phase["message"].as_str().unwrap_or_default().to_owned();
        Ok(blocked.find(|phase| named.iter().all(|mark| message(phase).contains(mark))).map(message))
    });
    let told = told.with_context(|| scenario.describe())?;
    lab::say(format_args!("{reason} after {:.1} s: {told}", begun.elapsed().as_secs_f32()));
    let code = scenario.node.try_exec(&["kn-agent", "status"])?.status.code();
    ensure!(code == Some(4), "status ended with {code:?}");
    Ok(())
}

/// `kn-agent check`: its exit code, and the line of a check.
fn check(scenario: &Scenario, name: &str) -> Result<(Option<i32>, String)> {
    let output = scenario.node.try_exec(&["kn-agent", "check"])?;
    let line = output.stdout.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
    Ok((output.status.code(), line.with_context(|| format!("no check {name}: {output:?}"))?.to_owned()))
}

fn runs(scenario: &Scenario, unit: &str) -> Result<bool> {
    Ok(scenario.unit(unit, "ActiveState")? != "inactive")
}

/// Entries that are new or other than they were.
fn changed(scenario: &Scenario, before: &str) -> Result<Vec<String>> {
    let before: BTreeSet<&str> = before.lines().collect();
    let now = snapshot(scenario)?;
    Ok(now.lines().filter(|line| !before.contains(line)).map(str::to_owned).collect())
}

/// `status` and `check` name the trouble.
fn is_named(scenario: &Scenario, case: &Case) -> Result<()> {
    scenario.node.put(DROP_IN, format!("{}\n", case.drop_in), 0o600)?;
    blocked(scenario, case.reason, case.named)?;
    let (code, line) = check(scenario, case.check)?;
    ensure!(code == Some(4) && line.starts_with('✗'), "check ended with {code:?}: {line}");
    ensure!(case.named.iter().all(|mark| line.contains(mark)), "{line}");
    Ok(())
}

#[test]
fn what_is_wrong_with_a_machine_is_named_and_nothing_is_changed_on_it() -> Result<()> {
    let scenario = Scenario::start("bad-host", Minor::V1_36)?;
    scenario.node.sh(PREPARE, &[])?;
    let fresh = snapshot(&scenario)?;
    ensure!(fresh.lines().count() > 500, "the snapshot sees next to nothing: {fresh}");
    let config = scenario.fresh_config()?;
    a_label_that_the_api_server_would_refuse(&scenario, &config)?;
    ensure!(snapshot(&scenario)? == fresh, "changed: {:#?}", changed(&scenario, &fresh)?);
    scenario.node.put(DROP_IN, SEEN_AT_ONCE[0].drop_in, 0o600)?;
    scenario.configure(&config)?;
    SEEN_AT_ONCE.iter().try_for_each(|case| is_named(&scenario, case))?;
    ensure!(snapshot(&scenario)? == fresh, "changed: {:#?}", changed(&scenario, &fresh)?);
    for unit in ["docker.service", "kubelet.service", "kube-proxy.service"] {
        ensure!(!runs(&scenario, unit)?, "{unit} was started");
    }
    ASKED.iter().try_for_each(|case| is_named(&scenario, case))?;
    let others = changed(&scenario, &fresh)?;
    let is_theirs = |line: &String| CONTAINERDS_OWN.iter().any(|path| line.starts_with(path));
    ensure!(others.iter().all(is_theirs), "changed: {others:#?}");
    ensure!(!runs(&scenario, "kubelet.service")?, "the kubelet was started");
    a_missing_image_is_found_where_docker_runs(&scenario)?;
    // The control: the same search sees what the agent writes when the machine passes its checks.
    let written = changed(&scenario, &fresh)?;
    ensure!(written.iter().any(|line| !is_theirs(line)), "the snapshot sees nothing: {written:?}");
    a_kubelet_that_is_put_right_is_noticed_and_a_failure_may_be_ignored(&scenario)
}

/// The daemon does not begin with such a configuration; whoever asks is told which line it is.
fn a_label_that_the_api_server_would_refuse(scenario: &Scenario, config: &str) -> Result<()> {
    const LABEL: &str = "node-role.kubernetes.io/worker";
    scenario.node.put(DROP_IN, format!("node: {{labels: {{{LABEL}: a}}}}\n"), 0o600)?;
    scenario.configure(config)?;
    wait_until("the daemon to end", SEEN, || {
        let ended = scenario.unit("kn-agent.service", "ExecMainStatus")? == "2";
        Ok((ended && scenario.unit("kn-agent.service", "ActiveState")? == "failed").then_some(()))
    })?;
    for command in ["status", "check", "plan"] {
        let output = scenario.node.try_exec(&["kn-agent", command])?;
        let marks = [DROP_IN, &format!("node.labels.{LABEL}"), "NodeRestriction", "kubectl label node"];
        let named = marks.iter().all(|mark| output.stderr.contains(mark));
        ensure!(output.status.code() == Some(2) && named, "{command}: {output:?}");
    }
    Ok(())
}

/// Only docker knows its images, so it runs for this one; the kubelet does not.
fn a_missing_image_is_found_where_docker_runs(scenario: &Scenario) -> Result<()> {
    const IMAGE: &str = "`kn-agent-lab/absent:1` is not on this node";
    scenario.node.put(DROP_IN, "runtime: {sandboxImage: 'kn-agent-lab/absent:1'}\n", 0o600)?;
    blocked(scenario, "SandboxImageMissing", &[IMAGE])?;
    let (code, line) = check(scenario, "sandbox-image")?;
    ensure!(code == Some(4) && line.starts_with('✗') && line.contains(IMAGE), "{code:?}: {line}");
    ensure!(!runs(scenario, "kubelet.service")?, "the kubelet was started");
    Ok(())
}

fn a_kubelet_that_is_put_right_is_noticed_and_a_failure_may_be_ignored(scenario: &Scenario) -> Result<()> {
    let daemon = scenario.incarnation()?;
    let drop_in = "kubelet: {binary: /opt/late/kubelet}\n";
    scenario.node.put(DROP_IN, drop_in, 0o600)?;
    blocked(scenario, "BinaryMissing", &["`/opt/late/kubelet`"])?;
    for (program, version) in [("/opt/bad/old", "1.19.9"), ("/opt/bad/new", "1.37.0")] {
        scenario.node.exec(&["cp", program, "/opt/late/kubelet"])?;
        blocked(scenario, "UnsupportedVersion", &[&format!("`/opt/late/kubelet` is {version}")])?;
    }
    let ignoring = format!("{drop_in}preflight: {{ignore: [kubelet]}}\n");
    scenario.node.put(DROP_IN, ignoring, 0o600)?;
    let status = scenario.wait_ready(JOIN)?;
    ensure!(status["phases"].to_string().contains(", ignored: kubelet"), "{}", status["phases"]);
    let (code, line) = check(scenario, "kubelet")?;
    ensure!(code == Some(0) && line.ends_with("(ignored)"), "{code:?}: {line}");
    ensure!(scenario.incarnation()? == daemon, "the daemon was restarted");
    Ok(())
}
