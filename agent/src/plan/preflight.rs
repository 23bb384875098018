//! Checks before joining: a name, what was found, what helps. Pure; `kn-agent check` prints them.

use serde::Serialize;

use super::{Verdict, View, later, network, settings};
use crate::config::NetworkPlugin;
use crate::desired::{DaemonJson, Program, paths, runtime, versions};
use crate::observe::facts::SEARCHED;
use crate::reason::Reason;

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its name, for `preflight.ignore`.
    pub name: &'static str,
    /// `None`: passed. Otherwise why not.
    pub problem: Option<Problem>,
    /// What was found.
    pub found: String,
    /// Its failure is only reported.
    pub ignored: bool,
}

/// Why a check failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problem(pub Reason);

/// Every check's name.
pub const NAMES: &[&str] = &[
    "kubelet",
    "kubelet-config",
    "kubelet-flags",
    "kube-proxy",
    "kube-proxy-config",
    "kube-proxy-flags",
    "cri-dockerd",
    "docker",
    "daemon-json",
    "cgroup-driver",
    "sandbox-image",
    "cni-plugins",
    "cni-conf",
];

/// Only a running docker tells its images, and it runs after these checks: the phase of the runtime waits for the image.
const NOT_HELD_BACK: &str = "sandbox-image";

/// Whether the operator wants this check's failure only reported.
pub(super) fn is_ignored(view: View<'_>, name: &str) -> bool {
    view.config.preflight.ignore.contains(name)
}

/// Runs every check on what was observed.
pub fn checks(view: View<'_>) -> Vec<Check> {
    let facts = &view.observed.facts;
    let config = view.config;
    let mut outcomes = vec![
        ("kubelet", program("kubelet", &facts.kubelet, config.kubelet.binary.as_deref())),
        ("docker", docker(view)),
        (
            "daemon-json",
            match &facts.daemon_json {
                DaemonJson::Keys(_) => Ok(format!("{} parses or is absent", paths::daemon_json().display())),
                DaemonJson::Broken(why) => Err((Reason::FileTrouble, why.clone())),
            },
        ),
        ("cgroup-driver", cgroup_driver(view)),
        ("sandbox-image", sandbox_image(view)),
    ];
    outcomes.splice(1..1, settings::checks(view));
    if config.proxy.enabled {
        outcomes.push((
            "kube-proxy",
            program("kube-proxy", &facts.proxy, config.proxy.component.binary.as_deref()),
        ));
    }
    if facts.kubelet.version.is_some_and(versions::needs_cri_dockerd) {
        outcomes.push((
            "cri-dockerd",
            match &facts.cri_dockerd {
                Some(path) => Ok(path.display().to_string()),
                None => Err((
                    Reason::BinaryMissing,
                    missing("cri-dockerd", config.runtime.cri_dockerd.as_deref()),
                )),
            },
        ));
    }
    if config.network.plugin == NetworkPlugin::Bridge {
        outcomes.extend([("cni-plugins", cni_plugins(view)), ("cni-conf", cni_conf(view))]);
    }
    if let Some(unknown) = config.preflight.ignore.iter().find(|name| !NAMES.contains(&name.as_str())) {
        let found =
            format!("preflight.ignore: there is no check `{unknown}`; there are {}", NAMES.join(", "));
        outcomes.push(("ignore", Err((Reason::PreflightFailed, found))));
    }
    let check = |(name, outcome): (&'static str, Result<String, (Reason, String)>)| {
        let (problem, found) = match outcome {
            Ok(found) => (None, found),
            Err((reason, found)) => (Some(Problem(reason)), found),
        };
        Check { name, problem, found, ignored: is_ignored(view, name) }
    };
    outcomes.into_iter().map(check).collect()
}

