//! containerd as the runtime: to Ready, a pod behind a Service, and what is told where it is not well.

use std::time::{Duration, Instant};

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};
use anyhow::{Result, ensure};
use lab::{Engine, Minor, wait_until};

/// A runtime that hangs is named within this.
const NAMED: Duration = Duration::from_secs(30);

/// As docker's package ships it, and a comment that must stay.
const DISABLE_CRI: &str = "
sed -i '1a disabled_plugins = [\"io.containerd.grpc.v1.cri\"] # as shipped' /etc/containerd/config.toml
echo '# the end, since 2019' >> /etc/containerd/config.toml";

/// containerd's own configuration.
const CONFIG: &str = "/etc/containerd/config.toml";

/// Another file that containerd reads; its argument is what it says.
const IMPORT: &str = "
grep -q ^imports /etc/containerd/config.toml || sed -i '1a imports = [\"/etc/containerd/other.toml\"]' /etc/containerd/config.toml
printf 'version = 2\n%s\n' \"$1\" > /etc/containerd/other.toml
touch /etc/containerd/config.toml";

fn configure(scenario: &Scenario) -> Result<()> {
    scenario.configure(&scenario.fresh_config()?)
}

/// Ready from outside too, on containerd, with a pod that answers, and nothing left to do.
fn is_ready(scenario: &Scenario, version: &str) -> Result<()> {
    scenario.wait_ready(JOIN)?;
    let kubectl = scenario.control_plane.kubectl()?;
    ensure!(kubectl.node_condition(NODE, "Ready")?.as_deref() == Some("True"));
    let runtime =
        kubectl.run(&["get", "node", NODE, "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}"])?;
    ensure!(runtime.starts_with(&format!("containerd://{version}")), "{runtime}");
    ensure!(scenario.unit("docker.service", "ActiveState")? == "inactive");
    lab::prove_workload(&scenario.control_plane, &scenario.node)?;
    lab::prove_logs(&scenario.node)?;
    lab::ensure_nothing_planned(&scenario.node)?;
    lab::say(scenario.node.exec(&["kn-agent", "status"])?);
    is_small(scenario)
}

/// The agent, which speaks HTTP/2 here.
fn is_small(scenario: &Scenario) -> Result<()> {
    let pid = scenario.unit("kn-agent.service", "MainPID")?;
    let status = scenario.node.exec(&["cat", &format!("/proc/{pid}/status")])?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
    let resident: u32 = resident.unwrap_or_default().trim().parse()?;
    lab::say(format_args!("{resident} KiB resident"));
    ensure!(resident <= 15 * 1024, "{resident} KiB resident");
    Ok(())
}

/// Waits until `status` gives the reason; no kubelet was started for it.
fn is_named(scenario: &Scenario, reason: &str, message: &str) -> Result<()> {
    // With its message: what the configuration before gave may be told under the same reason for a moment.
    let told = scenario.wait_trouble(reason, &[message], JOIN)?;
    lab::say(format_args!("{reason}: {told}"));
    ensure!(scenario.unit("kubelet.service", "ActiveState")? != "active", "the kubelet runs");
    Ok(())
}

#[test]
fn kubernetes_1_36_joins_with_containerd_and_a_configuration_of_the_operators() -> Result<()> {
    let scenario = Scenario::start_with("containerd", Minor::V1_36, Engine::Containerd)?;
    scenario.node.sh(DISABLE_CRI, &[])?;
    configure(&scenario)?;
    is_ready(&scenario, "1.7.")?;
    let config = scenario.node.exec(&["cat", "/etc/containerd/config.toml"])?;
    ensure!(config.contains("disabled_plugins = [] # as shipped"), "{config}");
    ensure!(config.ends_with("# the end, since 2019\n") && config.contains("SystemdCgroup = "), "{config}");
    a_hung_containerd_is_named(&scenario)
}

/// Its unit stays active, and nobody answers.
fn a_hung_containerd_is_named(scenario: &Scenario) -> Result<()> {
    let pid = scenario.unit("containerd.service", "MainPID")?;
    let kubelet = || scenario.unit("kubelet.service", "MainPID");
    let before = kubelet()?;
    scenario.node.exec(&["kill", "-STOP", &pid])?;
    let begun = Instant::now();
    let phase = scenario.wait_reason("RuntimeUnresponsive", NAMED)?;
    lab::say(format_args!("{} after {:.1} s", phase["message"], begun.elapsed().as_secs_f32()));
    ensure!(phase["message"].as_str().is_some_and(|told| told.contains("no answer within 2s")), "{phase}");
    ensure!(scenario.unit("containerd.service", "ActiveState")? == "active");
    ensure!(kubelet()? == before, "the kubelet was restarted");
    scenario.node.exec(&["kill", "-CONT", &pid])?;
    scenario.wait_ready(JOIN)?;
    ensure!(scenario.unit("containerd.service", "MainPID")? == pid, "containerd was restarted");
    Ok(())
}

