//! kube-proxy's mode: what it needs of this machine, and what the one before it left.

use super::host::{self, oneshot};
use super::preflight::{self, Found};
use super::{Step, Verdict, View, later};
use crate::config::ProxyMode;
use crate::desired::modes::{self, Module};
use crate::desired::{FileSpec, paths, units};
use crate::reason::Reason;

/// The name of the check.
pub(super) const CHECK: &str = "proxy-mode";

/// Whether this machine has what the mode needs, as far as can be seen without trying.
pub(super) fn check(view: View<'_>) -> Found {
    let (mode, means) = (view.config.proxy.mode, &view.observed.facts.modes);
    match modes::lacking(mode, means) {
        Some(lacking) => Err((Reason::ProxyModeUnsupported, lacking)),
        None if mode == ProxyMode::Ipvs && means.ipvs != Module::Present => {
            Ok("ipvs; the kernel's `ip_vs` is loaded before kube-proxy starts".to_owned())
        }
        None => Ok(mode.as_str().to_owned()),
    }
}

/// Before kube-proxy is given another mode, the one it has is noted where somebody has to clean up after it: from then on
/// nothing else tells.
pub(super) fn note(view: View<'_>, spec: &FileSpec) -> Option<Step> {
    if spec.path != paths::proxy_config() {
        return None;
    }
    let before = found(view, paths::proxy_config())?;
    let (left, wanted) = (modes::mode_in(before), view.config.proxy.mode);
    let note = modes::left(left);
    let is_due = left != wanted && !cleans_itself(view, left);
    let is_noted = found(view, paths::proxy_left()).is_some_and(|noted| noted == note.content);
    (is_due && !is_noted).then_some(Step::WriteFile(note))
}

/// What is in the way of kube-proxy's start; `None`: nothing.
pub(super) fn in_the_way(view: View<'_>) -> Option<Verdict> {
    if let Err((reason, message)) = check(view)
        && !preflight::is_ignored(view, CHECK)
    {
        return Some(Verdict::Unmet { reason, message, until: Some(later(view.now)) });
    }
    let has_ipvs =
        view.observed.facts.modes.ipvs == Module::Present || view.config.proxy.mode != ProxyMode::Ipvs;
    (!has_ipvs).then(|| oneshot(view, units::MODULES, "the kernel has no `ip_vs`"))
}

/// What the mode before left is taken away: where it was noted, or, before kube-proxy is started, where ipvs' interface
/// shows that there was one. What could not be taken away is not tried for ever.
pub(super) fn clean_up(view: View<'_>, starts: bool) -> Option<Verdict> {
    let run = Step::StartUnit(units::PROXY_CLEANUP);
    let is_noted = found(view, paths::proxy_left()).is_some();
    let has_device = view.observed.facts.modes.has_ipvs_device;
    let is_left =
        has_device && view.config.proxy.mode != ProxyMode::Ipvs && !cleans_itself(view, ProxyMode::Ipvs);
    let was_tried = view.observed.attempts.contains_key(&run.key());
    let is_due = is_noted || (is_left && starts && !was_tried);
    if !is_due {
        return None;
    }
    let unit = modes::cleanup_unit(&view.observed.facts)?;
    let path = unit.path.clone();
    let mut steps = match host::write(view, &unit) {
        Ok(write) => Vec::from_iter(write),
        Err(verdict) => return Some(verdict),
    };
    steps.extend([Step::ReloadSystemd, run, Step::RemoveFile(path)]);
    if is_noted {
        steps.push(Step::RemoveFile(paths::proxy_left().to_owned()));
    }
    Some(Verdict::Act(steps))
}

fn cleans_itself(view: View<'_>, left: ProxyMode) -> bool {
    let facts = &view.observed.facts;
    let version = facts.proxy.version.or(facts.kubelet.version);
    version.is_some_and(|version| modes::cleans_itself(version, left, view.config.proxy.mode))
}

fn found<'a>(view: View<'a>, path: &std::path::Path) -> Option<&'a [u8]> {
    Some(view.observed.files.get(path)?.as_ref().ok()?.as_ref()?.content.as_slice())
}
