//! Facts that are slow and stable: programs and their versions, the way to the API server, the host's ways.

use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{modes, route, supplied};
use crate::config::{Config, HostFacts, RuntimeKind};
use crate::desired::dns::{self, ClusterDns};
use crate::desired::{
    DaemonJson, Facts, FileId, Program, Resources, address, cni, containerd, images, kubelet, paths,
    reserved_cgroups, units,
};
use crate::ports::{Failure, addresses, program, root::Root};

/// Where programs are searched for.
pub const SEARCHED: &[&str] =
    &["/usr/local/bin", "/usr/bin", "/opt/kube/bin", "/opt/bin", "/usr/sbin", "/usr/local/sbin"];
/// Where CNI plugins are searched for.
pub const CNI_SEARCHED: &[&str] = &["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/// Everything that is found without executing a program.
pub fn quick(root: &Root, config: &Config) -> Facts {
    let found = |configured: Option<&PathBuf>, name: &str| {
        let path = find(root, configured, name);
        let file = path.as_ref().and_then(|path| file_id(&root.path(path)));
        Program { path, file, ..Default::default() }
    };
    Facts {
        not_executable: not_executable(root, config),
        kubelet: found(config.kubelet.binary.as_ref(), "kubelet"),
        proxy: found(config.proxy.component.binary.as_ref(), "kube-proxy"),
        cri_dockerd: find(root, config.runtime.cri_dockerd.as_ref(), "cri-dockerd"),
        cgroup_v2: is_unified(root),
        cgroup_hierarchies: hierarchies(root),
        swap: swap(root),
        daemon_json: daemon_json(root),
        containerd: match config.runtime.kind {
            RuntimeKind::Docker => containerd::Found::default(),
            RuntimeKind::Containerd => containerd(root),
        },
        image_tars: config.runtime.images.as_deref().map_or_else(Vec::new, |dir| image_tars(root, dir)),
        image_loader: find(root, None, images::loader(config.runtime.kind)),
        iptables: find(root, None, "iptables"),
        nft: find(root, None, "nft"),
        engine_cgroup_driver: None,
        modes: modes::means(root, config),
        resolv_conf: resolv_conf(root),
        route_address: route::by_address(config),
        by_name: address::ByName::Unknown,
        joined: joined(root, config),
        written_address: written_address(root, config),
        addresses: local_addresses(config),
        cluster_dns: ClusterDns::Unknown,
        cni_bin_dir: CNI_SEARCHED
            .iter()
            .map(PathBuf::from)
            .find(|dir| cni::BRIDGE_PLUGINS.iter().all(|plugin| root.exists(&dir.join(plugin)))),
        supplied_serves: config
            .identity
            .supplied
            .as_ref()
            .and_then(|pair| supplied::is_for_serving(root, &pair.certificate)),
        resources: resources(root, config),
    }
}

fn resources(root: &Root, config: &Config) -> Resources {
    let host = HostFacts::of_host();
    let directory = root.path(kubelet::directory(config));
    // On a fresh machine it is not there yet; it will be where its parent is. What else is in the way leaves it unknown.
    let is_there = |path: &&Path| !matches!(rustix::fs::stat(*path), Err(rustix::io::Errno::NOENT));
    let storage = directory.ancestors().find(is_there).and_then(|path| rustix::fs::statvfs(path).ok());
    Resources {
        processors: host.processors,
        memory: host.memory,
        storage: storage.map_or(0, |found| found.f_blocks.saturating_mul(found.f_frsize)),
    }
}

/// What is known after a look that found `fresh`: what programs said lasts as long as their files, and what is missing for
/// a moment changes nothing.
pub fn after(before: &Facts, fresh: Facts, engine_cgroup_driver: Option<String>) -> Facts {
    Facts {
        kubelet: as_asked(&fresh.kubelet, &before.kubelet),
        proxy: as_asked(&fresh.proxy, &before.proxy),
        engine_cgroup_driver,
        // A route that is gone for a moment takes no address out of a running kubelet's unit.
        route_address: fresh.route_address.or(before.route_address),
        by_name: before.by_name.clone(),
        // Nor does a certificate that is being replaced change the kubelet's configuration.
        supplied_serves: fresh.supplied_serves.or(before.supplied_serves),
        cluster_dns: before.cluster_dns,
        ..fresh
    }
}

/// A program as found, with what it last said: what another file says comes with its answer.
fn as_asked(found: &Program, before: &Program) -> Program {
    match found.path {
        Some(_) => Program { path: found.path.clone(), file: found.file, ..before.clone() },
        None => Program::default(),
    }
}

/// The first line below the head of `/proc/swaps`: the kubelet looks there, too.
fn swap(root: &Root) -> Option<String> {
    let file = root.read_following(Path::new("/proc/swaps")).ok()??;
    let text = String::from_utf8_lossy(&file.content);
    text.lines().nth(1)?.split_whitespace().next().map(str::to_owned)
}

fn is_unified(root: &Root) -> bool {
    root.exists(Path::new("/sys/fs/cgroup/cgroup.controllers"))
}

/// The hierarchies of cgroup v1 that are mounted: each has this file at its root. So has a cgroup that somebody made on
/// cgroup v2 under the name of a hierarchy.
fn hierarchies(root: &Root) -> Vec<&'static str> {
    if is_unified(root) {
        return Vec::new();
    }
    let is_mounted = |name: &&str| root.exists(&Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs"));
    reserved_cgroups::HIERARCHIES.iter().copied().filter(is_mounted).collect()
}

/// The version of a program, and its flags where there are some to be checked: each costs 0.1 to 0.5 s.
pub async fn ask(found: &Program, with_flags: bool) -> Program {
    let Some(path) = &found.path else { return found.clone() };
    let help =
        async { if with_flags { program::output(path, &["--help"]).await } else { Ok(String::new()) } };
    let (version, help) = futures::join!(program::output(path, &["--version"]), help);
    let mut asked = found.clone();
    match version.and_then(|text| text.parse()) {
        Ok(version) => (asked.version, asked.error) = (Some(version), None),
        Err(error) => asked.error = Some(error),
    }
    asked.flags = help.map(|text| flags_in(&text)).unwrap_or_default();
    asked
}

/// The flags a `--help` text lists: words that begin a line with `--`, or follow a short form.
fn flags_in(help: &str) -> Vec<String> {
    let flag = |line: &str| {
        let rest = line.trim_start().split("--").nth(1)?;
        let before = line.trim_start().split("--").next()?;
        let short_form = before.is_empty() || (before.starts_with('-') && before.len() <= 4);
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        (short_form && !name.is_empty()).then_some(name)
    };
    help.lines().filter_map(flag).collect()
}

/// Where a program may be.
fn places(configured: Option<&PathBuf>, name: &str) -> Vec<PathBuf> {
    match configured {
        Some(path) => vec![path.clone()],
        None => SEARCHED.iter().map(|dir| Path::new(dir).join(name)).collect(),
    }
}

fn find(root: &Root, configured: Option<&PathBuf>, name: &str) -> Option<PathBuf> {
    places(configured, name).into_iter().find(|path| is_executable(&root.path(path)))
}

/// Files where a program may be, which can't be executed.
fn not_executable(root: &Root, config: &Config) -> Vec<PathBuf> {
    let programs = [
        (config.kubelet.binary.as_ref(), "kubelet"),
        (config.proxy.component.binary.as_ref(), "kube-proxy"),
        (config.runtime.cri_dockerd.as_ref(), "cri-dockerd"),
    ];
    let places = programs.into_iter().flat_map(|(configured, name)| places(configured, name));
    places.filter(|path| root.path(path).is_file() && !is_executable(&root.path(path))).collect()
}

fn file_id(path: &Path) -> Option<FileId> {
    let meta = std::fs::metadata(path).ok()?;
    let written = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Some((meta.dev(), meta.ino(), meta.size(), written))
}

pub(super) fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn daemon_json(root: &Root) -> DaemonJson {
    match root.read_following(paths::daemon_json()) {
        Ok(None) => DaemonJson::Keys(serde_json::Map::new()),
        // docker takes an empty file for none.
        Ok(Some(file)) if file.content.trim_ascii().is_empty() => DaemonJson::Keys(serde_json::Map::new()),
        Ok(Some(file)) => match serde_json::from_slice(&file.content) {
            Ok(keys) => DaemonJson::Keys(keys),
            Err(error) => DaemonJson::Broken(format!("`{}`: {error}", paths::daemon_json().display())),
        },
        Err(failure) => DaemonJson::Broken(failure.message),
    }
}

/// containerd's configuration, and what it may import beside ours.
fn containerd(root: &Root) -> containerd::Found {
    let text = |path: &Path| match root.read_following(path)? {
        Some(file) => Ok(Some((String::from_utf8_lossy(&file.content).into_owned(), file.mode))),
        None => Ok(None),
    };
    let ours = paths::containerd_drop_in();
    let found = || -> Result<containerd::Found, Failure> {
        let directory = ours.parent().unwrap_or(ours);
        let mut drop_ins = Vec::new();
        for name in root.list(directory)? {
            let path = directory.join(name);
            let other = path != ours && path.extension().is_some_and(|extension| extension == "toml");
            if let Some((found, mode)) = if other { text(&path)? } else { None } {
                drop_ins.push((path, found, mode));
            }
        }
        Ok(containerd::Found::new(text(paths::containerd_config())?, drop_ins))
    };
    found().unwrap_or_else(|failure| containerd::Found::unreadable(failure.message))
}

fn image_tars(root: &Root, directory: &Path) -> Vec<(PathBuf, i64)> {
    let written = |path: PathBuf| {
        let meta = std::fs::metadata(root.path(&path)).ok().filter(std::fs::Metadata::is_file)?;
        Some((path, meta.mtime() * 1_000_000 + meta.mtime_nsec() / 1000))
    };
    let names = root.list(directory).unwrap_or_default();
    let tars = names.into_iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "tar"));
    tars.filter_map(|name| written(directory.join(name))).collect()
}

