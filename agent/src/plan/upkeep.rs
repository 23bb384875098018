//! What a join need not wait for.

use std::net::SocketAddr;

use super::{Step, Verdict, View, firewall, host, supplied, unit};
use crate::desired::units;
use crate::observe::access::READ_ONLY;
use crate::reason::Reason;

/// Units start at boot, the engine has its drop-in, and systemd knows of both.
///
/// Enabling a unit makes a reload due for every unit, and for a tenth of a second of it PID 1 answers nobody: both come
/// when the node is Ready. A boot before that starts the agent, which starts the rest. The drop-in counts from the
/// engine's next start on.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let Some(desired) = view.desired else { return super::version_unknown(view) };
    let mut steps = Vec::new();
    match host::write(view, &desired.engine_drop_in) {
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
    match host::needs_reload(view, &desired.enabled) {
        Err(verdict) => return verdict,
        Ok(reload) if reload || !steps.is_empty() => steps.push(Step::ReloadSystemd),
        Ok(_) => {}
    }
    // After the reload, which must not be late: systemd then sets the limits of its units' cgroups anew, also of one that the
    // kubelet has bounded by what is reserved, some seconds after its start.
    if steps.is_empty() {
        match firewall::port_4194(view) {
            Ok(more) => steps.extend(more),
            Err(verdict) => return verdict,
        }
    }
    if !steps.is_empty() {
        return Verdict::Act(steps);
    }
    let told = open_to_strangers(view).map(|why| Verdict::unmet(Reason::KubeletOpen, why));
    let told = told.or_else(|| proxy_twice(view).map(|why| Verdict::unmet(Reason::ProxyTwice, why)));
    told.or_else(|| supplied::expiring(view)).unwrap_or_else(|| {
        Verdict::Satisfied(format!("{} units start at boot{}", desired.enabled.len(), access(view)))
    })
}

/// What a stranger may do with the kubelet. Its configuration is ours and closed; a drop-in of its unit can open it again.
fn open_to_strangers(view: View<'_>) -> Option<String> {
    let access = view.observed.access.as_ref()?.as_ref().ok()?;
    let (at, status) = (access.at, access.status);
    let mut open = Vec::new();
    if status != 401 {
        let whom = if status == 403 {
            "lets strangers in and only then looks at what they may"
        } else {
            "answers strangers"
        };
        open.push(format!("the kubelet at {at} {whom} (HTTP {status} without credentials, expected 401)"));
    }
    if access.has_read_only_port {
        let port = SocketAddr::new(at.ip(), READ_ONLY);
        open.push(format!("something listens at {port}, the kubelet's port without authentication"));
    }
    (!open.is_empty()).then(|| open.join("; "))
}

/// How the kubelet turned a stranger away.
fn access(view: View<'_>) -> String {
    match &view.observed.access {
        Some(Ok(access)) => format!("; the kubelet at {} turns strangers away", access.at),
        Some(Err(why)) => format!("; whether the kubelet turns strangers away is not known: {why}"),
        None => String::new(),
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
