//! What systemd and the sandbox of the daemon's unit cost by themselves: systemd counts from the fork on, long before the
//! program runs.

use anyhow::{Context as _, Result, bail, ensure};

use super::Series;
use crate::Node;

const RUNS: u32 = 20;

/// In turn: a unit of nothing but `/bin/true`; the shipped unit around `/bin/true`, of which every line of the sandbox
/// stays; the shipped unit around the daemon, of which no line of the sandbox does: `plain`, `box` and `bare`, each from
/// systemd's start of the program to its end or its READY=1, in microseconds.
const SCRIPT: &str = r#"
set -e
shipped=$(systemctl show -P FragmentPath kn-agent.service)
box=/run/systemd/system/kn-agent-box.service
bare=/run/systemd/system/kn-agent.service
plain=/run/systemd/system/kn-agent-plain.service
printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n' > $plain
sed -e 's/^Type=.*/Type=oneshot\nRemainAfterExit=yes/; s/^ExecStart=.*/ExecStart=\/bin\/true/' \
    -e '/^WatchdogSec/d; /^Restart/d; /^Condition/d; /^RuntimeDirectory/d; /^StateDirectory/d' "$shipped" > $box
sed -e '/^CapabilityBoundingSet=/,/^DevicePolicy=/d' "$shipped" > $bare
if grep -E '^(Protect|Private|RestrictN|SystemCall|NoNew|MemoryDeny)' $bare >&2; then exit 1; fi
systemctl daemon-reload
for run in $(seq "$1"); do
    for unit in "plain kn-agent-plain ExecMainExit" "box kn-agent-box ExecMainExit" "bare kn-agent ActiveEnter"; do
        set -- $unit
        systemctl restart $2
        a=$(systemctl show -P ExecMainStartTimestampMonotonic $2)
        b=$(systemctl show -P $3TimestampMonotonic $2)
        echo $1 $((b - a))
    done
done
systemctl stop kn-agent-box kn-agent-plain
rm $plain $box $bare
systemctl daemon-reload
systemctl restart kn-agent
"#;

/// What systemd and the sandbox cost, and how fast the daemon is without the sandbox, milliseconds.
#[derive(Debug, Default)]
pub struct Cost {
    /// `/bin/true`, to its end.
    pub plain: Series,
    /// `/bin/true` in the sandbox, to its end.
    pub sandbox: Series,
    /// The daemon without it, to READY=1.
    pub bare: Series,
}

/// Measures all on a node where the daemon runs; it runs as shipped again afterwards.
pub(super) fn cost(node: &Node) -> Result<Cost> {
    let mut cost = Cost::default();
    for line in node.sh(SCRIPT, &[&RUNS.to_string()])?.lines() {
        let (kind, time) = line.split_once(' ').context("a line without its time")?;
        let series = match kind {
            "plain" => &mut cost.plain,
            "box" => &mut cost.sandbox,
            "bare" => &mut cost.bare,
            other => bail!("`{other}` was not measured"),
        };
        series.push(f64::from(time.parse::<u32>()?) / 1000.0);
    }
    let runs = RUNS as usize;
    let all = [&cost.plain, &cost.sandbox, &cost.bare].map(|series| series.values().len());
    ensure!(all == [runs; 3], "not {RUNS} of each");
    Ok(cost)
}