/// Pods copy this file; systemd-resolved's stub on 127.0.0.53 is out of their reach and makes CoreDNS loop.
fn resolv_conf(root: &Root) -> PathBuf {
    let real = Path::new("/run/systemd/resolve/resolv.conf");
    if root.exists(real) { real.to_owned() } else { PathBuf::from("/etc/resolv.conf") }
}

/// What the kubelet's configuration on disk says of the cluster's DNS, where the cluster is asked.
pub fn written_dns(root: &Root, config: &Config) -> ClusterDns {
    let read = || root.read(paths::kubelet_config()).ok()?;
    let file = dns::is_asked(config).then(read).flatten();
    file.map_or(ClusterDns::Unknown, |file| ClusterDns::written(&file.content))
}

/// The second line of what is remembered of a join.
fn joined(root: &Root, config: &Config) -> address::Joined {
    if config.cluster.server.address().is_some() {
        return address::Joined::No;
    }
    match root.read(paths::joined()) {
        Ok(None) => address::Joined::No,
        Ok(Some(file)) => {
            let text = String::from_utf8_lossy(&file.content);
            address::Joined::As(text.lines().nth(1).and_then(|line| line.parse().ok()))
        }
        Err(_) => address::Joined::As(None),
    }
}

fn written_address(root: &Root, config: &Config) -> Option<IpAddr> {
    let is_asked = !config.node.address_from.is_empty() || config.cluster.server.address().is_none();
    let unit = paths::units().join(units::KUBELET);
    let read = || root.read(&unit).ok()?;
    address::written(&is_asked.then(read).flatten()?.content)
}

