//! Checks before joining: a name, what was found, what helps. Pure; `kn-agent check` prints them.

use std::borrow::Cow;

use super::{
    Verdict, View, firewall, images, later, needs_cri_dockerd, network, programs, settings, supplied,
};
use crate::config::{NetworkPlugin, RuntimeKind};
use crate::desired::address::{self, Joined, Lack};
use crate::desired::{DaemonJson, cni, engine, paths, reserved_cgroups, runtime};
use crate::reason::Reason;

/// A check and how it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, for `preflight.ignore`.
    pub name: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// Its failure is only reported.
    pub ignored: bool,
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well: what was found.
    Passed(String),
    /// It can't be made yet: what it lacks.
    NotYet(Cow<'static, str>),
    /// Not well: why, and what was found.
    Failed(Reason, String),
}

impl From<Found> for Outcome {
    fn from(found: Found) -> Self {
        match found {
            Ok(found) => Self::Passed(found),
            Err((reason, found)) => Self::Failed(reason, found),
        }
    }
}

/// What a check found, or what is wrong.
pub(super) type Found = Result<String, (Reason, String)>;

/// Every check's name.
pub const NAMES: &[&str] = &[
    "kubelet",
    "kubelet-config",
    "kubelet-flags",
    "kube-proxy",
    "kube-proxy-config",
    "kube-proxy-flags",
    "proxy-mode",
    "cri-dockerd",
    "docker",
    "daemon-json",
    "containerd",
    "containerd-config",
    "cgroup-driver",
    "swap",
    "address",
    "sandbox-image",
    "images",
    "cni-plugins",
    "cni-conf",
    "cni-programs",
    "cni-tunnels",
    "certificate",
    "kubeconfig",
    "firewall",
];

/// What says that a name to ignore is none of those.
const UNKNOWN: &str = "ignore";

/// What later phases wait for, each with what stands on it alone. Only a running engine tells its images, and it runs
/// after these checks; of files that an operator supplies nothing else depends than what uses them; and a network's own
/// DaemonSet brings its programs, once the node has joined, and may do without a tunnel.
const NOT_HELD_BACK: [&str; 5] =
    ["sandbox-image", "cni-programs", "cni-tunnels", "certificate", "kubeconfig"];

/// Whether the operator wants this check's failure only reported.
pub(super) fn is_ignored(view: View<'_>, name: &str) -> bool {
    view.config.preflight.ignore.contains(name)
}

