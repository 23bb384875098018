//! What the sandbox of the daemon's unit costs by itself: systemd counts it from the fork on, before the program runs.

use anyhow::Result;

use super::Series;
use crate::Node;

const RUNS: u32 = 10;

/// The shipped unit around `/bin/true`: what belongs to a daemon is left out, every line of the sandbox stays.
const SCRIPT: &str = r#"
unit=/run/systemd/system/kn-agent-box.service
sed -e 's/^Type=.*/Type=oneshot\nRemainAfterExit=yes/; s/^ExecStart=.*/ExecStart=\/bin\/true/' \
    -e '/^WatchdogSec/d; /^Restart/d; /^Condition/d; /^RuntimeDirectory/d; /^StateDirectory/d' \
    "$(systemctl show -P FragmentPath kn-agent.service)" > $unit
systemctl daemon-reload
for run in $(seq "$1"); do
    systemctl restart kn-agent-box
    a=$(systemctl show -P ExecMainStartTimestampMonotonic kn-agent-box)
    b=$(systemctl show -P ExecMainExitTimestampMonotonic kn-agent-box)
    echo $((b - a))
done
systemctl stop kn-agent-box
rm $unit
systemctl daemon-reload
"#;

/// Milliseconds from systemd's start of `/bin/true` in that sandbox to its end.
pub(super) fn cost(node: &Node) -> Result<Series> {
    let mut series = Series::default();
    for line in node.sh(SCRIPT, &[&RUNS.to_string()])?.lines() {
        series.push(f64::from(line.parse::<u32>()?) / 1000.0);
    }
    Ok(series)
}