/// Preflight gates joining only: on a joined node its findings are reported and hold nothing back. What an operator
/// installs gives no signal: it is looked for again after a while.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let checks = checks(view);
    let mut failed = checks
        .iter()
        .filter(|check| check.problem.is_some() && !check.ignored && check.name != NOT_HELD_BACK);
    match failed.next() {
        Some(check) if !view.is_joined() => Verdict::Waiting {
            reason: check.problem.map_or(Reason::PreflightFailed, |p| p.0),
            message: format!("check {}: {}", check.name, check.found),
            until: Some(later(view.now)),
        },
        _ => {
            let ignored: Vec<&str> = checks.iter().filter(|c| c.ignored).map(|c| c.name).collect();
            let note =
                if ignored.is_empty() { String::new() } else { format!(", ignored: {}", ignored.join(", ")) };
            Verdict::Satisfied(format!("{} checks{note}", checks.len()))
        }
    }
}

/// The kubelet has told its version; whether it fits is one of the checks.
pub(super) fn programs(view: View<'_>) -> Verdict {
    match view.observed.facts.kubelet.version {
        Some(version) => Verdict::Satisfied(format!("kubelet {version}")),
        None => super::version_unknown(view),
    }
}

fn missing(name: &str, configured: Option<&std::path::Path>) -> String {
    match configured {
        Some(path) => format!("`{}` is not there or not executable", path.display()),
        None => format!("no executable `{name}` in {}", SEARCHED.join(", ")),
    }
}

fn program(
    name: &str,
    found: &Program,
    configured: Option<&std::path::Path>,
) -> Result<String, (Reason, String)> {
    let Some(path) = &found.path else { return Err((Reason::BinaryMissing, missing(name, configured))) };
    if let Some(error) = &found.error {
        return Err((Reason::BinaryMissing, error.clone()));
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

/// What is contradictory before anything runs; the driver of a docker that runs is the runtime's phase's.
fn cgroup_driver(view: View<'_>) -> Result<String, (Reason, String)> {
    let dockers = runtime::docker_cgroup_driver(view.config, &view.observed.facts);
    match view.config.kubelet.config.get("cgroupDriver").and_then(|value| value.as_str()) {
        Some(kubelets) if kubelets != dockers => Err((
            Reason::CgroupDriverMismatch,
            format!("docker would use {dockers}, the kubelet {kubelets} (kubelet.config.cgroupDriver)"),
        )),
        _ => Ok(dockers),
    }
}

fn cni_plugins(view: View<'_>) -> Result<String, (Reason, String)> {
    let lacking = &view.observed.missing_cni_plugins;
    let dir = crate::desired::cni_bin_dir(view.config, &view.observed.facts).display().to_string();
    if lacking.is_empty() {
        return Ok(dir);
    }
    Err((Reason::CniPluginMissing, format!("`{dir}` lacks {}", lacking.join(", "))))
}

fn cni_conf(view: View<'_>) -> Result<String, (Reason, String)> {
    match network::conflict(view) {
        None => Ok(format!("nothing in `{}` sorts before ours", view.config.network.conf_dir.display())),
        Some(why) => Err((Reason::CniConflict, why)),
    }
}

fn sandbox_image(view: View<'_>) -> Result<String, (Reason, String)> {
    let image = &view.config.runtime.sandbox_image;
    match &view.observed.docker {
        docker if docker.answers.is_err() => Ok(format!("{image}, looked for when docker runs")),
        docker if docker.has_sandbox_image => Ok(image.clone()),
        _ => {
            Err((Reason::SandboxImageMissing, format!("the pod sandbox image `{image}` is not on this node")))
        }
    }
}

fn docker(view: View<'_>) -> Result<String, (Reason, String)> {
    match view.observed.units.get(crate::desired::units::DOCKER) {
        Some(Ok(state)) if state.load == "loaded" => Ok("docker.service".to_owned()),
        Some(Ok(state)) if state.load == "masked" => {
            Err((Reason::UnitMasked, "docker.service is masked".to_owned()))
        }
        Some(Ok(state)) => Err((
            Reason::BinaryMissing,
            format!("docker.service is {}; install docker (Debian: docker.io)", state.load),
        )),
        Some(Err(failure)) => Err((failure.reason, failure.message.clone())),
        None => Ok("docker.service was not looked at".to_owned()),
    }
}
