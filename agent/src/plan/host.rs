//! Host: what is written before anything is started.

use std::path::Path;

use super::{Step, Verdict, View, firewall, later, modes, settings, unit};
use crate::desired::address::{self, Chosen, Lack};
use crate::desired::{Desired, FileSpec, firewall as table, kubelet, paths, units};
use crate::reason::Reason;

/// The step that puts a file right; `None` where it is.
pub(super) fn write(view: View<'_>, spec: &FileSpec) -> Result<Option<Step>, Verdict> {
    match view.observed.files.get(&spec.path) {
        Some(Ok(Some(found))) if found.content == spec.content && found.mode == spec.mode => Ok(None),
        Some(Err(failure)) => Err(Verdict::from_failure(failure, Some(later(view.now)))),
        _ => Ok(Some(Step::WriteFile(spec.clone()))),
    }
}

/// Directories the components want to find.
const DIRECTORIES: &[(&str, u32)] =
    &[("/var/lib/kubelet", 0o750), ("/var/lib/kubelet/pki", 0o750), ("/var/lib/kube-proxy", 0o750)];

/// Files are written, systemd has read them, kernel settings are made.
pub(super) fn host(view: View<'_>) -> Verdict {
    let Some(desired) = view.desired else {
        return super::version_unknown(view);
    };
    let address = match address(view) {
        Ok(chosen) => chosen.map_or_else(String::new, |chosen| format!("; address {chosen}")),
        Err(verdict) => return verdict,
    };
    let mut steps = retired(view, desired);
    for spec in &desired.host_files {
        match write(view, spec) {
            Ok(step) => {
                steps.extend(step.as_ref().and_then(|_| modes::note(view, spec)));
                steps.extend(step);
            }
            Err(verdict) => return verdict,
        }
    }
    if !steps.is_empty() {
        // On a joined node preflight holds nothing back, and what is written already stays.
        if let Some(verdict) = settings::refusal(view) {
            return verdict;
        }
        let directories = DIRECTORIES.iter().map(|&(path, mode)| (Path::new(path), mode));
        // Made before anything is in it, so that whoever changes it is noticed from the start.
        let watched = [kubelet::static_pods(view.config), Some(view.config.network.conf_dir.as_path())];
        let directories = directories.chain(watched.into_iter().flatten().map(|path| (path, 0o755)));
        let make = directories.map(|(path, mode)| Step::MakeDirectory { path: path.to_owned(), mode });
        steps.splice(0..0, make);
    }
    // systemd looks for a unit it has not found before as soon as it is spoken of (since 246): a reload, which costs more
    // than everything else here, is needed only where it knows an older file.
    let is_written = |unit: &&str| desired.host_files.iter().any(|file| file.path.ends_with(unit));
    let oneshots: Vec<&str> = units::OPTIONAL.iter().copied().filter(is_written).collect();
    match needs_reload(view, &[&desired.enabled[..], &oneshots].concat()) {
        Ok(true) => steps.push(Step::ReloadSystemd),
        Ok(false) => {}
        Err(verdict) => return verdict,
    }
    match kernel(view, desired.sysctls) {
        Verdict::Act(more) => steps.extend(more),
        Verdict::Satisfied(found) if steps.is_empty() => {
            let done = || Verdict::Satisfied(format!("{found}{address}"));
            return firewall::in_place(view).unwrap_or_else(done);
        }
        other if steps.is_empty() => return other,
        _ => {}
    }
    Verdict::Act(steps)
}

/// Steps for units of ours that are there and not wanted.
fn retired(view: View<'_>, desired: &Desired) -> Vec<Step> {
    let mut steps = Vec::new();
    for &unit in units::OPTIONAL {
        let path = paths::units().join(unit);
        let is_wanted = desired.host_files.iter().any(|file| file.path == path);
        if is_wanted || !matches!(view.observed.files.get(&path), Some(Ok(Some(_)))) {
            continue;
        }
        steps.push(Step::RetireUnit(unit));
        steps.extend(table::leaves(unit).map(|left| Step::RemoveFile(left.to_owned())));
    }
    steps
}

/// Without a way to the API server the node's own address is not known, nor where `node.addressFrom` chooses none: what
/// stands in the kubelet's unit stays, and nothing is restarted for want of a cable or of DHCP.
fn address(view: View<'_>) -> Result<Option<Chosen>, Verdict> {
    let wait = |reason, message| Verdict::Unmet { reason, message, until: Some(later(view.now)) };
    let chosen = address::choose(view.config, &view.observed.facts).map_err(|lack| match lack {
        Lack::Trouble(why) => wait(Reason::NodeAddress, why),
        Lack::NotYet(why) => wait(Reason::ApiUnreachable, why),
    })?;
    let server = &view.config.cluster.server;
    let is_routed = server.address().is_some_and(|address| !address.is_loopback());
    if chosen.is_none() && is_routed {
        let message = format!("there is no route to `{server}`, and node.address is not set");
        return Err(wait(Reason::ApiUnreachable, message));
    }
    Ok(chosen)
}

/// Whether systemd has to read its unit files again for one of `names`, and nobody is making it do so.
pub(super) fn needs_reload(view: View<'_>, names: &[&str]) -> Result<bool, Verdict> {
    let mut reload = false;
    for name in names {
        reload |= unit(view, name)?.needs_reload;
    }
    Ok(reload && !view.observed.under_way.contains(&Step::ReloadSystemd.key()))
}

/// Modules and settings, each through its own oneshot unit: the daemon itself has no such right.
fn kernel(view: View<'_>, wanted: &[(&'static str, &'static str)]) -> Verdict {
    let value = |name| view.observed.sysctls.get(name).and_then(Option::as_deref);
    if let Some((name, _)) = wanted.iter().find(|(name, _)| value(name).is_none()) {
        return oneshot(view, units::MODULES, &format!("the kernel has no setting `{name}`"));
    }
    if let Some((name, value_wanted)) = wanted.iter().find(|(name, wanted)| value(name) != Some(wanted)) {
        let found = value(name).unwrap_or_default();
        return oneshot(view, units::SYSCTL, &format!("`{name}` is {found}, expected {value_wanted}"));
    }
    Verdict::Satisfied(format!("{} kernel settings", wanted.len()))
}

pub(super) fn oneshot(view: View<'_>, name: &'static str, why: &str) -> Verdict {
    match unit(view, name) {
        Err(verdict) => verdict,
        Ok(state) if state.load != "loaded" => {
            Verdict::unmet(Reason::KernelSetting, format!("{why}, and `{name}` is {}", state.load))
        }
        Ok(state) if state.active == "active" => Verdict::Unmet {
            reason: Reason::KernelSetting,
            message: format!("{why}, although `{name}` ran"),
            until: Some(later(view.now)),
        },
        Ok(_) => Verdict::Act(vec![Step::StartUnit(name)]),
    }
}