fn local_addresses(config: &Config) -> address::Found {
    let node = &config.node;
    if node.address.is_none() && node.address_from.is_empty() && config.cluster.server.address().is_some() {
        return address::Found::default();
    }
    addresses::all().map_or_else(|failure| address::Found::Unknown(failure.message), address::Found::Known)
}

#[cfg(test)]
mod tests {
    #[test]
    fn swap_is_what_stands_below_the_head() {
        let machine = tempfile::tempdir().unwrap();
        let root = super::Root::new(machine.path());
        assert_eq!(super::swap(&root), None);
        std::fs::create_dir(machine.path().join("proc")).unwrap();
        let head = "Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        for (below, found) in [("", None), ("/dev/sda2  partition\t8\t0\t-2\n/x\n", Some("/dev/sda2"))] {
            std::fs::write(machine.path().join("proc/swaps"), format!("{head}{below}")).unwrap();
            assert_eq!(super::swap(&root).as_deref(), found);
        }
    }

    #[test]
    fn pods_get_the_servers_that_the_stub_of_systemd_asks() {
        let machine = tempfile::tempdir().unwrap();
        let root = super::Root::new(machine.path());
        assert_eq!(super::resolv_conf(&root), super::Path::new("/etc/resolv.conf"));
        let real = "/run/systemd/resolve/resolv.conf";
        std::fs::create_dir_all(root.path(real.as_ref()).parent().unwrap()).unwrap();
        std::fs::write(root.path(real.as_ref()), "nameserver 10.0.0.53\n").unwrap();
        assert_eq!(super::resolv_conf(&root), super::Path::new(real));
    }

    #[test]
    fn flags_are_read_from_help_with_and_without_a_short_form() {
        let help =
            "Usage:\n      --config string    see --other too\n  -h, --help   help\n  text --not-a-flag\n";
        assert_eq!(super::flags_in(help), ["config", "help"]);
    }
}