/// Runs every check on what was observed.
pub fn checks(view: View<'_>) -> Vec<Check> {
    let config = view.config;
    let mut outcomes = vec![("kubelet", programs::kubelet(view).into()), ("address", node_address(view))];
    outcomes.extend(settings::checks(view));
    let mut found: Vec<(&'static str, Found)> = of_engine(view).into();
    found.extend([
        ("cgroup-driver", cgroup_driver(view)),
        ("swap", swap(view)),
        ("sandbox-image", sandbox_image(view)),
    ]);
    if config.proxy.enabled {
        found.push(("kube-proxy", programs::proxy(view)));
    }
    if needs_cri_dockerd(view) {
        found.push(("cri-dockerd", programs::cri_dockerd(view)));
    }
    if let Some(directory) = &config.runtime.images {
        found.push(("images", images::check(view, directory)));
    }
    found.extend(of_network(view));
    if let Some(pair) = &view.observed.supplied {
        found.push(("certificate", judged(supplied::client(view, pair))));
    }
    if let Some(kubeconfig) = view.observed.proxy_kubeconfig.as_ref().filter(|_| config.proxy.enabled) {
        found.push(("kubeconfig", judged(supplied::proxy(view, kubeconfig))));
    }
    if !config.firewall.restrict.is_empty() {
        found.push((firewall::CHECK, firewall::check(view)));
    }
    found.extend(unknown_ignored(view).map(|why| (UNKNOWN, Err((Reason::PreflightFailed, why)))));
    outcomes.extend(found.into_iter().map(|(name, found)| (name, found.into())));
    // One that is not in the list could not be ignored: its name would be refused.
    debug_assert!(outcomes.iter().all(|(name, _)| *name == UNKNOWN || NAMES.contains(name)), "{outcomes:?}");
    let check = |(name, outcome)| Check { name, outcome, ignored: is_ignored(view, name) };
    outcomes.into_iter().map(check).collect()
}

fn unknown_ignored(view: View<'_>) -> Option<String> {
    let unknown = view.config.preflight.ignore.iter().find(|name| !NAMES.contains(&name.as_str()))?;
    Some(format!("preflight.ignore: there is no check `{unknown}`; there are {}", NAMES.join(", ")))
}

/// Preflight gates joining only: on a joined node its findings are reported and hold nothing back. What an operator
/// installs gives no signal: it is looked for again after a while.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let checks = checks(view);
    let held_back = |check: &&Check| !check.ignored && !NOT_HELD_BACK.contains(&check.name);
    let mut failed = checks.iter().filter(held_back).filter_map(|check| match &check.outcome {
        Outcome::Failed(reason, found) => Some((*reason, format!("check {}: {found}", check.name))),
        Outcome::Passed(_) | Outcome::NotYet(_) => None,
    });
    match failed.next() {
        Some((reason, message)) if !view.is_joined() => {
            Verdict::Unmet { reason, message, until: Some(later(view.now)) }
        }
        _ => {
            let ignored: Vec<&str> = checks.iter().filter(|c| c.ignored).map(|c| c.name).collect();
            let note =
                if ignored.is_empty() { String::new() } else { format!(", ignored: {}", ignored.join(", ")) };
            Verdict::Satisfied(format!("{} checks{note}", checks.len()))
        }
    }
}

/// A phase's verdict on what an operator supplied, which is there for us or not.
fn judged(verdict: Verdict) -> Found {
    match verdict {
        Verdict::Satisfied(found) => Ok(found),
        Verdict::Unmet { reason, message, .. } => Err((reason, message)),
        Verdict::Act(_) | Verdict::Held => Err((Reason::Unobservable, "it was not looked at".to_owned())),
    }
}

/// The engine is installed, and its configuration can be added to.
fn of_engine(view: View<'_>) -> [(&'static str, Found); 2] {
    let trouble = |why| (Reason::FileTrouble, why);
    match view.config.runtime.kind {
        RuntimeKind::Docker => [
            ("docker", installed(view, "docker", "docker.io")),
            (
                "daemon-json",
                match &view.observed.facts.daemon_json {
                    DaemonJson::Keys(_) => {
                        Ok(format!("{} parses or is absent", paths::daemon_json().display()))
                    }
                    DaemonJson::Broken(why) => Err(trouble(why.clone())),
                },
            ),
        ],
        RuntimeKind::Containerd => [
            ("containerd", installed(view, "containerd", "containerd")),
            (
                "containerd-config",
                match super::engine::files_of(view).as_ref() {
                    Ok(_) => Ok(format!("{} can be added to", paths::containerd_config().display())),
                    Err(why) => Err(trouble(why.clone())),
                },
            ),
        ],
    }
}

/// What is contradictory before anything runs; the driver of an engine that runs is the runtime's phase's. containerd is
/// told the kubelet's.
fn cgroup_driver(view: View<'_>) -> Found {
    let driver = equal_cgroup_driver(view)?;
    match reserved_cgroups::misnamed(view.config, &driver) {
        Some(why) => Err((Reason::CgroupDriverMismatch, why)),
        None => Ok(driver),
    }
}

fn equal_cgroup_driver(view: View<'_>) -> Found {
    if view.config.runtime.kind == RuntimeKind::Containerd {
        return Ok(runtime::kubelet_cgroup_driver(view.config, &view.observed.facts));
    }
    let dockers = runtime::docker_cgroup_driver(view.config, &view.observed.facts);
    match view.config.kubelet.config.get("cgroupDriver").and_then(|value| value.as_str()) {
        Some(kubelets) if kubelets != dockers => Err((
            Reason::CgroupDriverMismatch,
            format!("docker would use {dockers}, the kubelet {kubelets} (kubelet.config.cgroupDriver)"),
        )),
        _ => Ok(dockers),
    }
}

