//! A machine with the certificates of another cluster: named, and at home in the new one as soon as there is a token.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::scenario::{DROP_IN, NODE, Scenario, from_make, talker};
use anyhow::{Context as _, Result, ensure};
use lab::{Artefacts, ControlPlane, Minor};

/// Within this a trouble has to be told.
const SEEN: Duration = Duration::from_secs(10);

/// No backoff is longer than 30 s.
const HEALED: Duration = Duration::from_secs(45);

const TOKEN: &str = "/etc/kn-agent/token";

/// The Ready condition comes from a kubelet that has this cluster's certificate; `kubectl logs` works if it also serves
/// with one of this cluster's, and asks for one where it has another's.
fn is_at_home(scenario: &Scenario, plane: &ControlPlane) -> Result<()> {
    scenario.wait_ready(HEALED)?;
    let kubectl = plane.kubectl()?;
    ensure!(kubectl.node_condition(NODE, "Ready")?.as_deref() == Some("True"));
    talker::start(plane).with_context(|| scenario.describe())?;
    talker::is_heard(plane, HEALED).with_context(|| scenario.describe())?;
    // kube-proxy speaks with its own: it would be refused here with another's.
    let log = std::fs::read_to_string(plane.audit_log())?;
    let watches = log.lines().filter(|line| line.contains(r#""username":"system:kube-proxy""#)).count();
    ensure!(watches > 0, "kube-proxy asks for nothing");
    lab::ensure_nothing_planned(&scenario.node)
}

/// The configuration for a cluster, without a token.
fn configure_without_token(scenario: &Scenario, plane: &ControlPlane) -> Result<()> {
    scenario.node.put("/etc/kn-agent/new-ca.pem", std::fs::read(plane.ca())?, 0o644)?;
    scenario.configure(&format!(
        "cluster: {{server: '{}', ca: {{file: /etc/kn-agent/new-ca.pem}}}}\nnode: {{name: {NODE}}}\n",
        plane.server()
    ))
}

/// At the same address there is another cluster, whose CA has the same name. Who set it up forgot this machine.
fn rebuilt_at_the_same_address(scenario: &mut Scenario) -> Result<()> {
    scenario.stop_approver()?;
    scenario.control_plane.rebuild()?;
    scenario.set_up_cluster()?;
    scenario.start_approver()?;
    // With the old CA nobody is believed there. A daemon that has met no API server for some time asks after up to 30 s; one
    // that starts asks at once.
    scenario.node.exec(&["systemctl", "restart", "kn-agent"])?;
    let daemon = scenario.incarnation()?;
    let said =
        scenario.wait_trouble("ApiUntrusted", &["cluster.ca is not the CA of this API server"], HEALED)?;
    lab::say(format_args!("ApiUntrusted: {said}"));

    configure_without_token(scenario, &scenario.control_plane)?;
    let command = format!("on an admin machine run `kn-agent token create --node {NODE} --print token`");
    let marks = [
        "kubelet-client-current.pem` was signed by `CN=kn-agent lab`",
        "which is not cluster.ca: another one of the same name",
        &command,
        "write it to `/etc/kn-agent/token` (mode 0600)",
    ];
    let said = scenario.wait_trouble("OtherCluster", &marks, SEEN)?;
    lab::say(format_args!("OtherCluster: {said}"));
    let status = scenario.node.try_exec(&["kn-agent", "status"])?;
    ensure!(status.status.code() == Some(4), "{status:?}");

    // What it said, word for word.
    let setting =
        said.split("set `").nth(1).and_then(|rest| rest.split('`').next()).context("no setting in it")?;
    let setting = format!("{setting}\n");
    scenario.node.put(
        TOKEN,
        scenario.agent(&["token", "create", "--node", NODE, "--print", "token"])?,
        0o600,
    )?;
    scenario.node.put(DROP_IN, setting, 0o600)?;
    is_at_home(scenario, &scenario.control_plane)?;
    ensure!(scenario.incarnation()? == daemon, "the daemon was restarted");
    Ok(())
}

struct Approver(Child);

impl Drop for Approver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another cluster elsewhere, with a token at hand: nobody has to do anything on the machine but to configure it.
fn moved_with_a_token(scenario: &Scenario, minor: Minor) -> Result<()> {
    let other = ControlPlane::start(&format!("moved-other-{minor}"), &Artefacts::ensure(minor)?)?;
    let ours = |words: &[&str]| -> Result<Command> {
        let mut command = Command::new(from_make("KN_AGENT")?);
        command.args(words).arg("--kubeconfig").arg(other.admin_kubeconfig()).stderr(Stdio::null());
        Ok(command)
    };
    ensure!(ours(&["cluster", "init"])?.stdout(Stdio::null()).status()?.success());
    let _approver = Approver(ours(&["approver"])?.stdout(Stdio::null()).spawn()?);
    let config = ours(&["token", "create", "--node", NODE, "--print", "config"])?.output()?.stdout;
    let daemon = scenario.incarnation()?;
    scenario.node.exec(&["rm", "-f", DROP_IN])?;
    scenario.configure(&String::from_utf8(config)?)?;
    let moved = || Ok(scenario.status()?.filter(|s| s["server"] == other.server().as_str()));
    lab::wait_until("the new configuration", SEEN, moved)?;
    is_at_home(scenario, &other)?;
    ensure!(scenario.incarnation()? == daemon, "the daemon was restarted");
    Ok(())
}

fn joined(name: &str, minor: Minor) -> Result<Scenario> {
    let scenario = Scenario::start(name, minor)?;
    scenario.configure(&scenario.fresh_config()?)?;
    is_at_home(&scenario, &scenario.control_plane).context("the first cluster")?;
    Ok(scenario)
}

#[test]
fn certificates_of_another_cluster_are_replaced_where_a_token_is_at_hand() -> Result<()> {
    let mut scenario = joined("moved", Minor::V1_36)?;
    if std::env::var_os("LONG").is_some() {
        rebuilt_at_the_same_address(&mut scenario)?;
    }
    moved_with_a_token(&scenario, Minor::V1_36)
}

/// On 1.20, whose kubelet reads a CA once a start.
#[test]
fn certificates_of_another_cluster_at_the_same_address_are_named_with_the_way_out() -> Result<()> {
    rebuilt_at_the_same_address(&mut joined("rebuilt", Minor::V1_20)?)
}
