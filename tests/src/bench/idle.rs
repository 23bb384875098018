//! What a daemon costs that has nothing to do.

use std::{fmt, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{IDLE_LIMIT, Series};
use crate::{ControlPlane, Node};

/// How often `kn-agent status` is run.
const STATUS_RUNS: u32 = 30;

/// After Ready the kubelet still settles, and the agent tells of it: its serving certificate, its first lease.
const AFTER_READY: Duration = Duration::from_secs(10);

/// Most that it may hold in memory, KiB.
const RESIDENT_LIMIT: u64 = 15 * 1024;

/// Most requests that it may make, on the average.
const REQUESTS_A_MINUTE: u64 = 2;

/// An idle daemon over some time.
#[derive(Debug, Default)]
pub struct Idle {
    /// How long it was looked at, seconds.
    pub seconds: u64,
    /// Resident memory at the end, KiB.
    pub resident_kib: u64,
    /// Its highest so far, the join included, KiB.
    pub peak_kib: u64,
    /// Bytes written to disks.
    pub written: u64,
    /// Bytes written to disks by the join, which shows that the counter counts.
    pub written_before: u64,
    /// Requests to the API server.
    pub requests: usize,
    /// Requests of the join, which show that they are counted.
    pub requests_before: usize,
    /// Processor time, milliseconds.
    pub processor_ms: u64,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} s: {} KiB resident (peak {}), {} bytes written ({} before), {} requests ({} before), {} ms of processor",
            self.seconds,
            self.resident_kib,
            self.peak_kib,
            self.written,
            self.written_before,
            self.requests,
            self.requests_before,
            self.processor_ms
        )
    }
}

impl Idle {
    /// Fails where it is larger than a daemon may be that has nothing to do.
    pub fn ensure_small(&self) -> Result<()> {
        ensure!(self.resident_kib <= RESIDENT_LIMIT, "more than {RESIDENT_LIMIT} KiB: {self}");
        ensure!(self.written == 0, "it writes: {self}");
        // A watch that is renewed every 200 s may fall into a short time once.
        let requests = (self.seconds * REQUESTS_A_MINUTE / 60).max(1);
        ensure!(self.requests as u64 <= requests, "more than {requests} requests: {self}");
        ensure!(self.processor_ms <= IDLE_LIMIT * self.seconds, "more than {IDLE_LIMIT} ms a second: {self}");
        Ok(())
    }
}

/// Looks at the daemon of a joined node for `seconds`.
pub(super) fn watch(control_plane: &ControlPlane, node: &Node, seconds: u64) -> Result<Idle> {
    thread::sleep(AFTER_READY);
    let pid = node.exec(&["systemctl", "show", "-P", "MainPID", "kn-agent.service"])?.trim().to_owned();
    let before = Counters::read(control_plane, node, &pid)?;
    ensure!(before.written > 0, "a join wrote nothing: the counter does not count");
    ensure!(before.requests > 0, "a join made no request: the search in the audit log finds nothing");
    thread::sleep(Duration::from_secs(seconds));
    let after = Counters::read(control_plane, node, &pid)?;
    Ok(Idle {
        seconds,
        resident_kib: after.resident_kib,
        peak_kib: after.peak_kib,
        written: after.written - before.written,
        written_before: before.written,
        requests: after.requests - before.requests,
        requests_before: before.requests,
        processor_ms: after.processor_ms - before.processor_ms,
    })
}

struct Counters {
    resident_kib: u64,
    peak_kib: u64,
    written: u64,
    requests: usize,
    processor_ms: u64,
}

impl Counters {
    fn read(control_plane: &ControlPlane, node: &Node, pid: &str) -> Result<Self> {
        let status = node.exec(&["cat", &format!("/proc/{pid}/status")])?;
        let io = node.exec(&["cat", &format!("/proc/{pid}/io")])?;
        let stat = node.exec(&["cat", &format!("/proc/{pid}/stat")])?;
        let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Self {
            resident_kib: field(&status, "VmRSS:")?,
            peak_kib: field(&status, "VmHWM:")?,
            written: field(&io, "write_bytes:")?,
            requests: requests(control_plane)?,
            // USER_HZ is 100 on every architecture that Linux has.
            processor_ms: ticks * 10,
        })
    }
}

fn field(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let number = value.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("no number after {name}"))
}

/// Requests by agents on nodes in the audit log; the approver's, from the host, go by another user.
pub(super) fn requests(control_plane: &ControlPlane) -> Result<usize> {
    let mut ids = std::collections::BTreeSet::new();
    let log = fs::read_to_string(control_plane.audit_log())?;
    // What is behind the last end of a line is still being written.
    let (whole, _) = log.rsplit_once('\n').unwrap_or_default();
    for line in whole.lines() {
        let event: Value = serde_json::from_str(line)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let user = text(&event["user"]["username"]);
        if text(&event["userAgent"]).starts_with("kn-agent/") && user.starts_with("system:") {
            ids.insert(text(&event["auditID"]));
        }
    }
    Ok(ids.len())
}

/// Milliseconds that `kn-agent status` takes, its process' start included; measured by the node's own shell.
pub(super) fn status_command(node: &Node) -> Result<Series> {
    let script = format!(
        "for i in $(seq {STATUS_RUNS}); do a=$(date +%s%N); kn-agent status > /dev/null; b=$(date +%s%N); echo $((b - a)); done"
    );
    let mut series = Series::default();
    for line in node.exec(&["sh", "-c", &script])?.lines() {
        let nanoseconds: u32 = line.parse()?;
        series.push(f64::from(nanoseconds) / 1e6);
    }
    Ok(series)
}
