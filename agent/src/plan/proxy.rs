//! kube-proxy's unit and health.

use std::path::PathBuf;

use super::{Verdict, View, again, bring_up, modes, newest_write, queue, supplied};
use crate::desired::units;
use crate::reason::Reason;

/// Its unit is active, newer than its files, and it says that it is well. Not ours: nothing to do.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    if !view.config.proxy.enabled {
        return Verdict::Satisfied("kube-proxy is not ours (proxy.enabled: false)".to_owned());
    }
    let inputs = units::inputs(units::KUBE_PROXY);
    let written =
        newest_write(view, inputs.iter().map(PathBuf::as_path)).max(supplied::kubeconfig_since(view));
    let next = bring_up(view, units::KUBE_PROXY, written);
    let cleanup = modes::clean_up(view, matches!(next, Some(Verdict::Act(_))));
    // Whatever is in the way of its start: one that runs goes on in the mode it has.
    let change = cleanup.or(next);
    if let Some(Verdict::Act(_)) = change
        && let Some(verdict) =
            modes::in_the_way(view).or_else(|| queue::after_the_kubelet(view, "kube-proxy"))
    {
        return verdict;
    }
    if let Some(verdict) = change {
        return verdict;
    }
    match &view.observed.proxy_health {
        Ok(()) => Verdict::Satisfied("kube-proxy".to_owned()),
        Err(why) => Verdict::Unmet {
            reason: Reason::Unhealthy,
            message: format!("kube-proxy: {why}"),
            until: Some(again(view, units::KUBE_PROXY)),
        },
    }
}
