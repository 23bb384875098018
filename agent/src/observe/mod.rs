//! What is true of the node. The only readers; every fact that can be unknown says why.

pub mod access;
pub mod certificates;
pub mod cni;
mod containerd;
mod cri_dockerd;
mod docker;
pub mod facts;
mod lately;
mod modes;
mod modules;
mod overrides;
pub mod proxies;
pub mod route;
pub mod runtime;
pub mod supplied;
pub mod token;
pub mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;

use crate::config::Config;
use crate::desired::{Desired, Facts, cni::bridge_path, engine, health, paths, units};
use crate::ports::cluster::Seen;
use crate::ports::root::{FileOnDisk, Root};
use crate::ports::systemd::{Systemd, UnitState};
use crate::ports::{Failure, http};
use certificates::{Certificate, PendingKey};
pub use lately::Lately;
use runtime::Engine;
use token::SeenToken;

/// A fact, or why it is not known.
pub type Fact<T> = Result<T, Failure>;

/// What the API server's watches last said.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Our Node.
    pub node: Option<Fact<Seen<Node>>>,
    /// The hash of the public key whose certificate the API server last refused (401).
    pub refused_key: Option<String>,
    /// Requests by name.
    pub requests: BTreeMap<String, Fact<Seen<CertificateSigningRequest>>>,
    /// Requests that were seen to vanish.
    pub deleted: BTreeMap<String, Deleted>,
}

/// A request that somebody deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// How often.
    pub count: u32,
    /// When last.
    pub at: Timestamp,
}

impl Deleted {
    /// What is known after it was deleted at `at` once more. What lasted for an hour was meant to be: the
    /// controller-manager collects what nobody decides on for a day.
    pub fn once_more(before: Option<Self>, at: Timestamp) -> Self {
        let recent = before.filter(|before| at.duration_since(before.at).as_hours() < 1);
        Self { count: recent.map_or(0, |before| before.count).saturating_add(1), at }
    }
}

/// How a step went so far. Removed when it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The last failure.
    pub failure: Failure,
    /// How often it failed in a row.
    pub count: u32,
    /// Not before this instant again.
    pub retry_at: Timestamp,
}

/// What is true.
#[derive(Debug, Clone)]
pub struct Observed {
    /// What the configuration alone does not say.
    pub facts: Facts,
    /// The CA bundle as configured, or as found by pins, PEM.
    pub configured_ca: Fact<Vec<u8>>,
    /// The bundle of those who sign for clients, PEM.
    pub client_ca: Fact<Vec<u8>>,
    /// Files, by path: those that are desired, and a few more.
    pub files: BTreeMap<PathBuf, Fact<Option<FileOnDisk>>>,
    /// Kernel settings by name; `None` where the kernel has no such setting (a module is missing).
    pub sysctls: BTreeMap<&'static str, Option<String>>,
    /// Units by name.
    pub units: BTreeMap<&'static str, Fact<UnitState>>,
    /// Certificates by where they are.
    pub client_certificate: Fact<Option<Certificate>>,
    /// What else is to be known of a certificate that was issued before; mode `certificate` alone.
    pub supplied: Option<Fact<supplied::Pair>>,
    /// kube-proxy's kubeconfig that was made elsewhere, where there is one.
    pub proxy_kubeconfig: Option<Fact<supplied::Kubeconfig>>,
    /// kube-proxy's.
    pub proxy_certificate: Fact<Option<Certificate>>,
    /// The kubelet's serving certificate.
    pub serving_certificate: Fact<Option<Certificate>>,
    /// The key that waits for its certificate.
    pub pending_client_key: Fact<Option<PendingKey>>,
    /// As above, kube-proxy's.
    pub pending_proxy_key: Fact<Option<PendingKey>>,
    /// The bootstrap token as it can be read now; `None` where no source is configured.
    pub token: Fact<Option<SeenToken>>,
    /// Whether our copy of a token that systemd passed is there.
    pub has_kept_token: bool,
    /// Whether somebody asked for a new certificate of kube-proxy's.
    pub renew_proxy: bool,
    /// The container engine, asked only while its unit is active.
    pub engine: Engine,
    /// The pod network.
    pub cni: cni::Found,
    /// What the kubelet's health endpoint says; asked only while its unit is active.
    pub kubelet_health: Result<(), String>,
    /// As above, kube-proxy's.
    pub proxy_health: Result<(), String>,
    /// How the kubelet received a stranger, or why it did not; asked once a start of its, when the node is Ready.
    pub access: Option<Result<access::Access, String>>,
    /// Other kube-proxies, looked for once the node has joined: a DaemonSet's comes after that.
    pub other_proxies: Vec<proxies::OtherProxy>,
    /// Drop-ins of others that give the kubelet or kube-proxy another command line, by unit.
    pub overrides: BTreeMap<&'static str, Vec<PathBuf>>,
    /// What the API server says.
    pub watched: Watched,
    /// Steps that failed, by key.
    pub attempts: BTreeMap<String, Attempt>,
    /// Keys of the steps that are being done.
    pub under_way: BTreeSet<String>,
}

