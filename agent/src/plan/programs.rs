//! Programs: they are there, can be executed, and are of a version that is known here.

use std::path::Path;

use super::preflight::Found;
use super::{Verdict, View};
use crate::desired::{Program, versions};
use crate::observe::facts::SEARCHED;
use crate::reason::Reason;

/// The kubelet has told its version; whether it fits is one of the checks.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    match view.observed.facts.kubelet.version {
        Some(version) => Verdict::Satisfied(format!("kubelet {version}")),
        None => super::version_unknown(view),
    }
}

/// The kubelet, as found.
pub(super) fn kubelet(view: View<'_>) -> Found {
    check(view, "kubelet", &view.observed.facts.kubelet, view.config.kubelet.binary.as_deref())
}

/// kube-proxy, as found.
pub(super) fn proxy(view: View<'_>) -> Found {
    check(view, "kube-proxy", &view.observed.facts.proxy, view.config.proxy.component.binary.as_deref())
}

/// cri-dockerd, as found; it is not asked for its version.
pub(super) fn cri_dockerd(view: View<'_>) -> Found {
    let configured = view.config.runtime.cri_dockerd.as_deref();
    let path = view.observed.facts.cri_dockerd.as_ref().map(|path| path.display().to_string());
    path.ok_or_else(|| (Reason::BinaryMissing, missing(view, "cri-dockerd", configured)))
}

fn check(view: View<'_>, name: &str, found: &Program, configured: Option<&Path>) -> Found {
    let trouble = |why| (Reason::BinaryMissing, why);
    let Some(path) = &found.path else { return Err(trouble(missing(view, name, configured))) };
    if let Some(error) = &found.error {
        return Err(trouble(error.clone()));
    }
    match found.version {
        Some(version) if !versions::is_supported(version) => {
            let (oldest, newest) = versions::SUPPORTED;
            Err((
                Reason::UnsupportedVersion,
                format!("`{}` is {version}, supported are 1.{oldest} to 1.{newest}", path.display()),
            ))
        }
        Some(version) => Ok(format!("{} {version}", path.display())),
        None => Ok(path.display().to_string()),
    }
}

/// What is to be said of a program that is not found: where it was looked for, and where it comes from.
pub(super) fn missing(view: View<'_>, name: &str, configured: Option<&Path>) -> String {
    let is_meant = |path: &&Path| configured.map_or(path.ends_with(name), |configured| *path == configured);
    let mut unusable = view.observed.facts.not_executable.iter().map(std::path::PathBuf::as_path);
    if let Some(path) = unusable.find(is_meant) {
        let path = path.display();
        return format!("`{path}` is there and can't be executed: chmod 0755 {path}");
    }
    let found = match configured {
        Some(path) => format!("`{}` is not there", path.display()),
        None => format!("no executable `{name}` in {}", SEARCHED.join(", ")),
    };
    match source(name) {
        Some(source) => format!("{found}; {source}"),
        None => found,
    }
}

/// Where a program comes from.
fn source(name: &str) -> Option<&'static str> {
    Some(match name {
        "kubelet" => {
            "it comes with the package kubelet of Kubernetes' own repositories, and with each of its releases"
        }
        "kube-proxy" => "it is among the server binaries of each release of Kubernetes",
        "cri-dockerd" => {
            "the releases of github.com/Mirantis/cri-dockerd have it as a package and as a program"
        }
        "docker" => "Debian: docker.io, or docker-cli where that is a package of its own",
        "ctr" => "Debian: containerd",
        _ => return None,
    })
}