#[test]
fn kubernetes_1_20_joins_with_containerd_as_a_remote_runtime() -> Result<()> {
    let scenario = Scenario::start_with("containerd-old", Minor::V1_20, Engine::Containerd)?;
    configure(&scenario)?;
    is_ready(&scenario, "1.6.")?;
    let unit = scenario.node.exec(&["cat", "/etc/systemd/system/kubelet.service"])?;
    ensure!(unit.contains("--container-runtime=remote"), "{unit}");
    ensure!(unit.contains("--container-runtime-endpoint=unix:///run/containerd/containerd.sock"), "{unit}");
    ensure!(!unit.contains("network-plugin") && !unit.contains("docker.service"), "{unit}");
    Ok(())
}

#[test]
fn containerd_2_gets_a_file_beside_its_own_and_takes_over_what_1_had() -> Result<()> {
    let scenario = Scenario::start_with("containerd-2", Minor::V1_36, Engine::Containerd2)?;
    let node = &scenario.node;
    let before = node.exec(&["cat", CONFIG])?;
    lab::use_our_containerd(node, Engine::Containerd2)?;
    node.exec(&["cp", CONFIG, "/root/default.toml"])?;
    configure(&scenario)?;
    // Its own default is another directory, and stays beside this one.
    node.put(DROP_IN, "network: {binDir: /usr/lib/cni}\n", 0o600)?;
    is_ready(&scenario, "2.")?;
    node.exec(&["cmp", CONFIG, "/root/default.toml"])?;
    let ours = node.exec(&["cat", "/etc/containerd/conf.d/99-kn-agent.toml"])?;
    ensure!(ours.contains("io.containerd.cri.v1.runtime") && ours.contains("SystemdCgroup = "), "{ours}");
    ensure!(ours.contains("sandbox = "), "{ours}");
    ensure!(ours.contains("/usr/lib/cni") && ours.contains("/opt/cni/bin"), "{ours}");

    // The file that containerd 1 had, put back: it is in form 2, and imports nothing.
    let pid = scenario.unit("containerd.service", "MainPID")?;
    node.put(CONFIG, before, 0o644)?;
    wait_until("containerd's restart", JOIN, || {
        Ok((scenario.unit("containerd.service", "MainPID")? != pid).then_some(()))
    })?;
    is_ready(&scenario, "2.")?;
    let config = node.exec(&["cat", CONFIG])?;
    ensure!(config.contains("io.containerd.grpc.v1.cri") && config.contains("sandbox_image"), "{config}");
    Ok(())
}

/// Puts the lab's images into files, and takes them out of containerd.
const EXPORT: &str = "
set -e
systemctl start containerd
mkdir -p /opt/images
for image in \"$@\"; do
    ctr --namespace k8s.io images export \"/opt/images/$(basename \"$image\").tar\" \"docker.io/$image\"
    ctr --namespace k8s.io images rm --sync \"docker.io/$image\"
done
systemctl stop containerd";

#[test]
fn what_is_wrong_with_containerd_is_named_before_the_kubelet_starts() -> Result<()> {
    let scenario = Scenario::start_with("bad-containerd", Minor::V1_36, Engine::Containerd)?;
    let (node, unit) = (&scenario.node, "/usr/lib/systemd/system/containerd.service");
    node.sh(EXPORT, &[lab::PAUSE_IMAGE, lab::DEMO_IMAGE])?;
    node.sh("mv \"$1\" /root/ && systemctl daemon-reload", &[unit])?;
    configure(&scenario)?;
    is_named(&scenario, "BinaryMissing", "install containerd (Debian: containerd)")?;
    ensure!(!node.exec(&["cat", "/etc/containerd/config.toml"])?.contains("sandbox_image"));

    node.sh(IMPORT, &["disabled_plugins = [\"io.containerd.grpc.v1.cri\"]"])?;
    node.sh("mv /root/containerd.service \"$1\" && systemctl daemon-reload", &[unit])?;
    is_named(&scenario, "CriMissing", "containerd answers without its CRI plugin: ")?;

    // The lab's driver is cgroupfs on cgroup v1, systemd on v2: the other one.
    let driver =
        if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "false" } else { "true" };
    let runtime = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"";
    let options =
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = ";
    node.sh(IMPORT, &[&format!("{runtime}\n{options}{driver}")])?;
    is_named(&scenario, "CgroupDriverMismatch", "containerd uses the cgroup driver ")?;

    node.put(DROP_IN, "runtime: {sandboxImage: 'example.com/none:1'}\n", 0o600)?;
    node.sh("rm /etc/containerd/other.toml && sed -i /^imports/d /etc/containerd/config.toml", &[])?;
    is_named(&scenario, "SandboxImageMissing", "`example.com/none:1`")?;

    // The control: nothing else was wrong with it. Its images come from files now.
    node.put(DROP_IN, "runtime: {images: /opt/images}\n", 0o600)?;
    wait_until("the node to be Ready", JOIN, || {
        Ok(scenario.status()?.filter(|status| status["ready"] == true).map(drop))
    })?;
    is_ready(&scenario, "1.7.")
}
