//! A cluster and a machine with the package installed: what every scenario starts from.

pub(crate) mod deaf_bus;
pub(crate) mod early;
pub(crate) mod labels;
pub(crate) mod lossy_bus;
pub(crate) mod name_service;
pub(crate) mod talker;
mod turn;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Artefacts, ControlPlane, Engine, Minor, Node, wait_until};
use serde_json::Value;
use turn::Turn;

/// A join takes seconds; on a busy machine a multiple.
pub(crate) const JOIN: Duration = Duration::from_mins(1);

/// A drop-in that a scenario writes and takes away again.
pub(crate) const DROP_IN: &str = "/etc/kn-agent/config.d/60-scenario.yaml";

/// Makes the machine what it was before it joined, but that docker runs. The path unit first: it would start the
/// daemon for half of a configuration. systemd starts a unit five times in ten seconds and then no more, unless told.
const FORGET: &str = "
systemctl stop kn-agent.path kn-agent
rm -rf /etc/kn-agent/config.yaml /etc/kn-agent/token /etc/kn-agent/config.d/*
systemctl stop kubelet kube-proxy 2>/dev/null || true
rm -rf /etc/kubernetes/* /etc/cni/net.d/* /var/lib/kn-agent/* /var/lib/kubelet/pki /var/lib/kube-proxy/pki
systemctl reset-failed kn-agent.path
systemctl start kn-agent.path
";

/// The node's name.
pub(crate) const NODE: &str = "worker-1";

/// A control plane, a booted machine, and the approver. Dropping it stops all of it.
pub(crate) struct Scenario {
    approver: Option<Child>,
    pub(crate) node: Node,
    pub(crate) control_plane: ControlPlane,
    _turn: Turn,
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _ = self.stop_approver();
    }
}

/// What `make test` names in the environment.
pub(crate) fn from_make(variable: &str) -> Result<PathBuf> {
    let path =
        std::env::var_os(variable).with_context(|| format!("${variable} is not set: run `make test`"))?;
    ensure!(PathBuf::from(&path).exists(), "${variable} names no file: run `make test`");
    Ok(path.into())
}

/// Installs the package.
fn install(node: &Node) -> Result<()> {
    node.put("/root/kn-agent.deb", std::fs::read(from_make("KN_AGENT_DEB")?)?, 0o644)?;
    node.exec(&["dpkg", "-i", "/root/kn-agent.deb"]).map(drop)
}

impl Scenario {
    /// Boots everything; the cluster has its bindings, the machine has the package and no configuration.
    pub(crate) fn start(name: &str, minor: Minor) -> Result<Self> {
        Self::start_with(name, minor, Engine::Docker)
    }

    /// The same on a machine whose containers `engine` runs.
    pub(crate) fn start_with(name: &str, minor: Minor, engine: Engine) -> Result<Self> {
        let turn = Turn::take();
        let artefacts = Artefacts::ensure_for(minor, engine)?;
        let control_plane = ControlPlane::start(name, &artefacts)?;
        let node = Node::boot(control_plane.run(), &artefacts, NODE)?;
        install(&node)?;
        let mut scenario = Self { approver: None, node, control_plane, _turn: turn };
        scenario.set_up_cluster()?;
        scenario.start_approver()?;
        Ok(scenario)
    }

    /// Starts the approver with the credentials of its account.
    pub(crate) fn start_approver(&mut self) -> Result<()> {
        let mut approver = Command::new(from_make("KN_AGENT")?);
        approver.arg("approver").arg("--kubeconfig").arg(self.approver_kubeconfig());
        self.approver = Some(approver.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        Ok(())
    }

    /// Stops it: nobody decides on what is asked for.
    pub(crate) fn stop_approver(&mut self) -> Result<()> {
        if let Some(mut approver) = self.approver.take() {
            approver.kill()?;
            approver.wait()?;
        }
        Ok(())
    }

    /// Our program on an admin's machine.
    pub(crate) fn agent_command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(from_make("KN_AGENT")?);
        command.args(words).arg("--kubeconfig").arg(self.control_plane.admin_kubeconfig());
        Ok(command)
    }

    /// Runs our program on an admin's machine; its answer.
    pub(crate) fn agent(&self, words: &[&str]) -> Result<String> {
        let output = self.agent_command(words)?.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
        Ok(text(&output.stdout))
    }

    /// Where the credentials of the approver's account are.
    fn approver_kubeconfig(&self) -> PathBuf {
        self.control_plane.run().directory().join("approver.kubeconfig")
    }

    /// Sets the cluster up, or mends it.
    pub(crate) fn set_up_cluster(&self) -> Result<()> {
        self.set_up_cluster_with(&[])
    }

    /// The same with more words for `cluster init`.
    pub(crate) fn set_up_cluster_with(&self, more: &[&str]) -> Result<()> {
        let path = self.approver_kubeconfig();
        let file = path.to_str().context("a path that is no text")?;
        let words = ["cluster", "init", "--approver", "unit", "--no-start", "--approver-kubeconfig", file];
        self.agent(&[&words, more].concat()).map(drop)
    }

    /// A configuration for [`NODE`] with a fresh token, good for one key, as `token create` prints it.
    pub(crate) fn fresh_config(&self) -> Result<String> {
        self.fresh_config_of(NODE)
    }

    /// The same for a node of another name.
    pub(crate) fn fresh_config_of(&self, node: &str) -> Result<String> {
        self.agent(&["token", "create", "--node", node, "--print", "config"])
    }

    /// Puts the configuration in place, the lab's and the network's drop-in first; that starts the daemon.
    pub(crate) fn configure(&self, config: &str) -> Result<()> {
        self.configure_lab()?;
        self.node.put("/etc/kn-agent/config.yaml", config, 0o600)
    }

    /// Puts in place what differs from a usual machine.
    pub(crate) fn configure_lab(&self) -> Result<()> {
        self.configure_lab_on(&self.node)
    }

    fn configure_lab_on(&self, node: &Node) -> Result<()> {
        node.put("/etc/kn-agent/config.d/20-network.yaml", "network: {plugin: bridge}\n", 0o644)?;
        if node.has_containerd() {
            node.put("/etc/kn-agent/config.d/30-runtime.yaml", "runtime: {kind: containerd}\n", 0o644)?;
        }
        let lab = lab::config_fragment(self.control_plane.minor())?;
        node.put("/etc/kn-agent/config.d/50-lab.yaml", lab, 0o644)
    }

    /// Another machine, which joins under its name with a token of its own.
    pub(crate) fn join_another(&self, name: &str) -> Result<Node> {
        self.join_another_with(name, |_| Ok(()))
    }

    /// The same; before it is configured, `prepare` is called with it.
    pub(crate) fn join_another_with(
        &self,
        name: &str,
        prepare: impl FnOnce(&Node) -> Result<()>,
    ) -> Result<Node> {
        let artefacts = Artefacts::ensure(self.control_plane.minor())?;
        let node = Node::boot(self.control_plane.run(), &artefacts, name)?;
        install(&node)?;
        self.configure_lab_on(&node)?;
        prepare(&node)?;
        node.put("/etc/kn-agent/config.yaml", self.fresh_config_of(name)?, 0o600)?;
        Ok(node)
    }

    /// Has machine and cluster forget that they met: the next configuration is a join of its own.
    pub(crate) fn forget(&self) -> Result<()> {
        self.node.sh(FORGET, &[])?;
        let kubectl = self.control_plane.kubectl()?;
        kubectl.run(&["delete", "node", NODE, "--ignore-not-found", "--wait=false"])?;
        kubectl.run(&["delete", "csr", "--all", "--wait=false"]).map(drop)
    }

    /// The daemon's process and how often systemd restarted it: the same two before and after what heals by itself.
    pub(crate) fn incarnation(&self) -> Result<String> {
        self.node.exec(&["systemctl", "show", "-P", "MainPID", "-P", "NRestarts", "kn-agent.service"])
    }

    /// The status document; `None` while there is none.
    pub(crate) fn status(&self) -> Result<Option<Value>> {
        let output = self.node.try_exec(&["kn-agent", "status", "-o", "json"])?;
        Ok(serde_json::from_str(&output.stdout).ok().filter(|_| output.status.code() != Some(5)))
    }

    /// Waits until the daemon says Ready.
    pub(crate) fn wait_ready(&self, limit: Duration) -> Result<Value> {
        let ready = || Ok(self.status()?.filter(|status| status["ready"] == true));
        wait_until("the node to be Ready", limit, ready).with_context(|| self.describe())
    }

    /// Waits until some phase shows this reason; the phase's entry.
    pub(crate) fn wait_reason(&self, reason: &str, limit: Duration) -> Result<Value> {
        let find = || Ok(self.phases()?.into_iter().find(|phase| phase["reason"] == reason));
        wait_until(&format!("the reason {reason}"), limit, find).with_context(|| self.describe())
    }

    /// Waits until some phase shows this reason with all of `marks` in its message or its hint; what is said, message
    /// first.
    pub(crate) fn wait_trouble(&self, reason: &str, marks: &[&str], limit: Duration) -> Result<String> {
        let said = |phase: &Value| {
            let text = |key: &str| phase[key].as_str().unwrap_or_default().to_owned();
            format!("{}\n  → {}", text("message"), text("hint"))
        };
        let told = wait_until(&format!("{reason} naming {marks:?}"), limit, || {
            let phases = self.phases()?;
            let mut found = phases.iter().filter(|phase| phase["reason"] == reason).map(said);
            Ok(found.find(|said| marks.iter().all(|mark| said.contains(mark))))
        });
        told.with_context(|| self.describe())
    }

    /// How often the daemon took up another configuration.
    pub(crate) fn loads(&self) -> Result<usize> {
        let log = self.node.exec(&["journalctl", "-u", "kn-agent", "-o", "cat", "--no-pager"])?;
        Ok(log.matches("the configuration changed").count())
    }

    /// Waits until a phase is satisfied.
    pub(crate) fn wait_satisfied(&self, name: &str, limit: Duration) -> Result<()> {
        let satisfied = |phase: &Value| phase["phase"] == name && phase["state"] == "satisfied";
        let find = || Ok(self.phases()?.iter().any(satisfied).then_some(()));
        wait_until(&format!("the phase {name} to be satisfied"), limit, find).with_context(|| self.describe())
    }

    /// Waits until a phase says something with this in it; what it says.
    pub(crate) fn wait_message(&self, name: &str, mark: &str) -> Result<String> {
        let told = || {
            let phase = self.phases()?.into_iter().find(|phase| phase["phase"] == name);
            let message = phase.and_then(|phase| phase["message"].as_str().map(str::to_owned));
            Ok(message.filter(|message| message.contains(mark)))
        };
        wait_until(&format!("{name} to say `{mark}`"), JOIN, told).with_context(|| self.describe())
    }

    /// The entries of the phases, once the daemon says anything.
    pub(crate) fn phases(&self) -> Result<Vec<Value>> {
        let status = self.status()?.unwrap_or_default();
        Ok(status["phases"].as_array().cloned().unwrap_or_default())
    }

    /// What status and log say, for a failed test.
    pub(crate) fn describe(&self) -> String {
        let run =
            |words: &[&str]| self.node.try_exec(words).map(|o| o.stdout + &o.stderr).unwrap_or_default();
        format!(
            "{}\n{}",
            run(&["kn-agent", "status"]),
            run(&["journalctl", "-u", "kn-agent", "-n", "30", "-o", "cat", "--no-pager"])
        )
    }

    /// Approves the request of this purpose that waits, as an administrator does.
    pub(crate) fn approve(&self, purpose: &str) -> Result<()> {
        let said =
            self.wait_trouble("CsrPending", &[&format!("CSR `{purpose}"), "waits for approval"], JOIN)?;
        let name = said.split('`').nth(1).context("no name in it")?;
        self.control_plane.kubectl()?.run(&["certificate", "approve", name]).map(drop)
    }

    /// A property of a unit.
    pub(crate) fn unit(&self, unit: &str, property: &str) -> Result<String> {
        Ok(self.node.exec(&["systemctl", "show", "-P", property, unit])?.trim().to_owned())
    }

    /// The node's agent's requests: user, verb and URI.
    pub(crate) fn requests_of_agent(&self) -> Result<Vec<(String, String, String)>> {
        let of_node = |user: &str| user.starts_with("system:node:") || user.starts_with("system:bootstrap:");
        let requests = self.requests(|agent, user| agent.starts_with("kn-agent/") && of_node(user))?;
        ensure!(!requests.is_empty(), "the audit log shows no request of the agent: the search is wrong");
        Ok(requests)
    }

    /// Requests of those whose user agent and user are `wanted`: user, verb and URI.
    pub(crate) fn requests(
        &self,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Vec<(String, String, String)>> {
        let mut requests = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for line in std::fs::read_to_string(self.control_plane.audit_log())?.lines() {
            let event: Value = serde_json::from_str(line)?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (agent, user) = (text(&event["userAgent"]), text(&event["user"]["username"]));
            // A request is logged at several stages under one id; this one has every request, also a watch that goes on.
            let begun = matches!(
                event["stage"].as_str(),
                Some("RequestReceived" | "ResponseStarted" | "ResponseComplete")
            );
            if begun && wanted(&agent, &user) && seen.insert(text(&event["auditID"])) {
                requests.push((user, text(&event["verb"]), text(&event["requestURI"])));
            }
        }
        Ok(requests)
    }
}
