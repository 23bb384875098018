//! The agent's own way to start units, against the systemd of a node: every end a job can have, and jobs whose end nobody
//! hears of.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kn_agent::ports::systemd::Systemd;
use lab::{Artefacts, Minor, Node, Run};

/// No job of these takes longer by itself: the slowest has a second to say that it is ready.
const LIMIT: Duration = Duration::from_secs(5);

/// How often systemd reads its unit files again, at once after each other.
const RELOADS: &str = "40";

const UNITS: [(&str, &str); 7] = [
    ("lab-good", "[Service]\nExecStart=/bin/sleep infinity\n"),
    ("lab-false", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo so it ends >&2; exit 7'\n"),
    ("lab-silent", "[Service]\nType=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep infinity\n"),
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

#[test]
fn every_end_of_a_job_is_told_and_none_is_waited_for_in_vain() -> Result<()> {
    let run = Run::start("lab-jobs")?;
    let node = Node::boot(&run, &Artefacts::ensure(Minor::V1_36)?, "worker-1")?;
    for (name, text) in UNITS {
        node.put(&format!("/etc/systemd/system/{name}.service"), text, 0o644)?;
    }
    node.exec(&["ln", "-s", "/dev/null", "/etc/systemd/system/lab-masked.service"])?;
    node.exec(&["systemctl", "enable", "--quiet", "lab-unmet.service"])?;
    node.exec(&["systemctl", "daemon-reload"])?;
    // The node's bus is a socket of its file system, which the host reaches through its PID 1.
    let bus = format!("unix:path=/proc/{}/root/run/dbus/system_bus_socket", node.leader()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let systemd = runtime
        .block_on(Systemd::connect(Some(&bus)))
        .map_err(|failure| anyhow::anyhow!("{}", failure.message))?;

    for (unit, expected) in ENDS {
        let begun = Instant::now();
        let ended = runtime.block_on(systemd.start(unit, false));
        ensure!(begun.elapsed() < LIMIT, "{unit}: {:?}", begun.elapsed());
        let message = ended.err().map(|failure| failure.message);
        let told = match (expected, &message) {
            (None, None) => true,
            (Some(words), Some(message)) => message.contains(words),
            _ => false,
        };
        ensure!(told, "{unit}: expected {expected:?}, found {message:?}");
    }

    // A reload drops jobs' ends on the floor now and then: the state is read again, and nothing hangs.
    let mut reloads = node.command(&[
        "sh",
        "-c",
        "for i in $(seq $1); do systemctl daemon-reload; done",
        "reload",
        RELOADS,
    ])?;
    let reloading = thread::spawn(move || reloads.status());
    let mut starts = 0;
    while !reloading.is_finished() {
        let begun = Instant::now();
        let ended = runtime.block_on(systemd.start("lab-good.service", true));
        ensure!(ended.is_ok(), "start {starts}: {ended:?}");
        ensure!(begun.elapsed() < LIMIT, "start {starts} took {:?}", begun.elapsed());
        starts += 1;
    }
    let status = reloading.join().ok().context("the reloads' thread panicked")??;
    ensure!(status.success() && starts >= 10, "{starts} starts beside the reloads ({status})");
    connections_are_made_beside_a_flood_of_changes(&node, &runtime, &bus)
}

/// Signals that nobody reads yet once held up the answer that a new connection waits for.
fn connections_are_made_beside_a_flood_of_changes(
    node: &Node,
    runtime: &tokio::runtime::Runtime,
    bus: &str,
) -> Result<()> {
    const FLOOD: &str = "for i in $(seq 20); do systemctl start --no-block lab-many@{1..40}.service; \
        systemctl stop --no-block lab-many@{1..40}.service; done";
    node.put(
        "/etc/systemd/system/lab-many@.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
        0o644,
    )?;
    node.exec(&["systemctl", "daemon-reload"])?;
    let mut flood = node.command(&["bash", "-c", FLOOD])?;
    let flooding = thread::spawn(move || flood.status());
    let mut connections = 0;
    while !flooding.is_finished() {
        let begun = Instant::now();
        let signals = runtime
            .block_on(async { Systemd::connect(Some(bus)).await?.signals(&["lab-good.service"]).await });
        ensure!(signals.is_ok(), "connection {connections}: {signals:?}");
        ensure!(begun.elapsed() < LIMIT, "connection {connections} took {:?}", begun.elapsed());
        connections += 1;
    }
    let status = flooding.join().ok().context("the flood's thread panicked")??;
    ensure!(status.success() && connections >= 10, "{connections} connections ({status})");
    Ok(())
}
