//! How long a node takes, measured against the least it could take on the same machine in the same minutes.
//!
//! - **T**: a fresh machine with the package and a configuration, `systemctl start kn-agent`, until the Node is Ready.
//! - **F**, the floor: the same machine with every file, certificate and image in place, the agent stopped,
//!   `systemctl start docker cri-docker kubelet kube-proxy`, until the Node is Ready.
//!
//! - **G**: as F, with the Node object made before, its block of pod addresses given: a kubelet of 1.20 that makes its Node
//!   itself waits ten seconds for that, which the agent avoids.
//!
//! Begin is systemd's own timestamp of the first of these units, end is a watch at the API server that runs on another
//! side of the network. docker is stopped and the Node object is gone before each; the arms alternate on one machine,
//! whose page cache is warm and whose agent remembers nothing.

mod arms;
mod figures;
mod idle;
mod kubeadm;
mod report;
mod sandbox;
mod stages;
mod watch;

use std::path::Path;

use anyhow::{Result, ensure};

use crate::{
    Artefacts, ControlPlane, Minor, Node,
    agent::Agent,
    fresh::Fresh,
    progress::{Steps, detail, say},
};
use arms::Bench;
pub use figures::Series;
pub use stages::Stages;

/// What median T over median F must not exceed.
const RATIO_LIMIT: f64 = 1.15;

/// What the daemon may take by itself to READY=1, milliseconds: the median less that of the sandbox.
const READY_LIMIT: f64 = 50.0;

/// What an idle daemon may take of a processor, milliseconds a second: one that looked once a second took ten, one that
/// waits takes a fifth of one.
const IDLE_LIMIT: u64 = 3;

/// Most that `kn-agent status` may take, milliseconds.
pub const STATUS_LIMIT: f64 = 20.0;

/// Most requests that a join may make.
const REQUESTS_LIMIT: f64 = 15.0;

/// Most bytes that the program may have.
const SIZE_LIMIT: u64 = 12 << 20;

/// Seconds of looking at an idle daemon on every version after the first.
const IDLE_AGAIN: u64 = 60;

/// How much is measured. The defaults are what the evidence is made of.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Rounds {
    /// Pairs of T and F
    #[arg(long, default_value_t = 20)]
    pub pairs: u32,
    /// Joins by kubeadm, on the newest version only
    #[arg(long, default_value_t = 5)]
    pub kubeadm: u32,
    /// Seconds of looking at an idle daemon
    #[arg(long, default_value_t = 600)]
    pub idle: u64,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Results {
    /// What the kubelet says it is.
    pub version: String,
    /// T, seconds.
    pub agent: Series,
    /// F, seconds.
    pub floor: Series,
    /// G, seconds.
    pub registered_floor: Series,
    /// When T, F and G begin what they start one after the other, and when it is up.
    pub stages: [Stages; 3],
    /// `kubeadm join` with docker and cri-dockerd started by the same command, seconds.
    pub kubeadm: Series,
    /// From the daemon's start to `READY=1`, milliseconds.
    pub ready_notice: Series,
    /// What the sandbox has to do with that.
    pub cost: sandbox::Cost,
    /// Requests of a join, from the daemon's start to its Ready.
    pub requests: Series,
    /// Bytes of the program as it is installed.
    pub size: u64,
    /// `kn-agent status`, milliseconds.
    pub status: Series,
    /// The idle daemon.
    pub idle: idle::Idle,
    /// Where the time of the median T went.
    pub timeline: String,
}

impl Results {
    /// Median T over median F, and over median G.
    pub fn ratios(&self) -> (f64, f64) {
        let median = self.agent.median();
        (median / self.floor.median(), median / self.registered_floor.median())
    }

    /// Fails where the program, or what it asks of the API server, is larger than allowed.
    pub fn ensure_small(&self) -> Result<()> {
        let (least, requests, size) = (self.requests.quantile(0.0), self.requests.quantile(1.0), self.size);
        ensure!(least >= 1.0, "a join made no request: the search in the audit log finds nothing");
        ensure!(requests <= REQUESTS_LIMIT, "a join made {requests} requests, at most {REQUESTS_LIMIT}");
        ensure!(size > 0 && size <= SIZE_LIMIT, "the program has {size} bytes, at most {SIZE_LIMIT}");
        self.idle.ensure_small()
    }
}

