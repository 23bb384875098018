//! One run of the lab: a directory, a bridge, and addresses that no other run has.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::{cache, cgroup, process, say};

/// The lab's networks are 10.89.1.0/24 to 10.89.199.0/24, one a run.
const NETWORKS: std::ops::Range<u8> = 1..200;

/// The first host number of nodes in a run's network.
const FIRST_NODE: u8 = 11;

/// A run of the lab. Dropping it removes its bridge and its directory.
#[derive(Debug)]
pub struct Run {
    name: String,
    index: u8,
    directory: PathBuf,
    next_node: AtomicU8,
    _lock: File,
}

impl Run {
    /// Starts a run; `name` is for people and must be free. Remains of runs that died are removed first.
    pub fn start(name: &str) -> Result<Arc<Self>> {
        crate::packages::ensure_host()?;
        let runs = cache::directory()?.join("run");
        fs::create_dir_all(&runs)?;
        let _starting = cache::lock(&runs.join(".lock"))?;
        remove_dead(&runs)?;
        let directory = runs.join(name);
        if directory.exists() {
            bail!("a lab named {name} is running (`{}`)", directory.display());
        }
        let index = make_bridge()?;
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("network"), index.to_string())?;
        let lock = cache::try_lock(&directory.join("lock"))?.context("a new run's lock is held")?;
        Ok(Arc::new(Self {
            name: name.to_owned(),
            index,
            directory,
            next_node: AtomicU8::new(FIRST_NODE),
            _lock: lock,
        }))
    }

    /// What the run is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the run keeps its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The bridge on the host that nodes are plugged into.
    pub fn bridge(&self) -> String {
        bridge_name(self.index)
    }

    /// The host's address on the bridge: where nodes find the API server.
    pub fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, self.index, 1)
    }

    /// A loopback address of this run alone, for what nodes must not reach.
    pub(crate) fn loopback_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 89, self.index, 1)
    }

    /// An address for the next node.
    pub(crate) fn next_node_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, self.index, self.next_node.fetch_add(1, Ordering::Relaxed))
    }

    /// The name of a node's cgroups on the host.
    pub(crate) fn cgroup_name(&self, node: &str) -> String {
        format!("{}{node}", cgroup_prefix(self.index))
    }

    /// A subdirectory of the run, made if missing.
    pub(crate) fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(path)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        keep_logs(&self.directory, &self.name);
        if let Err(error) = remove(&self.directory, self.index) {
            say(format_args!("warning: the lab {} leaves something: {error:#}", self.name));
        }
    }
}

/// The log files of a run, moved to where only the next run of that name removes them: a test that fails with an error is
/// not known here from one that passes.
fn keep_logs(directory: &Path, name: &str) {
    let Ok(cache) = cache::directory() else { return };
    let kept = cache.join("logs").join(name);
    let _ = fs::remove_dir_all(&kept);
    let moved =
        fs::create_dir_all(cache.join("logs")).is_ok() && fs::rename(directory.join("log"), &kept).is_ok();
    if moved && thread::panicking() {
        say(format_args!("the logs of {name} are in {}", kept.display()));
    }
}

/// Makes the first bridge that nobody has: the kernel decides whose it is.
fn make_bridge() -> Result<u8> {
    for index in NETWORKS {
        let name = bridge_name(index);
        if Path::new("/sys/class/net").join(&name).exists()
            || process::ip(&format!("link add {name} type bridge")).is_err()
        {
            continue;
        }
        process::ip(&format!("address add 10.89.{index}.1/24 dev {name}"))?;
        process::ip(&format!("link set {name} up"))?;
        return Ok(index);
    }
    bail!("cannot make a bridge: `ip link add knlab1 type bridge` fails, or 199 labs are running")
}

fn bridge_name(index: u8) -> String {
    format!("knlab{index}")
}

fn cgroup_prefix(index: u8) -> String {
    format!("kn-lab-{index}-")
}

/// Removes what runs left whose process is gone: their lock is free.
fn remove_dead(runs: &Path) -> Result<()> {
    for entry in fs::read_dir(runs)? {
        let directory = entry?.path();
        if !directory.is_dir() || cache::try_lock(&directory.join("lock"))?.is_none() {
            continue;
        }
        let index = fs::read_to_string(directory.join("network")).ok().and_then(|text| text.parse().ok());
        match index {
            Some(index) => remove(&directory, index)?,
            None => fs::remove_dir_all(&directory)?,
        }
    }
    Ok(())
}

fn remove(directory: &Path, index: u8) -> Result<()> {
    let bridge = bridge_name(index);
    if Path::new("/sys/class/net").join(&bridge).exists() {
        process::ip(&format!("link delete {bridge}"))?;
    }
    cgroup::remove_matching(&cgroup_prefix(index))?;
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove `{}`", directory.display()))
}
