//! The pod network, as far as it is the node's.

use super::preflight::is_ignored;
use super::{Verdict, View, files};
use crate::config::NetworkPlugin;
use crate::desired::cni;
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
        Verdict::waiting(Reason::CniPending, "what reads the bridge configuration starts when it is written")
    })
}

/// Plugins are there and a configuration that will be used.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let confs = match &view.observed.cni_confs {
        Ok(confs) => confs,
        Err(failure) => return Verdict::from_failure(failure, None),
    };
    if view.config.network.plugin != NetworkPlugin::Bridge {
        return match confs.first() {
            Some(first) => Verdict::Satisfied(format!("CNI configuration {first}")),
            None => Verdict::Waiting {
                reason: Reason::CniMissing,
                message: format!("no CNI configuration in `{}` yet", view.config.network.conf_dir.display()),
                until: Some(super::later(view.now)),
            },
        };
    }
    bridge(view)
}

/// Another configuration that would be used instead of ours, where ours is wanted.
pub(super) fn conflict(view: View<'_>) -> Option<String> {
    let ours = cni::bridge_path(view.config);
    let our_name = ours.file_name()?.to_str()?;
    let first = view.observed.cni_confs.as_ref().ok()?.first().filter(|first| first.as_str() < our_name)?;
    let path = view.config.network.conf_dir.join(first);
    Some(format!("`{}` sorts before `{our_name}` and would win", path.display()))
}

fn bridge(view: View<'_>) -> Verdict {
    if !view.observed.missing_cni_plugins.is_empty() && !is_ignored(view, "cni-plugins") {
        let dir = crate::desired::cni_bin_dir(view.config, &view.observed.facts);
        return Verdict::blocked(
            Reason::CniPluginMissing,
            format!("`{}` lacks {}", dir.display(), view.observed.missing_cni_plugins.join(", ")),
        );
    }
    if let Some(why) = conflict(view).filter(|_| !is_ignored(view, "cni-conf")) {
        return Verdict::blocked(Reason::CniConflict, why);
    }
    let Some(pod_cidr) = pod_cidr(view) else {
        return Verdict::waiting(Reason::PodCidrMissing, "the Node has no podCIDR yet");
    };
    match files::write(view, &cni::bridge(view.config, &pod_cidr)) {
        Ok(Some(step)) => Verdict::Act(vec![step]),
        Ok(None) => Verdict::Satisfied(format!("bridge, pods from {pod_cidr}")),
        Err(verdict) => verdict,
    }
}
