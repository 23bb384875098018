//! Who reaches this node's ports, and units of ours that nobody wants any more.

use std::net::IpAddr;

use super::preflight::is_ignored;
use super::{Step, Verdict, View, bring_up, host, later, newest_write};
use crate::config::Config;
use crate::desired::{firewall, units};
use crate::observe::active_since;
use crate::observe::facts::SEARCHED;
use crate::reason::Reason;

/// The kubelet's port where its configuration has none (`pkg/cluster/ports/ports.go` of Kubernetes).
const KUBELET: u64 = 10_250;

/// The name of the check.
pub(super) const CHECK: &str = "firewall";

/// Whether the table can be loaded.
pub(super) fn check(view: View<'_>) -> Result<String, (Reason, String)> {
    match &view.observed.facts.nft {
        Some(nft) => {
            let ports = view.config.firewall.restrict.len();
            let shut_out = shut_out(view.config).unwrap_or_default();
            Ok(format!("{ports} ports restricted, by {}{shut_out}", nft.display()))
        }
        None => Err((
            Reason::BinaryMissing,
            format!(
                "firewall.restrict needs the program `nft`, which is in none of {}; install it (Debian: nftables)",
                SEARCHED.join(", ")
            ),
        )),
    }
}

/// What is to be known where the API server is not among those who reach the kubelet. No fault: it may come from another
/// address than the one that it is reached at.
fn shut_out(config: &Config) -> Option<String> {
    let server: IpAddr = config.cluster.server.host().parse().ok()?;
    let port = config.kubelet.config.get("port").and_then(serde_json::Value::as_u64).unwrap_or(KUBELET);
    let mut restrictions = config.firewall.restrict.iter();
    let of_kubelet = restrictions.find(|restriction| u64::from(restriction.port) == port)?;
    let is_allowed = of_kubelet.allow.iter().any(|network| network.contains(server));
    (!is_allowed).then(|| {
        format!(
            "; the API server's {server} is not among those who reach {port}: kubectl logs and exec fail, unless it \
             comes from another address"
        )
    })
}

/// What keeps the host from being ready to start anything: a port that is to be closed and is not. `None`: nothing.
pub(super) fn in_place(view: View<'_>) -> Option<Verdict> {
    if view.config.firewall.restrict.is_empty() {
        return None;
    }
    if let Err((reason, message)) = check(view) {
        let verdict = Verdict::Unmet { reason, message, until: Some(later(view.now)) };
        return (!is_ignored(view, CHECK)).then_some(verdict);
    }
    if let Some(step) = taken_away(view) {
        return Some(Verdict::Act(vec![step]));
    }
    let inputs = units::inputs(units::FIREWALL);
    bring_up(view, units::FIREWALL, newest_write(view, inputs.iter().map(std::path::PathBuf::as_path)))
}

/// Loads the table again after another unit took it away: one that starts with the other is told by systemd (`PartOf=`),
/// but not when that one starts for the first time.
fn taken_away(view: View<'_>) -> Option<Step> {
    let since = |unit| active_since(&view.observed.units, unit);
    let other = since(units::NFTABLES)?;
    // One from the future says that the clock was set back, and would ask for a restart until it is reached.
    let now = u64::try_from(view.now.as_microsecond()).ok()?;
    (since(units::FIREWALL)? < other && other <= now).then(|| Step::RestartUnit {
        unit: units::FIREWALL,
        because: format!("{} started after it, and takes every table away", units::NFTABLES),
    })
}

/// Rules for port 4194 that an older kubelet's unit left are taken away once, when the node is Ready: nothing waits for it.
pub(super) fn port_4194(view: View<'_>) -> Result<Vec<Step>, Verdict> {
    let note = firewall::port_4194_note();
    if matches!(view.observed.files.get(&note.path), Some(Ok(Some(_)))) {
        return Ok(Vec::new());
    }
    let Some(unit) = firewall::port_4194_unit(&view.observed.facts) else { return Ok(Vec::new()) };
    let path = unit.path.clone();
    let mut steps = Vec::from_iter(host::write(view, &unit)?);
    steps.extend([Step::StartUnit(units::PORT_4194), Step::RemoveFile(path)]);
    steps.extend(host::write(view, &note)?);
    Ok(steps)
}