/// Measures, saying each figure as it comes.
pub fn measure(artefacts: &Artefacts, name: &str, rounds: Rounds) -> Result<Results> {
    let agent = Agent::from_environment()?;
    let mut steps = Steps::new();
    let mut results = Results { version: artefacts.kubernetes().version()?, ..Results::default() };
    steps.step(format_args!("a cluster and a machine, {}", results.version));
    let control_plane = ControlPlane::start(name, artefacts)?;
    let (_, approver) = agent.set_up(&control_plane)?;
    let node = Node::boot(control_plane.run(), artefacts, "worker-1")?;
    agent.install(&node)?;
    results.size =
        node.exec(&["stat", "--dereference", "--format=%s", "/usr/bin/kn-agent"])?.trim().parse()?;
    let fresh = Fresh::of(&node)?;
    let bench = Bench { control_plane: &control_plane, node: &node, agent: &agent, fresh: &fresh };

    steps.step("one join that does not count: it fills the page cache");
    bench.join()?;
    bench.restore()?;

    steps.step(format_args!("{} pairs of T and F, seconds", rounds.pairs));
    pairs(&bench, rounds.pairs, &mut results)?;

    if rounds.kubeadm > 0 {
        steps.step("beside it: kubeadm join, seconds");
        let kubeadm = kubeadm::Kubeadm::prepare(&bench)?;
        for _ in 0..rounds.kubeadm {
            let seconds = kubeadm.join(&bench)?;
            detail(format_args!("     {seconds:.3}"));
            results.kubeadm.push(seconds);
            bench.restore()?;
        }
    }

    steps.step("where the time of the median T went");
    detail(&results.timeline);

    steps.step(format_args!("a joined node left alone for {} s", rounds.idle));
    bench.join()?;
    results.status = idle::status_command(&node)?;
    results.idle = idle::watch(&control_plane, &node, rounds.idle)?;
    detail(results.idle.to_string());
    // Last: the daemon that joined has the counters of what it wrote.
    results.cost = sandbox::cost(&node)?;
    drop(approver);
    Ok(results)
}

/// T, F and G by turns.
fn pairs(bench: &Bench<'_>, count: u32, results: &mut Results) -> Result<()> {
    let mut timelines = Vec::new();
    for pair in 1..=count {
        let joined = bench.join()?;
        let (floor, registered) = (bench.floor()?, bench.registered_floor()?);
        bench.restore()?;
        let [t, f, g] = [joined.timed.seconds, floor.seconds, registered.seconds];
        detail(format_args!("{pair:>3}  T {t:.3}  F {f:.3}  G {g:.3}  T/F {:.3}  T/G {:.3}", t / f, t / g));
        timelines.push((t, joined.timeline));
        results.agent.push(t);
        results.ready_notice.push(joined.ready_notice_ms);
        results.requests.push(f64::from(u32::try_from(joined.requests)?));
        results.floor.push(f);
        results.registered_floor.push(g);
        for (stages, timed) in results.stages.iter_mut().zip([&joined.timed, &floor, &registered]) {
            stages.push(&timed.stages);
        }
    }
    timelines.sort_by(|a, b| a.0.total_cmp(&b.0));
    results.timeline = timelines.swap_remove(timelines.len() / 2).1;
    let (to_floor, to_registered) = results.ratios();
    detail(format_args!("median T/F {to_floor:.3}, T/G {to_registered:.3}"));
    Ok(())
}

/// Measures each of `versions` and writes the evidence to `path`.
pub fn run(versions: &[Minor], rounds: Rounds, path: &Path) -> Result<()> {
    let mut results = Vec::new();
    for &minor in versions {
        let kubeadm = if minor == Minor::V1_36 { rounds.kubeadm } else { 0 };
        // What an idle daemon does has nothing to do with the cluster's version: one long look is enough.
        let idle = if results.is_empty() { rounds.idle } else { rounds.idle.min(IDLE_AGAIN) };
        results.push(measure(&Artefacts::ensure(minor)?, "bench", Rounds { kubeadm, idle, ..rounds })?);
        report::write(&results, path)?;
    }
    for result in &results {
        let (to_floor, _) = result.ratios();
        ensure!(to_floor <= RATIO_LIMIT, "{}: T/F is {to_floor:.3}, at most {RATIO_LIMIT}", result.version);
        let own = result.ready_notice.median() - result.cost.sandbox.median();
        result.ensure_small()?;
        let status = result.status.median();
        ensure!(status <= STATUS_LIMIT, "`kn-agent status` takes {status:.1} ms, at most {STATUS_LIMIT}");
        ensure!(own <= READY_LIMIT, "{}: READY=1 after {own:.1} ms, at most {READY_LIMIT}", result.version);
    }
    say(format_args!("written: {}", path.display()));
    Ok(())
}
