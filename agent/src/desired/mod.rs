//! What must be true of the node: configuration and facts in, files and names out. Pure.

pub mod address;
pub mod certificates;
pub mod cluster_info;
pub mod cni;
pub mod containerd;
pub mod dns;
pub mod engine;
mod eviction;
pub mod fields;
pub mod files;
pub mod firewall;
pub mod flannel;
mod forward;
pub mod health;
pub mod images;
pub mod kubeconfig;
pub mod kubelet;
pub mod modes;
pub mod node;
pub mod proxy;
pub mod reserved_cgroups;
pub mod runtime;
mod toml;
pub mod units;
pub mod versions;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::Config;
pub use engine::Interface;
pub use files::{FileSpec, paths};
pub use versions::Version;

/// What the configuration alone does not say; looked for in every pass, slow answers remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Files with the name of a program that is looked for, which can't be executed.
    pub not_executable: Vec<PathBuf>,
    /// The kubelet, once it was asked.
    pub kubelet: Program,
    /// kube-proxy.
    pub proxy: Program,
    /// cri-dockerd; needed from Kubernetes 1.24 on.
    pub cri_dockerd: Option<PathBuf>,
    /// Whether `/sys/fs/cgroup` is the unified hierarchy.
    pub cgroup_v2: bool,
    /// The hierarchies of cgroup v1 that the kubelet looks into and that are mounted; none on cgroup v2.
    pub cgroup_hierarchies: Vec<&'static str>,
    /// What is swapped to, the first of it; `None` where swap is off.
    pub swap: Option<String>,
    /// What stands in docker's `daemon.json`.
    pub daemon_json: DaemonJson,
    /// containerd's configuration; looked at only where it is the runtime.
    pub containerd: containerd::Found,
    /// The program that makes rules for what is forwarded.
    pub iptables: Option<PathBuf>,
    /// The program that loads tables of nftables.
    pub nft: Option<PathBuf>,
    /// The cgroup driver of the engine that runs, once it has told it.
    pub engine_cgroup_driver: Option<String>,
    /// Files of images to load, and when each was written, microseconds since 1970.
    pub image_tars: Vec<(PathBuf, i64)>,
    /// The program that loads them.
    pub image_loader: Option<PathBuf>,
    /// What kube-proxy's modes need of this machine.
    pub modes: modes::Means,
    /// The resolver configuration pods can use: not the stub on 127.0.0.53.
    pub resolv_conf: PathBuf,
    /// The address on the way to the API server.
    pub route_address: Option<IpAddr>,
    /// Where the API server is, if it goes by a name and the node's address hangs on that.
    pub by_name: address::ByName,
    /// Whether the node has joined, and the address it then had; looked at only where the API server goes by a name.
    pub joined: address::Joined,
    /// The address that the kubelet's unit on disk has; looked at only where the configuration names networks, or the API
    /// server by a name.
    pub written_address: Option<IpAddr>,
    /// The machine's addresses; looked at only where the configuration speaks of them.
    pub addresses: address::Found,
    /// The cluster's own DNS, where the configuration names none.
    pub cluster_dns: dns::ClusterDns,
    /// The directory the CNI plugins were found in.
    pub cni_bin_dir: Option<PathBuf>,
    /// Whether the certificate that was issued before is one to serve with; `None` where there is none or it can't be
    /// read.
    pub supplied_serves: Option<bool>,
    /// What the machine has for pods.
    pub resources: Resources,
}

/// What a machine has; 0 is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// Processors that are online.
    pub processors: u64,
    /// Memory, bytes.
    pub memory: u64,
    /// The file system of the kubelet's directory, bytes.
    pub storage: u64,
}

/// A program as found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    /// Where it is; `None` where it is nowhere.
    pub path: Option<PathBuf>,
    /// Which file that is: another one is asked anew.
    pub file: Option<FileId>,
    /// Its version; `None` until it has answered.
    pub version: Option<Version>,
    /// Why it did not answer.
    pub error: Option<String>,
    /// The flags it knows, without dashes; empty until asked.
    pub flags: Vec<String>,
}

/// A file as it was found: device, inode, size, and the nanosecond it was last written.
pub type FileId = (u64, u64, u64, i128);

