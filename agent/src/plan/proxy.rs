//! kube-proxy's unit and health.

use super::{Verdict, View, bring_up, newest_write, soon};
use crate::desired::{paths, units};
use crate::reason::Reason;

/// Its unit is active, newer than its files, and it says that it is well. Not ours: nothing to do.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    if !view.config.proxy.enabled {
        return Verdict::Satisfied("kube-proxy is not ours (proxy.enabled: false)".to_owned());
    }
    let unit_file = paths::units().join(units::KUBE_PROXY);
    let inputs = [unit_file.as_path(), paths::proxy_config(), paths::proxy_kubeconfig()];
    if let Some(verdict) = bring_up(view, units::KUBE_PROXY, newest_write(view, inputs)) {
        return verdict;
    }
    match &view.observed.proxy_health {
        Ok(()) => Verdict::Satisfied("kube-proxy".to_owned()),
        Err(why) => Verdict::Waiting {
            reason: Reason::Unhealthy,
            message: format!("kube-proxy: {why}"),
            until: Some(soon(view.now)),
        },
    }
}