/// Where observations come from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The file system.
    pub root: &'a Root,
    /// systemd.
    pub systemd: &'a Fact<Systemd>,
    /// What systemd said before.
    pub units: &'a BTreeMap<&'static str, Fact<UnitState>>,
    /// Units that it is asked for again.
    pub stale: &'a [&'static str],
    /// Whose programs answered well just now.
    pub lately: &'a Lately,
    /// The configuration.
    pub config: &'a Config,
    /// What the engine said of itself since it started.
    pub engine: Option<&'a Fact<runtime::Info>>,
    /// How the kubelet received a stranger since it started.
    pub access: Option<&'a Result<access::Access, String>>,
    /// What the API server said.
    pub watched: &'a Watched,
    /// Steps that failed.
    pub attempts: &'a BTreeMap<String, Attempt>,
    /// Keys of the steps that are being done.
    pub under_way: BTreeSet<String>,
}

/// Looks at everything once.
pub async fn observe(inputs: &Inputs<'_>, facts: &Facts, desired: Option<&Desired>) -> Observed {
    let root = inputs.root;
    let units = units(inputs).await;
    let (engine, kubelet_health, proxy_health) = answers(inputs, &units).await;
    let twice = active_since(&units, units::KUBE_PROXY).is_some() && root.exists(paths::joined());
    let supplied = inputs.config.identity.supplied.as_ref().map(|pair| supplied::pair(root, pair));
    let client_certificate = match &supplied {
        Some(pair) => pair.as_ref().map(|pair| Some(pair.certificate.clone())).map_err(Clone::clone),
        None => certificates::read(root, paths::kubelet_client()),
    };
    Observed {
        facts: facts.clone(),
        configured_ca: trust::bundle(root, inputs.config),
        client_ca: trust::client_bundle(root, inputs.config),
        files: files(root, inputs.config, desired),
        sysctls: sysctls(root, desired),
        units,
        client_certificate,
        supplied,
        proxy_kubeconfig: inputs
            .config
            .proxy
            .kubeconfig
            .as_ref()
            .map(|path| supplied::kubeconfig(root, path)),
        proxy_certificate: certificates::read(root, paths::proxy_client()),
        serving_certificate: certificates::read(root, paths::kubelet_server()),
        pending_client_key: certificates::read_pending_key(root, paths::pending_client_key()),
        pending_proxy_key: certificates::read_pending_key(root, paths::pending_proxy_key()),
        token: token::look(root, inputs.config),
        has_kept_token: root.exists(paths::kept_token()),
        renew_proxy: root.exists(paths::renew_proxy()),
        engine,
        cni: cni::look(root, inputs.config, facts),
        kubelet_health,
        proxy_health,
        access: inputs.access.cloned(),
        other_proxies: if twice { proxies::others(root) } else { Vec::new() },
        overrides: [units::KUBELET, units::KUBE_PROXY].map(|unit| (unit, overrides::of(root, unit))).into(),
        watched: inputs.watched.clone(),
        attempts: inputs.attempts.clone(),
        under_way: inputs.under_way.clone(),
    }
}

type Health = Result<(), String>;

