//! A node's own place in every cgroup hierarchy of the host: without it, two nodes would share `/kubepods`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::process::signal;

const MOUNT: &str = "/sys/fs/cgroup";

/// Makes the cgroup `name` in every hierarchy and returns the directories.
pub(crate) fn create(name: &str) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for (controllers, parent) in parents()? {
        let path = parent.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make the cgroup `{}`", path.display()))?;
        if controllers.split(',').any(|controller| controller == "cpuset") {
            // A cpuset of cgroup v1 starts empty and takes no process until it has both.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(path.join(file), fs::read(parent.join(file))?)?;
            }
        }
        made.push(path);
    }
    Ok(made)
}

/// Removes every cgroup of the lab whose name starts with `prefix`, and kills what is still in one.
pub(crate) fn remove_matching(prefix: &str) -> Result<()> {
    for (_, parent) in parents()? {
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let path = entry.path();
                remove(&path).with_context(|| format!("cannot remove the cgroup `{}`", path.display()))?;
            }
        }
    }
    Ok(())
}

/// The cgroups of the lab whose name starts with `prefix`.
pub(crate) fn matching(prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (_, parent) in parents()? {
        let children = fs::read_dir(&parent).into_iter().flatten().flatten();
        found.extend(
            children
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path()),
        );
    }
    Ok(found)
}

/// Each hierarchy's controllers and the directory our cgroups go under: on v1 our own (so that limits set on us hold
/// for nodes), on v2 the root (an inner cgroup with processes can have no children with controllers).
fn parents() -> Result<Vec<(String, PathBuf)>> {
    if is_unified() {
        return Ok(vec![(String::new(), PathBuf::from(MOUNT))]);
    }
    hierarchies("/proc/self/cgroup")
}

/// The controllers of each hierarchy of the host and the directory in it that a process's `cgroup` file names.
fn hierarchies(file: &str) -> Result<Vec<(String, PathBuf)>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{file}`"))?;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let hierarchy = match controllers {
            "" if is_unified() => PathBuf::from(MOUNT),
            "" => Path::new(MOUNT).join("unified"),
            named => Path::new(MOUNT).join(named.trim_start_matches("name=")),
        };
        if hierarchy.is_dir() {
            found.push((controllers.to_owned(), hierarchy.join(path.trim_start_matches('/'))));
        }
    }
    Ok(found)
}

/// Whether the host has cgroup v2 alone.
pub fn is_unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

fn remove(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        kill_processes(path)?;
        match remove_tree(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
}

/// Kills what is left in a cgroup: of a run that is over, nothing should be.
fn kill_processes(path: &Path) -> io::Result<()> {
    let Ok(processes) = fs::read_to_string(path.join("cgroup.procs")) else { return Ok(()) };
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        signal(pid, Signal::KILL);
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            kill_processes(&entry.path())?;
        }
    }
    Ok(())
}

/// Cgroups are removed by `rmdir`, the innermost first; their files are the kernel's.
fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// The directories of the cgroups a process is in.
pub(crate) fn of_process(pid: u32) -> Result<Vec<PathBuf>> {
    Ok(hierarchies(&format!("/proc/{pid}/cgroup"))?.into_iter().map(|(_, path)| path).collect())
}
