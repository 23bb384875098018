//! The pod network, as far as it is the node's.

mod others;

pub(super) use others::tunnels;

use super::preflight::is_ignored;
use super::{Verdict, View, bring_up, host, later, newest_write, queue};
use crate::config::NetworkPlugin;
use crate::desired::{cni, paths, units};
use crate::observe::cni::Conf;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

/// The Node's block of pod addresses.
fn pod_cidr(view: View<'_>) -> Option<String> {
    match &view.observed.watched.node {
        Some(Ok(Seen::Present(node))) => node.spec.as_ref()?.pod_cidr.clone(),
        _ => None,
    }
}

/// While a configuration of ours is still to be written, what reads it only every 5 s is not started.
pub(super) fn conf_pending(view: View<'_>) -> Option<Verdict> {
    if view.config.network.plugin != NetworkPlugin::Bridge {
        return None;
    }
    let written = matches!(view.observed.files.get(&cni::bridge_path(view.config)), Some(Ok(Some(_))));
    (!written).then(|| {
        Verdict::unmet(Reason::CniPending, "what reads the bridge configuration starts when it is written")
    })
}

/// Plugins are there and a configuration that will be used.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    match view.config.network.plugin {
        NetworkPlugin::Bridge => bridge(view),
        plugin => others::verdict(view, plugin),
    }
}

/// Programs that must be on the node before the network comes.
pub(super) fn lacking(view: View<'_>) -> Option<String> {
    let missing = &view.observed.cni.missing;
    let dir = crate::desired::cni_bin_dir(view.config, &view.observed.facts);
    (!missing.is_empty()).then(|| format!("`{}` lacks {}", dir.display(), missing.join(", ")))
}

/// Another configuration that would be used instead of the one that is wanted. One that hands on to the next is meant to
/// be first, and one of ours is taken away.
pub(super) fn conflict(view: View<'_>) -> Option<String> {
    let confs = view.observed.cni.confs.as_ref().ok()?;
    let wanted = match cni::of_others(view.config.network.plugin) {
        Some((usual, plugin)) => {
            others::of(confs, plugin).map_or(usual, |conf| conf.file.as_str()).to_owned()
        }
        None if view.config.network.plugin == NetworkPlugin::None => return None,
        None => cni::bridge_path(view.config).file_name()?.to_str()?.to_owned(),
    };
    let is_meant =
        |conf: &Conf| conf.network.as_ref().is_ok_and(|network| network.is_forerunner() || network.is_ours());
    let first = confs.iter().find(|conf| !is_meant(conf)).filter(|first| first.file < wanted)?;
    let path = view.config.network.conf_dir.join(&first.file);
    Some(format!("`{}` sorts before `{wanted}` and would win", path.display()))
}

/// The configuration a runtime takes, where it is none that a runtime can work with; for `check`.
pub(super) fn programs(view: View<'_>) -> Result<String, (Reason, String)> {
    let directory = view.config.network.conf_dir.display();
    let confs = match &view.observed.cni.confs {
        Ok(confs) => confs,
        Err(failure) => return Err((failure.reason, failure.message.clone())),
    };
    let Some(first) = confs.first() else { return Ok(format!("no configuration in `{directory}` yet")) };
    if let Some(wrong) = others::unusable(view, first) {
        return Err(wrong);
    }
    let later = confs.iter().skip(1).filter_map(|conf| others::unusable(view, conf)).map(|(_, why)| why);
    let later: Vec<String> = later.collect();
    let note = if later.is_empty() { String::new() } else { format!("; not used: {}", later.join("; ")) };
    Ok(format!("`{}` has its programs{note}", first.file))
}

/// Whoever installs a program gives no signal.
fn plugin_missing(view: View<'_>, message: String) -> Verdict {
    Verdict::Unmet { reason: Reason::CniPluginMissing, message, until: Some(later(view.now)) }
}

fn bridge(view: View<'_>) -> Verdict {
    if let Err(failure) = &view.observed.cni.confs {
        return Verdict::from_failure(failure, None);
    }
    if let Some(why) = lacking(view).filter(|_| !is_ignored(view, "cni-plugins")) {
        return plugin_missing(view, why);
    }
    if let Some(why) = conflict(view).filter(|_| !is_ignored(view, "cni-conf")) {
        return Verdict::unmet(Reason::CniConflict, why);
    }
    let Some(pod_cidr) = pod_cidr(view) else {
        return Verdict::unmet(Reason::PodCidrMissing, "the Node has no podCIDR yet");
    };
    match host::write(view, &cni::bridge(view.config, &pod_cidr)) {
        Ok(Some(step)) => Verdict::Act(vec![step]),
        // After the configuration, which others wait for.
        Ok(None) => {
            forwarded(view).unwrap_or_else(|| Verdict::Satisfied(format!("bridge, pods from {pod_cidr}")))
        }
        Err(verdict) => verdict,
    }
}

/// Pod traffic passes; `None` where it does, or others see to it.
fn forwarded(view: View<'_>) -> Option<Verdict> {
    let unit = paths::units().join(units::FORWARD);
    view.desired?.host_files.iter().find(|file| file.path == unit)?;
    let next = bring_up(view, units::FORWARD, newest_write(view, [unit.as_path()]))?;
    Some(queue::after_the_kubelet(view, "what lets pod traffic pass").unwrap_or(next))
}
