//! How fast the approver is, against a real API server, and against a loop that approves without a look.
//!
//! - **Steady**: requests are sent at a fixed rate, whatever becomes of them; latency is from the moment a request is
//!   sent until a watch at the API server shows it approved. A third each: a first client certificate with a token of its
//!   own, a serving certificate, kube-proxy's.
//! - **Burst**: as many as there are at once.
//! - **Restart**: they all wait when the approver starts.
//! - **Bare**: they all wait, and a loop approves them, as many at a time as the approver decides, with the administrator's
//!   credential and without a look. What a second of it brings is what the API server can take.
//!
//! Restart and bare alternate; the ratio is of their rates from the first approval to the last.

mod load;
mod report;

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Artefacts, ControlPlane, Minor, agent,
    bench::Series,
    progress::{Steps, detail},
    requests::Approver,
    say,
};
use load::Load;

/// The 99th percentile of the steady latency, milliseconds, at most.
const LATENCY_LIMIT: f64 = 250.0;

/// The approver's rate over the bare loop's, at least.
const RATIO_LIMIT: f64 = 0.8;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How long the steady rate is kept.
    pub steady: Duration,
    /// Requests at once, and in each of restart and bare.
    pub burst: usize,
    /// Pairs of restart and bare.
    pub pairs: usize,
}

impl Extent {
    /// As much as fits among other tests.
    pub const SHORT: Self = Self { steady: Duration::from_secs(4), burst: 200, pairs: 1 };
    /// What the evidence is made of.
    pub const FULL: Self = Self { steady: Duration::from_mins(1), burst: 500, pairs: 5 };
}

/// What was measured on one version.
#[derive(Debug, Default)]
pub struct Results {
    /// What the kubelet says it is.
    pub version: String,
    /// Latencies at the steady rate, milliseconds.
    pub steady: Series,
    /// Of these, from the moment the watch showed the request, milliseconds.
    pub seen: Series,
    /// How many the burst was of.
    pub burst: usize,
    /// Seconds from the burst's first request until all were sent.
    pub burst_sent: f64,
    /// Seconds from the burst's first request until all were approved.
    pub burst_approved: f64,
    /// Seconds from the start of the approver until all that waited were approved.
    pub restart: Series,
    /// Approvals a second by the approver, from the first to the last.
    pub approver_rate: Series,
    /// Approvals a second by the bare loop.
    pub bare_rate: Series,
}

impl Results {
    /// The approver's rate over the bare loop's, medians.
    pub fn ratio(&self) -> f64 {
        self.approver_rate.median() / self.bare_rate.median()
    }
}

/// Measures one version.
pub fn measure(minor: Minor, name: &str, extent: Extent) -> Result<Results> {
    let artefacts = Artefacts::ensure(minor)?;
    let mut steps = Steps::new();
    let mut results =
        Results { version: artefacts.kubernetes().version()?, burst: extent.burst, ..Results::default() };
    steps.step(format_args!("a control plane, {}", results.version));
    let control_plane = ControlPlane::start(name, &artefacts)?;
    let program = agent::program()?;
    let mut approver = Approver::set_up(&control_plane, program.clone())?;
    approver.restart()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let load = Load::prepare(&control_plane, program).await.context("cannot prepare the load")?;
        steps.step(format_args!("{} requests a second for {} s", load::RATE, extent.steady.as_secs()));
        let latencies = load.steady(extent.steady).await?;
        for (from_sending, from_seeing) in latencies {
            results.steady.push(from_sending);
            results.seen.push(from_seeing);
        }
        detail(format_args!(
            "median {:.0} ms, 99 % {:.0} ms, most {:.0} ms",
            results.steady.median(),
            results.steady.quantile(0.99),
            results.steady.quantile(1.0)
        ));
        load.clear().await?;
        steps.step(format_args!("{} requests at once", extent.burst));
        (results.burst_sent, results.burst_approved) = load.burst(extent.burst).await?;
        detail(format_args!(
            "all sent after {:.2} s, all approved after {:.2} s",
            results.burst_sent, results.burst_approved
        ));
        load.clear().await?;
        steps.step(format_args!("{} requests wait: the approver and the bare loop, a second", extent.burst));
        for _ in 0..extent.pairs {
            pair(&load, &mut approver, extent.burst, &mut results).await?;
        }
        detail(format_args!("median ratio {:.2}", results.ratio()));
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(results)
}

async fn pair(
    load: &Load<'_>,
    approver: &mut Approver<'_>,
    count: usize,
    results: &mut Results,
) -> Result<()> {
    approver.stop();
    let waiting = load.pending(count).await?;
    let begin = std::time::Instant::now();
    approver.restart()?;
    let times = load.approved(&waiting).await?;
    let restart = times.last.duration_since(begin).as_secs_f64();
    let rate = times.rate(count);
    approver.stop();
    load.clear().await?;
    let waiting = load.pending(count).await?;
    let bare = load.approve_all(&waiting).await?.rate(count);
    load.clear().await?;
    detail(format_args!("approver {rate:.0}, bare {bare:.0}, all approved {restart:.2} s after its start"));
    results.restart.push(restart);
    results.approver_rate.push(rate);
    results.bare_rate.push(bare);
    Ok(())
}

/// Fails where a limit is not kept.
pub fn judge(results: &Results) -> Result<()> {
    let (latency, ratio) = (results.steady.quantile(0.99), results.ratio());
    ensure!(
        latency <= LATENCY_LIMIT,
        "{}: 99 % within {latency:.0} ms, at most {LATENCY_LIMIT}",
        results.version
    );
    ensure!(
        ratio >= RATIO_LIMIT,
        "{}: {ratio:.2} of the bare loop's rate, at least {RATIO_LIMIT}",
        results.version
    );
    Ok(())
}

/// Measures each of `versions` and writes the evidence to `path`.
pub fn run(versions: &[Minor], extent: Extent, path: &Path) -> Result<()> {
    let results: Vec<Results> =
        versions.iter().map(|minor| measure(*minor, "approver-bench", extent)).collect::<Result<_>>()?;
    report::write(&results, path)?;
    say(format_args!("written: {}", path.display()));
    results.iter().try_for_each(judge)
}
