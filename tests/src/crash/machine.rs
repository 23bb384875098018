//! The machine that joins over and over: held at the start, cut, and looked at after.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{
    Case, Recovery,
    point::{Heard, OnDisk, Point, Progress},
    tracer::{Answer, Tracer},
};
use crate::{
    Artefacts, ControlPlane, Fresh, Node,
    agent::{self, Agent},
    cache,
    process::{Daemon, signal},
    traces::{self, Trace},
    wait_until,
};

const READY_LIMIT: Duration = Duration::from_secs(30);
/// A traced join takes half as long again as one that is not.
const CUT_LIMIT: Duration = Duration::from_secs(15);
const HOLD_LIMIT: Duration = Duration::from_secs(5);

/// Most requests a signer may see of a join that was cut.
const MOST_REQUESTS: usize = 2;

/// The agent reads its configuration first, and stops at a fragment that is a pipe until somebody writes into it.
const GATE: &str = "/etc/kn-agent/config.d/99-gate.yaml";
const START_HELD: &str = r#"
systemctl stop kn-agent.path
cp --recursive --preserve /root/config/. /etc/kn-agent/
mkfifo --mode=600 "$1"
systemctl start --no-block kn-agent.path kn-agent.service
"#;
const START: &str = r"
systemctl stop kn-agent.path
cp --recursive --preserve /root/config/. /etc/kn-agent/
systemctl start --no-block kn-agent.path kn-agent.service
";

/// A step that containerd does as well: its CNI plugin makes the directory when it starts, mostly before a traced agent.
const SHARED_STEP: &str = "make /etc/cni/net.d";
/// containerd does not start while somebody holds this lock; the agent goes on without.
const HOLD: &str = "/run/lab-hold";
const HOLD_DROP_IN: &str = "/etc/systemd/system/containerd.service.d/lab.conf";

/// Prints the agent's temporary files.
const TEMPORARIES: &str = "find /etc /var/lib /run -xdev -path /var/lib/docker -prune -o -path /var/lib/containerd -prune \
    -o -name '*.kn-agent-new' -print";

/// Prints what else must not be after a recovery.
const WRONG: &str = r#"
keys() { find /var/lib/kubelet/pki /var/lib/kube-proxy /var/lib/kn-agent -type f '(' -name '*.key' -o -name '*.pem' ')' "$@"; }
keys ! -perm 600 -printf 'a key with mode %m: %p\n'
[ "$(keys -perm 600 | wc -l)" -ge 2 ] || echo "fewer than two keys"
keys -name '*.key' -printf 'a key without use: %p\n'
plan=$(kn-agent plan) || :
case $plan in 'nothing '*) ;; *) echo "a plan: $plan" ;; esac
restarts=$(systemctl show -P NRestarts kn-agent)
[ "$restarts" = 1 ] || echo "$restarts restarts, expected the one after the kill"
kn-agent status --output json > /dev/null || echo "kn-agent status: exit code $?"
"#;

/// How a join ended that was to be cut.
#[derive(Debug)]
pub(super) enum Cut {
    /// Where it was meant to be; the status document of before, if there was one.
    There { before: Option<String> },
    /// Somewhere else, or not at all: it counts as no try of the agent's.
    Elsewhere(String),
}

/// A control plane with its approver and a machine with the package.
#[derive(Debug)]
pub(super) struct Machine {
    agent: Agent,
    fresh: Fresh,
    node: Node,
    _approver: Daemon,
    control_plane: ControlPlane,
}

impl Machine {
    pub(super) fn start(artefacts: &Artefacts) -> Result<Self> {
        let agent = Agent::from_environment()?;
        let control_plane = ControlPlane::start("crash", artefacts)?;
        let node = Node::boot(control_plane.run(), artefacts, "worker-1")?;
        let (_, approver) = agent.set_up(&control_plane)?;
        agent.install(&node)?;
        node.put(HOLD_DROP_IN, format!("[Service]\nExecStartPre=/usr/bin/flock {HOLD} true\n"), 0o644)?;
        node.exec(&["systemctl", "daemon-reload"])?;
        let fresh = Fresh::of(&node)?;
        agent::configure_lab(&node, &control_plane, "/root/config")?;
        Ok(Self { agent, fresh, node, _approver: approver, control_plane })
    }

    pub(super) fn name(&self) -> &str {
        self.node.name()
    }