/// Who of those whose units are active answers: the engine with its shim, the kubelet, kube-proxy; all asked at once.
async fn answers(
    inputs: &Inputs<'_>,
    units: &BTreeMap<&'static str, Fact<UnitState>>,
) -> (runtime::Engine, Health, Health) {
    let root = inputs.root;
    let since = |unit| active_since(units, unit);
    let lately = |unit| since(unit).is_some_and(|since| inputs.lately.answered(unit, since));
    let engine = async {
        let (runtime, unit) = (&inputs.config.runtime, engine::unit(inputs.config.runtime.kind));
        match since(unit) {
            Some(_) => runtime::ask(root, runtime, inputs.engine, lately(unit)).await,
            None => runtime::inactive(runtime.kind),
        }
    };
    let shim = async {
        match since(units::CRI_DOCKERD) {
            Some(_) if lately(units::CRI_DOCKERD) => Ok(()),
            Some(_) => cri_dockerd::ask(root, &inputs.config.runtime.sandbox_image).await,
            None => Err(cri_dockerd::inactive()),
        }
    };
    let healthy = async |unit, address| match since(unit) {
        Some(_) if lately(unit) => Ok(()),
        Some(_) => healthy(address).await,
        None => Err("its unit is not active".to_owned()),
    };
    let kubelet = healthy(units::KUBELET, health::kubelet(inputs.config));
    let proxy = healthy(units::KUBE_PROXY, health::proxy(inputs.config));
    let (mut engine, shim, kubelet_health, proxy_health) = futures::join!(engine, shim, kubelet, proxy);
    engine.shim = shim;
    (engine, kubelet_health, proxy_health)
}

/// Since when a unit is active, microseconds since 1970.
pub fn active_since(units: &BTreeMap<&'static str, Fact<UnitState>>, unit: &str) -> Option<u64> {
    let state = units.get(unit)?.as_ref().ok()?;
    state.is_active().then_some(state.active_since_usec)
}

async fn units(inputs: &Inputs<'_>) -> BTreeMap<&'static str, Fact<UnitState>> {
    match inputs.systemd {
        Ok(systemd) => {
            let mut units = inputs.units.clone();
            units.extend(systemd.units(inputs.stale, units::has_file_of_interest).await);
            units
        }
        Err(failure) => units::ALL.iter().map(|&unit| (unit, Err(failure.clone()))).collect(),
    }
}

/// A component that serves no such endpoint is taken for well while its unit is active.
async fn healthy(address: Option<SocketAddr>) -> Result<(), String> {
    let Some(address) = address else { return Ok(()) };
    match http::get_tcp(address, "/healthz").await? {
        answer if answer.status == 200 => Ok(()),
        answer => Err(format!("/healthz on {address} answered {}", answer.status)),
    }
}

fn files(
    root: &Root,
    config: &Config,
    desired: Option<&Desired>,
) -> BTreeMap<PathBuf, Fact<Option<FileOnDisk>>> {
    let specs = desired.into_iter().flat_map(Desired::files).map(|f| f.path.clone());
    let more = [
        paths::ca().to_owned(),
        paths::client_ca().to_owned(),
        paths::joined().to_owned(),
        paths::daemon_json().to_owned(),
        paths::containerd_config().to_owned(),
        paths::containerd_drop_in().to_owned(),
        paths::proxy_left().to_owned(),
        paths::units().join(units::PROXY_CLEANUP),
        paths::units().join(units::PORT_4194),
        paths::port_4194().to_owned(),
        bridge_path(config),
    ];
    let optional = units::OPTIONAL.iter().map(|unit| paths::units().join(unit));
    specs.chain(more).chain(optional).map(|path| (path.clone(), root.read(&path))).collect()
}

fn sysctls(root: &Root, desired: Option<&Desired>) -> BTreeMap<&'static str, Option<String>> {
    let names = desired.map_or(&[][..], |d| d.sysctls);
    let read = |name: &str| {
        let file = root.read_following(&Path::new("/proc/sys").join(name)).ok()??;
        Some(String::from_utf8_lossy(&file.content).trim().to_owned())
    };
    names.iter().map(|&(name, _)| (name, read(name))).collect()
}
