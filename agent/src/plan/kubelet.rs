//! The kubelet's unit and health.

use std::path::PathBuf;

use super::{Step, Verdict, View, again, bring_up, network, newest_write, supplied};
use crate::desired::dns::{self, ClusterDns};
use crate::desired::{Interface, units};
use crate::reason::Reason;

/// Its unit is active, newer than its files, and it says that it is well.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    // Where no shim waits for the configuration the kubelet does, which looks only every 5 s: it loads it itself with
    // dockershim, and asks containerd whether that has.
    let shim = view.desired.is_some_and(|desired| desired.interface == Interface::CriDockerd);
    if let Some(verdict) = (!shim).then(|| network::conf_pending(view)).flatten() {
        return verdict;
    }
    if let Some(verdict) = dns_pending(view) {
        return verdict;
    }
    let inputs = units::inputs(units::KUBELET);
    let written = newest_write(view, inputs.iter().map(PathBuf::as_path)).max(supplied::served_since(view));
    if let Some(verdict) = bring_up(view, units::KUBELET, written) {
        return verdict;
    }
    match &view.observed.kubelet_health {
        Ok(()) => {
            let version = view.observed.facts.kubelet.version.map(|v| v.to_string()).unwrap_or_default();
            Verdict::Satisfied(format!("kubelet {version}{}", without_dns(view)))
        }
        Err(why) => Verdict::Unmet {
            reason: Reason::Unhealthy,
            message: format!("kubelet: {why}"),
            until: Some(again(view, units::KUBELET)),
        },
    }
}

/// The step that starts it, where that alone is missing.
pub(super) fn to_start(view: View<'_>) -> Option<Step> {
    let start = Step::StartUnit(units::KUBELET);
    (verdict(view) == Verdict::Act(vec![start.clone()])).then_some(start)
}

/// A kubelet that starts for the first time is not told twice what its pods resolve with: that would restart it. One of a
/// joined node starts with what it has, also while nobody answers.
fn dns_pending(view: View<'_>) -> Option<Verdict> {
    let is_unknown = view.observed.facts.cluster_dns == ClusterDns::Unknown && dns::is_asked(view.config);
    let message = || format!("asking the API server for the Service {}/{}", dns::NAMESPACE, dns::SERVICE);
    (is_unknown && !view.may_have_pods()).then(|| Verdict::unmet(Reason::Unobservable, message()))
}

/// What is to be said of pods that find no Service by its name.
fn without_dns(view: View<'_>) -> String {
    let is_absent = view.observed.facts.cluster_dns == ClusterDns::Absent && dns::is_asked(view.config);
    if is_absent {
        format!(
            "; pods resolve as the node does: no Service {}/{}, no cluster.dns.address",
            dns::NAMESPACE,
            dns::SERVICE
        )
    } else {
        String::new()
    }
}
