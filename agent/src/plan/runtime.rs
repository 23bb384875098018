//! docker and its CRI shim.

use super::{Verdict, View, bring_up, files, network, newest_write, soon};
use crate::desired::{DaemonJson, paths, units};
use crate::reason::Reason;

/// The runtime answers, agrees on the cgroup driver, holds the sandbox image, and its shim runs.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let Some(desired) = view.desired else { return Verdict::Held };
    if let DaemonJson::Broken(why) = &view.observed.facts.daemon_json {
        return Verdict::blocked(Reason::FileTrouble, why.clone());
    }
    if let Some(spec) = &desired.daemon_json {
        match files::write(view, spec) {
            Ok(Some(step)) => return Verdict::Act(vec![step]),
            Ok(None) => {}
            Err(verdict) => return verdict,
        }
    }
    if let Some(verdict) = docker(view) {
        return verdict;
    }
    let docker = &view.observed.docker;
    let driver = match &docker.cgroup_driver {
        Ok(driver) => driver,
        Err(failure) => {
            return Verdict::Waiting {
                reason: failure.reason,
                message: failure.message.clone(),
                until: Some(soon(view.now)),
            };
        }
    };
    let kubelets = view
        .config
        .kubelet
        .config
        .get("cgroupDriver")
        .and_then(|v| v.as_str())
        .unwrap_or(&desired.cgroup_driver);
    if driver != kubelets {
        return Verdict::blocked(
            Reason::CgroupDriverMismatch,
            format!("docker uses the cgroup driver {driver}, the kubelet would use {kubelets}"),
        );
    }
    if !docker.has_sandbox_image {
        return Verdict::Waiting {
            reason: Reason::SandboxImageMissing,
            message: format!(
                "the pod sandbox image `{}` is not on this node",
                view.config.runtime.sandbox_image
            ),
            until: Some(super::later(view.now)),
        };
    }
    if let Some(verdict) = desired.cri_dockerd.then(|| shim(view)).flatten() {
        return verdict;
    }
    Verdict::Satisfied(format!("docker {}, cgroup driver {driver}", docker.version))
}

/// The CRI shim runs; where the bridge configuration is ours, only once that is written.
fn shim(view: View<'_>) -> Option<Verdict> {
    if let Some(verdict) = network::conf_pending(view) {
        return Some(verdict);
    }
    let unit_file = paths::units().join(units::CRI_DOCKERD);
    if let Some(verdict) = bring_up(view, units::CRI_DOCKERD, newest_write(view, [unit_file.as_path()])) {
        return Some(verdict);
    }
    (!view.observed.docker.has_cri_socket).then(|| Verdict::Waiting {
        reason: Reason::RuntimeUnresponsive,
        message: "cri-dockerd has not made its socket yet".to_owned(),
        until: Some(soon(view.now)),
    })
}

/// docker is restarted for its configuration only while this machine is no node yet: later that would hit pods.
fn docker(view: View<'_>) -> Option<Verdict> {
    let joined = matches!(view.observed.files.get(paths::joined()), Some(Ok(Some(_))));
    let written = if joined { 0 } else { newest_write(view, [paths::daemon_json()]) };
    bring_up(view, units::DOCKER, written)
}
