//! The agent's own way to start units, against the systemd of a node: every end a job can have, and jobs whose end nobody
//! hears of.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kn_agent::ports::systemd::Systemd;
use lab::{Artefacts, Minor, Node, Run};

use crate::scenario::deaf_bus::DeafBus;

/// No job of these takes longer by itself: the slowest has a second to say that it is ready.
const LIMIT: Duration = Duration::from_secs(5);

/// Starts beside reloads; the long form's, which `make test-jobs` asks for, on each systemd.
const STARTS: [usize; 2] = [30, 1000];

/// While this is there systemd reads its unit files again and again, at once after each other.
const RELOADING: &str = "/run/lab-reloading";

const UNITS: [(&str, &str); 8] = [
    ("lab-good", "[Service]\nExecStart=/bin/sleep infinity\n"),
    ("lab-false", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 7'\n"),
    ("lab-silent", "[Service]\nType=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep infinity\n"),
    ("lab-slow", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 0.7\n"),
    (
        "lab-dependent",
        "[Unit]\nRequires=lab-false.service\nAfter=lab-false.service\n[Service]\nExecStart=/bin/sleep infinity\n",
    ),
    (
        "lab-unmet",
        "[Unit]\nConditionPathExists=!/\n[Service]\nExecStart=/bin/sleep infinity\n\
         [Install]\nWantedBy=multi-user.target\n",
    ),
    ("lab-over", "[Unit]\nConditionPathExists=/\n[Service]\nType=oneshot\nExecStart=/bin/true\n"),
    ("lab-orphan", "[Unit]\nRequires=lab-nowhere.service\n[Service]\nExecStart=/bin/sleep infinity\n"),
];

/// What is started, and what the failure must say; nothing where it must succeed.
const ENDS: [(&str, Option<&str>); 8] = [
    ("lab-good.service", None),
    ("lab-false.service", Some("exit status 7")),
    ("lab-silent.service", Some("did not start: job result failed, unit failed")),
    ("lab-dependent.service", Some("job result dependency")),
    ("lab-orphan.service", Some("lab-nowhere.service not found")),
    ("lab-masked.service", Some("masked")),
    ("lab-unmet.service", Some("was not started: ConditionPathExists=!/ is not met")),
    ("lab-over.service", None),
];

/// A machine's systemd, and the agent's way to it.
struct Bus {
    node: Node,
    runtime: tokio::runtime::Runtime,
    address: String,
    systemd: Systemd,
    _run: std::sync::Arc<Run>,
}

#[test]
fn every_end_of_a_job_is_told_and_none_is_waited_for_in_vain() -> Result<()> {
    let evidence = std::env::var_os("KN_AGENT_LAB_JOBS");
    let bus = Bus::start("lab-jobs", Minor::V1_36)?;
    bus.every_end_is_told()?;
    bus.ends_that_nobody_hears_of_are_found_out()?;
    let mut rows = bus.none_is_waited_for_in_vain(STARTS[usize::from(evidence.is_some())])?;
    bus.connections_are_made_beside_a_flood_of_changes()?;
    let Some(path) = evidence else { return Ok(()) };
    drop(bus);
    rows += &Bus::start("lab-jobs", Minor::V1_20)?.none_is_waited_for_in_vain(STARTS[1])?;
    let head = lab::provenance::head("Starts beside reloads of systemd", "make test-jobs")?;
    let text = format!(
        "{head}. systemd reads its unit files again and again, at once after each other; beside that the agent restarts a \
         unit and waits for the job's end. No start may take more than {} s.\n\n| systemd | starts | reloads meanwhile | \
         median, ms | slowest, ms |\n|---|---|---|---|---|\n{rows}",
        LIMIT.as_secs()
    );
    std::fs::write(path, text).context("the record")
}

fn connect(runtime: &tokio::runtime::Runtime, address: &str) -> Result<Systemd> {
    runtime
        .block_on(Systemd::connect(Some(address)))
        .map_err(|failure| anyhow::anyhow!("{}", failure.message))
}

impl Bus {
    fn start(name: &str, minor: Minor) -> Result<Self> {
        let run = Run::start(name)?;
        let node = Node::boot(&run, &Artefacts::ensure(minor)?, "worker-1")?;
        for (name, text) in UNITS {
            node.put(&format!("/etc/systemd/system/{name}.service"), text, 0o644)?;
        }
        node.exec(&["ln", "-s", "/dev/null", "/etc/systemd/system/lab-masked.service"])?;
        node.exec(&["systemctl", "enable", "--quiet", "lab-unmet.service"])?;
        node.exec(&["systemctl", "daemon-reload"])?;
        // The node's bus is a socket of its file system, which the host reaches through its PID 1.
        let address = format!("unix:path=/proc/{}/root/run/dbus/system_bus_socket", node.leader()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let systemd = connect(&runtime, &address)?;
        Ok(Self { node, runtime, address, systemd, _run: run })
    }

    fn every_end_is_told(&self) -> Result<()> {
        for (unit, expected) in ENDS {
            let begun = Instant::now();
            let ended = self.runtime.block_on(self.systemd.start(unit, false));
            ensure!(begun.elapsed() < LIMIT, "{unit}: {:?}", begun.elapsed());
            let message = ended.err().map(|failure| failure.message);
            let told = match (expected, &message) {
                (None, None) => true,
                (Some(words), Some(message)) => message.contains(words),
                _ => false,
            };
            ensure!(told, "{unit}: expected {expected:?}, found {message:?}");
        }
        self.a_unit_on_its_way_is_waited_for()
    }

    /// One that comes up, one that does not, and one that nobody starts.
    fn a_unit_on_its_way_is_waited_for(&self) -> Result<()> {
        let awaited = |unit: &'static str| {
            let begun = Instant::now();
            let ended = self.runtime.block_on(self.systemd.await_up(unit));
            (ended.map_err(|failure| failure.message), begun.elapsed())
        };
        self.node.exec(&["systemctl", "start", "--no-block", "lab-slow.service", "lab-silent.service"])?;
        let (ended, took) = awaited("lab-slow.service");
        ensure!(ended.is_ok() && took > Duration::from_millis(300) && took < LIMIT, "{ended:?} {took:?}");
        let (ended, took) = awaited("lab-silent.service");
        ensure!(took < LIMIT && ended.is_err_and(|why| why.contains("did not come up")), "{took:?}");
        let (ended, took) = awaited("lab-good.service");
        ensure!(
            ended.is_ok() && took < Duration::from_secs(1),
            "what runs was waited for: {ended:?} {took:?}"
        );
        let (ended, took) = awaited("lab-masked.service");
        ensure!(ended.is_err() && took < Duration::from_secs(1), "{ended:?} {took:?}");
        Ok(())
    }

    /// Every signal of an end is lost: what became of the unit is asked for, and told as it is.
    fn ends_that_nobody_hears_of_are_found_out(&self) -> Result<()> {
        let deaf = DeafBus::start(&self.node)?;
        let systemd = connect(&self.runtime, &deaf.address)?;
        for (unit, restart, expected) in [
            ("lab-good.service", true, None),
            ("lab-slow.service", true, None),
            ("lab-false.service", false, Some("exit status 7")),
        ] {
            let (begun, before) = (Instant::now(), deaf.swallowed());
            let ended = self.runtime.block_on(systemd.start(unit, restart));
            let message = ended.err().map(|failure| failure.message);
            ensure!(begun.elapsed() < LIMIT, "{unit}: {message:?} after {:?}", begun.elapsed());
            let told =
                message.as_deref().is_none_or(|message| expected.is_some_and(|why| message.contains(why)));
            ensure!(told && message.is_some() == expected.is_some(), "{unit}: {message:?}");
            ensure!(deaf.swallowed() > before, "{unit}: no signal was lost");
        }
        Ok(())
    }

    /// A reload drops jobs' ends on the floor now and then: the state is read again, and nothing hangs. A row of the record.
    fn none_is_waited_for_in_vain(&self, starts: usize) -> Result<String> {
        const RELOADS: &str = "n=0; while [ -e $1 ]; do systemctl daemon-reload; n=$((n + 1)); done; echo $n";
        self.node.put(RELOADING, "", 0o644)?;
        let mut reloads = self.node.command(&["sh", "-c", RELOADS, "reload", RELOADING])?;
        let reloading = thread::spawn(move || reloads.output());
        let mut took = Vec::with_capacity(starts);
        let all_started = (0..starts).try_for_each(|start| {
            let begun = Instant::now();
            let ended = self.runtime.block_on(self.systemd.start("lab-good.service", true));
            ensure!(ended.is_ok(), "start {start}: {ended:?}");
            ensure!(begun.elapsed() < LIMIT, "start {start} took {:?}", begun.elapsed());
            took.push(begun.elapsed());
            Ok(())
        });
        self.node.exec(&["rm", RELOADING])?;
        let reloads = reloading.join().ok().context("the reloads' thread panicked")??;
        all_started?;
        let reloads: usize = String::from_utf8(reloads.stdout)?.trim().parse()?;
        ensure!(reloads >= 10, "{reloads} reloads beside {starts} starts");
        took.sort_unstable();
        let ms = |took: Option<&Duration>| took.map_or(0, Duration::as_millis);
        let systemd = self.node.exec(&["systemctl", "--version"])?;
        let version = systemd.split_whitespace().nth(1).context("no version")?;
        let (median, slowest) = (ms(took.get(starts / 2)), ms(took.last()));
        lab::say(format_args!("systemd {version}: {starts} starts, {reloads} reloads, slowest {slowest} ms"));
        Ok(format!("| {version} | {starts} | {reloads} | {median} | {slowest} |\n"))
    }

    /// Signals that nobody reads yet once held up the answer that a new connection waits for.
    fn connections_are_made_beside_a_flood_of_changes(&self) -> Result<()> {
        const FLOOD: &str = "for i in $(seq 20); do systemctl start --no-block lab-many@{1..40}.service; \
        systemctl stop --no-block lab-many@{1..40}.service; done";
        self.node.put(
            "/etc/systemd/system/lab-many@.service",
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
            0o644,
        )?;
        self.node.exec(&["systemctl", "daemon-reload"])?;
        let mut flood = self.node.command(&["bash", "-c", FLOOD])?;
        let flooding = thread::spawn(move || flood.status());
        let mut connections = 0;
        while !flooding.is_finished() {
            let begun = Instant::now();
            let signals = self.runtime.block_on(async {
                Systemd::connect(Some(&self.address)).await?.signals(&["lab-good.service"]).await
            });
            ensure!(signals.is_ok(), "connection {connections}: {signals:?}");
            ensure!(begun.elapsed() < LIMIT, "connection {connections} took {:?}", begun.elapsed());
            connections += 1;
        }
        let status = flooding.join().ok().context("the flood's thread panicked")??;
        ensure!(status.success() && connections >= 10, "{connections} connections ({status})");
        Ok(())
    }
}
