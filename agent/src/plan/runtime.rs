//! What the kubelet talks to: containerd, docker through its CRI shim, or docker through the kubelet's own dockershim.

use std::path::PathBuf;

use super::preflight::is_ignored;
use super::{Step, Verdict, View, again, bring_up, images, network, newest_write};
use crate::desired::versions::Behaviour;
use crate::desired::{Interface, engine, units};
use crate::observe::runtime::Info;
use crate::reason::Reason;

/// The shim runs where one is needed, both sides speak one language and use one cgroup driver, and the sandbox image is
/// on the node.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let Some(desired) = view.desired else { return super::version_unknown(view) };
    if let Some(verdict) = images::loaded(view) {
        return verdict;
    }
    if let Some(verdict) = (desired.interface == Interface::CriDockerd).then(|| shim(view)).flatten() {
        return verdict;
    }
    engine_fits(view)
}

/// What the engine is, it may be for this kubelet: its driver, its language, and the sandbox image.
pub(super) fn engine_fits(view: View<'_>) -> Verdict {
    let Some(desired) = view.desired else { return super::version_unknown(view) };
    let name = engine::name(view.config.runtime.kind);
    let info = match &view.observed.engine.info {
        Ok(info) => info,
        Err(failure) => return Verdict::from_failure(failure, None),
    };
    if let Some(verdict) =
        (desired.interface == Interface::Containerd).then(|| language(view, info)).flatten()
    {
        return verdict;
    }
    if info.cgroup_driver != desired.kubelet_cgroup_driver && !is_ignored(view, "cgroup-driver") {
        return Verdict::unmet(
            Reason::CgroupDriverMismatch,
            format!(
                "{name} uses the cgroup driver {}, the kubelet would use {}",
                info.cgroup_driver, desired.kubelet_cgroup_driver
            ),
        );
    }
    if !view.observed.engine.has_sandbox_image && !is_ignored(view, "sandbox-image") {
        return Verdict::Unmet {
            reason: Reason::SandboxImageMissing,
            message: format!(
                "the pod sandbox image `{}` is not on this node",
                view.config.runtime.sandbox_image
            ),
            until: Some(super::later(view.now)),
        };
    }
    Verdict::Satisfied(format!("{name} {}, cgroup driver {}", info.version, info.cgroup_driver))
}

/// An old kubelet speaks what containerd 2 has forgotten, and would only say that the service is unknown.
fn language(view: View<'_>, info: &Info) -> Option<Verdict> {
    let kubelet = view.observed.facts.kubelet.version?;
    let understood = Behaviour::RuntimeV1.holds(kubelet) || info.speaks_v1alpha2;
    (!understood).then(|| {
        Verdict::unmet(
            Reason::CriMissing,
            format!("kubelet {kubelet} speaks runtime.v1alpha2, which containerd {} does not", info.version),
        )
    })
}

/// The step that starts the CRI shim, where that alone is missing of it.
pub(super) fn shim_to_start(view: View<'_>) -> Option<Step> {
    let start = Step::StartUnit(units::CRI_DOCKERD);
    let is_next = images::loaded(view).is_none() && shim(view) == Some(Verdict::Act(vec![start.clone()]));
    is_next.then_some(start)
}

/// The CRI shim runs; where the bridge configuration is ours, only once that is written.
fn shim(view: View<'_>) -> Option<Verdict> {
    if let Some(verdict) = network::conf_pending(view) {
        return Some(verdict);
    }
    let inputs = units::inputs(units::CRI_DOCKERD);
    let written = newest_write(view, inputs.iter().map(PathBuf::as_path));
    if let Some(verdict) = bring_up(view, units::CRI_DOCKERD, written) {
        return Some(verdict);
    }
    let silent = view.observed.engine.shim.as_ref().err()?;
    Some(Verdict::from_failure(silent, Some(again(view, units::CRI_DOCKERD))))
}