/// docker's own configuration as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonJson {
    /// Its keys; empty where there is no file.
    Keys(serde_json::Map<String, serde_json::Value>),
    /// It does not parse.
    Broken(String),
}

impl Default for DaemonJson {
    fn default() -> Self {
        Self::Keys(serde_json::Map::new())
    }
}

/// What must be true.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Files the Host phase writes before systemd is told: units, kernel settings, component configuration.
    pub host_files: Vec<FileSpec>,
    /// The engine's own configuration where it needs a change, or why it can't be changed.
    pub engine_files: Result<Vec<FileSpec>, String>,
    /// Units that start at boot.
    pub enabled: Vec<&'static str>,
    /// Kernel settings: name below `/proc/sys`, value.
    pub sysctls: &'static [(&'static str, &'static str)],
    /// What the engine's own unit gets.
    pub engine_drop_in: FileSpec,
    /// The cgroup driver the kubelet uses.
    pub kubelet_cgroup_driver: String,
    /// What the kubelet talks to.
    pub interface: Interface,
    /// The kubelet's client certificate.
    pub client_certificate: certificates::CertificateSpec,
    /// kube-proxy's certificate, where it is ours.
    pub proxy_certificate: Option<certificates::CertificateSpec>,
    /// The Node to register.
    pub node: k8s_openapi::api::core::v1::Node,
}

impl Desired {
    /// Every file that must be as it is described here.
    pub fn files(&self) -> impl Iterator<Item = &FileSpec> {
        self.host_files.iter().chain(self.engine_files.iter().flatten()).chain([&self.engine_drop_in])
    }
}

/// Computes what must be true. `None` while a fact it stands on is not known yet (the kubelet's version).
pub fn desired(config: &Config, facts: &Facts) -> Option<Desired> {
    let version = facts.kubelet.version?;
    if config.identity.supplied.is_some() {
        facts.supplied_serves?;
    }
    let interface = Interface::of(config.runtime.kind, version);
    let driver = runtime::kubelet_cgroup_driver(config, facts);
    let mut host_files = vec![
        files::sysctl_conf(),
        files::modules_conf(config),
        kubeconfig::kubelet(config),
        kubelet::configuration(config, facts, version, &driver),
        kubelet::unit(config, facts, version, &driver)?,
    ];
    host_files.extend(images::unit(config, facts));
    host_files.extend(forward::unit(config, facts));
    let firewall = firewall::files(config, facts);
    let mut enabled = vec![engine::unit(config.runtime.kind), units::KUBELET];
    if !firewall.is_empty() {
        host_files.extend(firewall);
        enabled.push(units::FIREWALL);
    }
    if interface == Interface::CriDockerd {
        host_files.push(runtime::cri_dockerd_unit(config, facts)?);
        enabled.push(units::CRI_DOCKERD);
    }
    if config.proxy.enabled {
        if config.proxy.kubeconfig.is_none() {
            host_files.push(kubeconfig::proxy(config));
        }
        host_files.push(proxy::configuration(config, facts)?);
        host_files.push(proxy::unit(config, facts)?);
        enabled.push(units::KUBE_PROXY);
    }
    Some(Desired {
        host_files,
        engine_files: engine::files(config, facts),
        engine_drop_in: engine::drop_in(config.runtime.kind),
        enabled,
        sysctls: files::SYSCTLS,
        kubelet_cgroup_driver: driver,
        interface,
        client_certificate: certificates::kubelet_client(config),
        proxy_certificate: (config.proxy.enabled && config.proxy.kubeconfig.is_none())
            .then(|| certificates::proxy(config)),
        node: node::registration(config, facts),
    })
}

/// The directory of the CNI plugins: configured here or for containerd, found, or where they usually are.
pub fn cni_bin_dir<'a>(config: &'a Config, facts: &'a Facts) -> &'a Path {
    let known = config.network.bin_dir.as_deref().or(facts.containerd.bin_dir.as_deref());
    known.or(facts.cni_bin_dir.as_deref()).unwrap_or(Path::new("/opt/cni/bin"))
}

/// The node's address, where it is known.
pub fn address(config: &Config, facts: &Facts) -> Option<IpAddr> {
    address::choose(config, facts).ok().flatten().map(|chosen| chosen.address)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests;