    /// The steps of a join that nobody disturbs, as the agent tells them.
    pub(super) fn steps_of_a_join(&self, docker_runs: bool) -> Result<Vec<String>> {
        self.prepare(docker_runs)?;
        self.node.sh(START, &[])?;
        self.wait_ready(None)?;
        let status = self.wait_for_upkeep()?;
        for Trace { what, found, .. } in traces::of(&self.node)? {
            ensure!(!found.is_empty(), "nothing found of {what}: that it is gone later would prove nothing");
        }
        self.restore()?;
        let timeline = status["timeline"].as_array().cloned().unwrap_or_default();
        Ok(timeline.iter().filter_map(|done| done["what"].as_str()).map(str::to_owned).collect())
    }

    /// Joins and kills the agent at the point.
    pub(super) fn cut(&self, case: &Case) -> Result<Cut> {
        self.prepare(case.docker_runs)?;
        let alone = !case.docker_runs && case.point.step == SHARED_STEP;
        // Until the agent is gone.
        let _held = alone.then(|| cache::lock(&self.on_host(HOLD)?)).transpose()?;
        let mut audit = Audit::from_now(&self.control_plane)?;
        self.node.sh(START_HELD, &[GATE])?;
        let pid = wait_until("the agent's start", HOLD_LIMIT, || self.agent())?;
        let port = self.control_plane.port();
        let (attached, when_attached) = mpsc::channel();
        let (ended, when_ended) = mpsc::channel();
        let mut point = case.point.clone();
        thread::scope(|scope| -> Result<Cut> {
            scope.spawn(move || {
                let _ = ended.send(trace(pid, port, &mut point, &mut audit, &attached));
            });
            // What the thread did not get to say, it says with its result.
            if when_attached.recv().is_ok() {
                // The thread ends with the agent.
                self.open_gate().inspect_err(|_| signal(pid, Signal::KILL))?;
            }
            let progress = when_ended.recv_timeout(CUT_LIMIT).unwrap_or_else(|_| {
                signal(pid, Signal::KILL);
                when_ended.recv().context("the tracer ended").flatten().and(Ok(Progress::Before))
            })?;
            let before = self.document();
            let elsewhere = match progress {
                Progress::Before => Some(format!("not reached in {} s", CUT_LIMIT.as_secs())),
                Progress::Overtaken => Some("the step was done without it".to_owned()),
                Progress::Reached => self.check_disk(case.point.on_disk.as_ref())?,
            };
            Ok(elsewhere.map_or(Cut::There { before }, Cut::Elsewhere))
        })
    }

    /// Waits until the restarted agent says Ready, and looks at what it must and must not have left.
    pub(super) fn recover(&self, before: Option<&str>) -> Result<Recovery> {
        let killed = Instant::now();
        self.wait_ready(before)?;
        let ready = killed.elapsed();
        let kubectl = self.control_plane.kubectl()?;
        let condition = kubectl.node_condition(self.name(), "Ready")?;
        ensure!(condition.as_deref() == Some("True"), "the API server says Ready={condition:?}");
        self.wait_for_upkeep()?;
        let left = self.node.sh(TEMPORARIES, &[])?;
        ensure!(left.is_empty(), "temporary files are left: {left}");
        let wrong = self.node.sh(WRONG, &[])?;
        ensure!(wrong.is_empty(), "{}", wrong.trim().replace('\n', "; "));
        let mut requests: BTreeMap<String, usize> = BTreeMap::new();
        for request in kubectl.get(&["csr"])?["items"].as_array().into_iter().flatten() {
            *requests
                .entry(request["spec"]["signerName"].as_str().unwrap_or_default().to_owned())
                .or_default() += 1;
        }
        ensure!(requests.len() >= 2, "requests of {requests:?} alone: the search is wrong");
        ensure!(requests.values().all(|&count| count <= MOST_REQUESTS), "requests a signer: {requests:?}");
        Ok(Recovery { ready, requests })
    }

    /// Back to the start, proven; the time it took.
    pub(super) fn restore(&self) -> Result<Duration> {
        self.fresh.restore(&self.node, &self.control_plane)
    }

    /// A token is good for one key, and each join makes a new one.
    fn prepare(&self, docker_runs: bool) -> Result<()> {
        let configuration = self.agent.configuration(&self.control_plane, &self.node)?;
        self.node.put("/root/config/config.yaml", configuration, 0o600)?;
        if docker_runs {
            self.node.exec(&["systemctl", "start", "docker.service"])?;
        }
        Ok(())
    }

