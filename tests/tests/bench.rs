//! The benchmark's short form: the same code as `make bench`, fewer rounds, wider limits.

use anyhow::{Result, ensure};
use lab::{Artefacts, Minor, bench};

/// Few rounds on a machine that other tests have just left: the least T may exceed the median F by this much.
const SHORT_RATIO_LIMIT: f64 = 1.3;

/// From the sandbox's being there to READY=1, milliseconds, the least of few rounds. `make bench` asks for 50 on a quiet
/// machine; a slow one without a fault took 53.
const SHORT_READY_LIMIT: f64 = 100.0;

#[test]
fn a_join_is_hardly_slower_than_starting_what_it_starts_and_an_idle_daemon_costs_nothing() -> Result<()> {
    let rounds = bench::Rounds { pairs: 3, kubeadm: 1, idle: 20 };
    let results = bench::measure(&Artefacts::ensure(Minor::V1_36)?, "bench", rounds)?;
    let (least, floor) = (results.agent.quantile(0.0), results.floor.median());
    ensure!(least <= SHORT_RATIO_LIMIT * floor, "T {least:.3} s, F {floor:.3} s");
    let kubeadm = results.kubeadm.median();
    ensure!(least < kubeadm, "T {least:.3} s, kubeadm join {kubeadm:.3} s");
    let own = results.ready_notice.quantile(0.0) - results.cost.sandbox.quantile(0.0);
    ensure!(own <= SHORT_READY_LIMIT, "READY=1 came {own:.1} ms after the sandbox was there");
    let status = results.status.median();
    ensure!(status <= bench::STATUS_LIMIT, "`kn-agent status` takes {status:.1} ms");
    results.ensure_small()
}
