//! The cgroups that reservations are enforced on (`kubelet.config.enforceNodeAllocatable`).
//!
//! The kubelet makes none of them and ends where one is missing: "Failed to enforce Kube Reserved Cgroup Limits on …".
//! Under the driver `systemd` they are slices, which systemd makes; under `cgroupfs` they are directories, and who makes
//! them is the kubelet's unit, before its start.

use std::fmt::Write;

use serde_json::Value;

use super::{Facts, units};
use crate::config::Config;

/// The hierarchies of cgroup v1 in which the kubelet wants to find such a cgroup (`pkg/kubelet/cm`,
/// `cgroupManagerImpl.Exists`). systemd makes cgroups in those that it uses itself.
pub const HIERARCHIES: &[&str] = &["cpu", "cpuacct", "cpuset", "hugetlb", "memory", "pids", "systemd"];

const SYSTEMD: &str = "systemd";

/// A level's end where only processor time is enforced (since 1.32), on the same cgroup.
const COMPRESSIBLE: &str = "-compressible";

/// Mounts that are read-only, as in a container's, are made writable.
const WRITABLE: &str = "for mount; do test -w \"$mount\" || mount -o remount,rw,bind \"$mount\"; done";

/// A new cgroup of `cpuset` has no processor and no memory, and none below it can be given any: the kubelet 1.36, which
/// gives them, ends with "permission denied". Each that has none takes those of the one above it.
const CPUSET: &str = "cd /sys/fs/cgroup/cpuset; for part; do for file in cpuset.cpus cpuset.mems; do \
                      test -n \"$(cat \"$part/$file\")\" || cat $file > \"$part/$file\"; done; cd \"$part\"; done";

/// On cgroup v2 a cgroup has the controllers that the one above it hands down, and the kubelet wants all of the root's
/// ("some missing controllers"). One that is refused is the kubelet's to miss.
const UNIFIED: &str = "cd /sys/fs/cgroup; for part; do for controller in $(cat cgroup.controllers); do \
                       echo +$controller > cgroup.subtree_control || true; done; mkdir -p \"$part\"; cd \"$part\"; done";

/// The cgroups that something is enforced on, each with the field that names it.
fn enforced(config: &Config) -> impl Iterator<Item = (&'static str, &str)> {
    let fields = &config.kubelet.config;
    let levels = fields.get("enforceNodeAllocatable").and_then(Value::as_array);
    [("kube-reserved", "kubeReservedCgroup"), ("system-reserved", "systemReservedCgroup")]
        .into_iter()
        .filter(move |(level, _)| {
            let of_it = |found: &str| found.strip_suffix(COMPRESSIBLE).unwrap_or(found) == *level;
            levels.is_some_and(|levels| levels.iter().filter_map(Value::as_str).any(of_it))
        })
        .filter_map(|(_, field)| Some((field, fields.get(field)?.as_str()?)))
        .filter(|(_, cgroup)| !cgroup.trim_matches('/').is_empty())
}

/// The name of the slice that the kubelet goes by under the driver `systemd`: the last part, which says where the slice is
/// (`ParseSystemdToCgroupName`).
fn slice(cgroup: &str) -> &str {
    cgroup.trim_end_matches('/').rsplit('/').next().unwrap_or(cgroup)
}

/// Not a file's extension: units' names have a case.
fn is_slice(name: &str) -> bool {
    name.strip_suffix(".slice").is_some_and(|rest| !rest.is_empty())
}

/// Why the kubelet would find no cgroup of this name.
pub fn misnamed(config: &Config, cgroup_driver: &str) -> Option<String> {
    let mut wrong = enforced(config).filter(|(_, cgroup)| !is_slice(slice(cgroup)));
    let (field, cgroup) = wrong.next().filter(|_| cgroup_driver == SYSTEMD)?;
    Some(format!(
        "kubelet.config.{field} is `{cgroup}`: with the cgroup driver systemd it must be a slice, e.g. `/kubelet.slice`"
    ))
}

/// Slices that are to be there before the kubelet starts.
pub(super) fn slices(config: &Config, cgroup_driver: &str) -> Vec<String> {
    let slices = enforced(config).map(|(_, cgroup)| slice(cgroup)).filter(|name| is_slice(name));
    // A name that is none of a unit's would be refused by systemd, and with it the line.
    let is_plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:@\\".contains(c));
    let mut slices: Vec<String> =
        slices.filter(is_plain).filter(|_| cgroup_driver == SYSTEMD).map(str::to_owned).collect();
    slices.dedup();
    slices
}

/// The limit that the kubelet sets on its own unit's cgroup, for systemd to know: it owns that, and takes off with each
/// reload what it does not know of.
pub(super) fn own_limit(config: &Config, cgroup_driver: &str) -> Option<String> {
    let own = format!("system.slice/{}", units::KUBELET);
    let mut own = enforced(config).filter(|(_, cgroup)| cgroup.trim_matches('/') == own);
    let (field, _) = own.next().filter(|_| cgroup_driver != SYSTEMD)?;
    let levels = config.kubelet.config.get("enforceNodeAllocatable")?.as_array()?;
    let whole = if field == "kubeReservedCgroup" { "kube-reserved" } else { "system-reserved" };
    if !levels.iter().any(|level| level == whole) {
        return None;
    }
    let reserved = config.kubelet.config.get(field.strip_suffix("Cgroup")?)?;
    let memory = reserved.get("memory")?.as_str()?;
    // Kubernetes' `Mi` is systemd's `M`; what is written otherwise stays the kubelet's alone.
    let number =
        memory.strip_suffix('i').map_or(memory, |binary| binary.trim_end_matches(['K', 'M', 'G', 'T']));
    let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| format!("MemoryMax={}\n", memory.trim_end_matches('i')))
}

/// The lines of the kubelet's unit that make the rest.
pub(super) fn commands(config: &Config, facts: &Facts, cgroup_driver: &str) -> String {
    let cgroups: Vec<&str> = enforced(config)
        .map(|(_, cgroup)| cgroup.trim_matches('/'))
        .filter(|cgroup| cgroup_driver != SYSTEMD && !cgroup.split('/').any(|part| part == ".."))
        .collect();
    let mut text = String::new();
    if cgroups.is_empty() {
        return text;
    }
    let parts = |cgroup: &str| cgroup.split('/').map(units::word).collect::<Vec<_>>().join(" ");
    let mut run = |script: &str, words: &str| {
        let _ = writeln!(text, "ExecStartPre=/bin/sh -ec {} sh {words}", units::word(script));
    };
    if facts.cgroup_v2 {
        run(WRITABLE, "/sys/fs/cgroup");
        for cgroup in &cgroups {
            run(UNIFIED, &parts(cgroup));
        }
        return text;
    }
    let mounts: Vec<String> =
        facts.cgroup_hierarchies.iter().map(|name| format!("/sys/fs/cgroup/{name}")).collect();
    if mounts.is_empty() {
        return text;
    }
    run(WRITABLE, &mounts.join(" "));
    for cgroup in &cgroups {
        let directories: Vec<String> =
            mounts.iter().map(|mount| units::word(&format!("{mount}/{cgroup}"))).collect();
        run("mkdir -p \"$@\"", &directories.join(" "));
        if facts.cgroup_hierarchies.contains(&"cpuset") {
            run(CPUSET, &parts(cgroup));
        }
    }
    text
}