/// The kubelet ends at its start where swap is on, unless it is told not to.
fn swap(view: View<'_>) -> Found {
    let is_allowed =
        view.config.kubelet.config.get("failSwapOn").and_then(serde_json::Value::as_bool) == Some(false);
    match &view.observed.facts.swap {
        None => Ok("off".to_owned()),
        Some(swap) if is_allowed => Ok(format!("on ({swap}), as kubelet.config.failSwapOn allows")),
        Some(swap) => {
            Err((Reason::SwapOn, format!("swap is on ({swap}), and the kubelet does not start with it")))
        }
    }
}

/// The kubelet looks for the address it is given among the interfaces', and goes on without any where it is not there.
fn node_address(view: View<'_>) -> Outcome {
    let facts = &view.observed.facts;
    if let Some(why) = address::is_nowhere(view.config, facts) {
        return Outcome::Failed(Reason::NodeAddress, why);
    }
    match address::choose(view.config, facts) {
        Ok(Some(chosen)) => Outcome::Passed(chosen.to_string()),
        Ok(None) => {
            let server = &view.config.cluster.server;
            let why = match facts.joined {
                Joined::As(_) => "as when it joined".to_owned(),
                Joined::No if server.address().is_some() => format!("there is no way to {server}"),
                Joined::No => format!("{server} is on this machine"),
            };
            Outcome::Passed(format!("the kubelet's own choice: {why}"))
        }
        Err(Lack::NotYet(why)) => Outcome::NotYet(why.into()),
        Err(Lack::Trouble(why)) => Outcome::Failed(Reason::NodeAddress, why),
    }
}

fn of_network(view: View<'_>) -> Vec<(&'static str, Found)> {
    let network = &view.config.network;
    let mut outcomes = Vec::new();
    if !cni::needed(network.plugin).is_empty() {
        let dir = crate::desired::cni_bin_dir(view.config, &view.observed.facts);
        let lacking = network::lacking(view).map(|why| (Reason::CniPluginMissing, why));
        outcomes.push(("cni-plugins", lacking.map_or_else(|| Ok(dir.display().to_string()), Err)));
    }
    if network.plugin != NetworkPlugin::None {
        let whose = if network.plugin == NetworkPlugin::Bridge { "ours" } else { "the network's own" };
        let right = || Ok(format!("nothing in `{}` sorts before {whose}", network.conf_dir.display()));
        let conflict = network::conflict(view).map(|why| (Reason::CniConflict, why));
        outcomes.push(("cni-conf", conflict.map_or_else(right, Err)));
    }
    outcomes.push(("cni-programs", network::programs(view)));
    if network.plugin == NetworkPlugin::Calico {
        outcomes.push(("cni-tunnels", network::tunnels(view)));
    }
    outcomes
}

fn sandbox_image(view: View<'_>) -> Found {
    let image = &view.config.runtime.sandbox_image;
    match &view.observed.engine {
        engine if engine.answers.is_err() => {
            Ok(format!("{image}, looked for when {} runs", engine::name(view.config.runtime.kind)))
        }
        engine if engine.has_sandbox_image => Ok(image.clone()),
        _ => {
            Err((Reason::SandboxImageMissing, format!("the pod sandbox image `{image}` is not on this node")))
        }
    }
}

fn installed(view: View<'_>, name: &str, package: &str) -> Found {
    let unit = engine::unit(view.config.runtime.kind);
    match view.observed.units.get(unit) {
        Some(Ok(state)) if state.load == "loaded" => Ok(unit.to_owned()),
        Some(Ok(state)) if state.load == "masked" => Err((Reason::UnitMasked, format!("{unit} is masked"))),
        Some(Ok(state)) => Err((
            Reason::BinaryMissing,
            format!("{unit} is {}; install {name} (Debian: {package})", state.load),
        )),
        Some(Err(failure)) => Err((failure.reason, failure.message.clone())),
        None => Ok(format!("{unit} was not looked at")),
    }
}
