//! What a join need not wait for.

use super::{Step, Verdict, View, files, supplied, unit};
use crate::desired::units;
use crate::reason::Reason;

/// Units start at boot, the engine has its drop-in, and systemd knows of both.
///
/// Enabling a unit makes a reload due for every unit, and for a tenth of a second of it PID 1 answers nobody: both come
/// when the node is Ready. A boot before that starts the agent, which starts the rest. The drop-in counts from the
/// engine's next start on.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let Some(desired) = view.desired else { return super::version_unknown(view) };
    let mut steps = Vec::new();
    match files::write(view, &desired.engine_drop_in) {
        Ok(step) => steps.extend(step),
        Err(verdict) => return verdict,
    }
    let mut disabled = Vec::new();
    for &name in &desired.enabled {
        match unit(view, name) {
            // What is static, an alias or generated can't be enabled.
            Ok(state) if matches!(state.enabled.as_str(), "disabled" | "enabled-runtime" | "") => {
                disabled.push(name);
            }
            Ok(_) => {}
            Err(verdict) => return verdict,
        }
    }
    if !disabled.is_empty() {
        steps.push(Step::EnableUnits(disabled));
    }
    match files::needs_reload(view, &desired.enabled) {
        Err(verdict) => return verdict,
        Ok(reload) if reload || !steps.is_empty() => steps.push(Step::ReloadSystemd),
        Ok(_) => {}
    }
    if !steps.is_empty() {
        return Verdict::Act(steps);
    }
    match (proxy_twice(view), supplied::expiring(view)) {
        (Some(why), _) => Verdict::blocked(Reason::ProxyTwice, why),
        (None, Some(expiring)) => expiring,
        (None, None) => Verdict::Satisfied(format!("{} units start at boot", desired.enabled.len())),
    }
}

/// Two kube-proxies undo each other's rules now and then, and the node is as Ready as with one: it is told here, where
/// nothing is held back by it.
fn proxy_twice(view: View<'_>) -> Option<String> {
    let others: Vec<String> = view
        .observed
        .other_proxies
        .iter()
        .map(|proxy| format!("process {} in `{}`", proxy.pid, proxy.cgroup))
        .collect();
    let ours = units::KUBE_PROXY;
    (!others.is_empty()).then(|| format!("beside `{ours}` runs another kube-proxy: {}", others.join(", ")))
}