    /// The host's process id of the daemon, once it is one.
    fn agent(&self) -> Result<Option<u32>> {
        let of_node = fs::read_link(format!("/proc/{}/ns/pid", self.node.leader()?))?;
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            // Processes end while we look.
            let Ok(command) = fs::read(path.join("cmdline")) else { continue };
            let here = || fs::read_link(path.join("ns/pid")).is_ok_and(|namespace| namespace == of_node);
            if command == b"/usr/bin/kn-agent\0run\0" && here() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                return Ok(Some(name.parse()?));
            }
        }
        Ok(None)
    }

    /// Lets the agent that waits at the gate go on. The gate goes first: the next start finds none.
    fn open_gate(&self) -> Result<()> {
        let path = self.on_host(GATE)?;
        let mut gate = wait_until("the agent at its gate", HOLD_LIMIT, || {
            // Without a reader at its other end a pipe can't be opened so.
            let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            Ok(File::options().write(true).custom_flags(nonblocking).open(&path).ok())
        })?;
        fs::remove_file(&path)?;
        gate.write_all(b"{}\n")?;
        Ok(())
    }

    /// Whether the kill hit where it should, by what the search for temporary files finds; what it finds otherwise.
    fn check_disk(&self, expected: Option<&OnDisk>) -> Result<Option<String>> {
        let Some(OnDisk { temporary, there }) = expected else { return Ok(None) };
        let found = self.node.sh(TEMPORARIES, &[])?;
        let hit = found.lines().any(|path| path == temporary) == *there;
        Ok((!hit).then(|| format!("`{temporary}`: temporary files after the kill: {found:?}")))
    }

    /// Waits for a document other than that of the daemon that was killed which says Ready.
    fn wait_ready(&self, before: Option<&str>) -> Result<Value> {
        let ready = || {
            let Some(document) = self.document() else { return Ok(None) };
            let status: Value = serde_json::from_str(&document).unwrap_or_default();
            let old = before.map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
            let new = old.is_none_or(|old| old["startedAt"] != status["startedAt"]);
            Ok((new && status["ready"] == true).then_some(status))
        };
        wait_until("the node to be Ready", READY_LIMIT, ready).with_context(|| self.describe())
    }

    /// Waits until what comes after Ready is done, too: the document that says so.
    fn wait_for_upkeep(&self) -> Result<Value> {
        let done = || {
            let status: Value =
                serde_json::from_str(&self.document().unwrap_or_default()).unwrap_or_default();
            let mut phases = status["phases"].as_array().into_iter().flatten();
            let is_done = phases.any(|phase| phase["phase"] == "upkeep" && phase["state"] == "satisfied");
            Ok(is_done.then_some(status))
        };
        wait_until("what was left for after Ready", READY_LIMIT, done).with_context(|| self.describe())
    }

    fn document(&self) -> Option<String> {
        fs::read_to_string(self.on_host("/run/kn-agent/status.json").ok()?).ok()
    }

    /// A file of the node's as the host reaches it.
    fn on_host(&self, path: &str) -> Result<PathBuf> {
        Ok(format!("/proc/{}/root{path}", self.node.leader()?).into())
    }

    fn describe(&self) -> String {
        let log = ["journalctl", "-u", "kn-agent", "-n", "20", "-o", "cat", "--no-pager"];
        let run = |words: &[&str]| self.node.try_exec(words).map(|output| output.stdout).unwrap_or_default();
        format!("{}\n{}", run(&["kn-agent", "status"]), run(&log))
    }
}

fn trace(
    pid: u32,
    port: u16,
    point: &mut Point,
    audit: &mut Audit,
    attached: &mpsc::Sender<()>,
) -> Result<Progress> {
    let mut tracer = Tracer::attach(pid, port)?;
    attached.send(())?;
    let mut progress = Progress::Before;
    tracer.run(|event| {
        progress = point.look(event, &mut |request| audit.has(request))?;
        Ok(Answer::from(progress))
    })?;
    Ok(progress)
}

/// The API server's audit log from some moment on.
#[derive(Debug)]
struct Audit {
    log: File,
    text: String,
}

impl Audit {
    fn from_now(control_plane: &ControlPlane) -> Result<Self> {
        let mut log = File::open(control_plane.audit_log())?;
        log.seek(SeekFrom::End(0))?;
        Ok(Self { log, text: String::new() })
    }

    fn has(&mut self, request: &Heard) -> Result<bool> {
        self.log.read_to_string(&mut self.text)?;
        Ok(self.text.lines().any(|line| request.iter().all(|text| line.contains(text.as_str()))))
    }
}
