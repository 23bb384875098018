//! Settings that only the lab needs, each with its reason and a probe of its cause. A scenario must not gain one that
//! is not here; a host without the cause does not get the setting.

use std::{fmt::Write as _, fs};

use anyhow::Result;

use crate::{Minor, cgroup, images::PAUSE_IMAGE};

/// Bit of CAP_SYS_RESOURCE in the capability masks of `/proc/PID/status`.
const CAP_SYS_RESOURCE: u32 = 24;

/// Without CAP_SYS_RESOURCE, runc cannot lower `oom_score_adj` and every sandbox fails ("can't get final child's PID
/// from pipe: EOF"; the kubelet asks for -998). This takes negative values out of the bundle.
const OOM_RUNTIME: &str = r#"#!/bin/sh
previous=
for word in "$@"; do
    case $previous in --bundle | -b) bundle=$word ;; esac
    previous=$word
done
if [ -n "${bundle-}" ]; then
    sed -i 's/,"oomScoreAdj":-[0-9]*//; s/"oomScoreAdj":-[0-9]*,//' "$bundle/config.json"
fi
exec runc "$@"
"#;

const OOM_DAEMON_JSON: &str = r#"{"default-runtime": "lab-runc", "runtimes": {"lab-runc": {"path": "/usr/local/sbin/lab-runc"}}}
"#;

/// udev units: in a container with a writable /sys they would trigger events on the host's devices. Elsewhere they
/// skip themselves in containers, whose /sys is read-only.
const UDEV_UNITS: [&str; 5] = [
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-udev-load-credentials.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
];

/// Environment of `systemd-nspawn`: seccomp off (its filter refuses calls that docker and kubelet make, also with
/// `--system-call-filter`), `/sys` and `/proc/sys` writable as on a machine.
pub(crate) const NSPAWN_ENVIRONMENT: [(&str, &str); 2] =
    [("SYSTEMD_SECCOMP", "0"), ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1")];

/// System calls and capabilities that a machine has and nspawn's default withholds.
pub(crate) const NSPAWN_ARGUMENTS: [&str; 2] = [
    "--capability=all",
    "--system-call-filter=@default @mount @module @privileged @raw-io keyctl bpf add_key request_key perf_event_open",
];

/// A file of a node's that only the lab needs.
#[derive(Debug)]
pub(crate) enum NodeFile {
    Content { path: &'static str, mode: u32, text: &'static str },
    Masked { unit: &'static str },
}

/// What each node gets on this host.
pub(crate) fn node_files() -> Result<Vec<NodeFile>> {
    let mut files: Vec<_> = UDEV_UNITS.into_iter().map(|unit| NodeFile::Masked { unit }).collect();
    if !may_lower_oom_score()? {
        files.push(NodeFile::Content { path: "usr/local/sbin/lab-runc", mode: 0o755, text: OOM_RUNTIME });
        files.push(NodeFile::Content { path: "etc/docker/daemon.json", mode: 0o644, text: OOM_DAEMON_JSON });
    }
    Ok(files)
}

/// Arguments of PID 1: systemd 257 boots on cgroup v1 only if told so twice.
pub(crate) fn init_arguments() -> &'static str {
    if cgroup::is_unified() { "" } else { "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1" }
}

/// Fields of the kubelet's configuration, one a line.
pub(crate) fn kubelet_config(minor: Minor) -> Vec<&'static str> {
    // The kubelet refuses cgroup v1 since 1.35 unless told otherwise; a machine of today has v2.
    if cgroup::is_unified() || minor == Minor::V1_20 { Vec::new() } else { vec!["failCgroupV1: false"] }
}

/// Fields of kube-proxy's configuration, one a line.
pub(crate) fn proxy_config() -> Vec<&'static str> {
    // In a network namespace nf_conntrack_max is read-only, and kube-proxy ends with "permission denied".
    vec!["conntrack: {maxPerCore: 0, min: 0}"]
}

/// The fragment of kn-agent's configuration that makes it work in the lab: `/etc/kn-agent/config.d/50-lab.yaml`.
pub fn config_fragment(minor: Minor) -> String {
    let mut text = String::from("# What only the lab needs; reasons in tests/src/quirks.rs.\n");
    // There is no registry here: the pause image is imported.
    let _ = writeln!(text, "runtime: {{sandboxImage: '{PAUSE_IMAGE}'}}");
    for (component, fields) in [("kubelet", kubelet_config(minor)), ("proxy", proxy_config())] {
        if !fields.is_empty() {
            let _ = writeln!(text, "{component}: {{config: {{{}}}}}", fields.join(", "));
        }
    }
    text
}

fn may_lower_oom_score() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    Ok(u64::from_str_radix(mask.trim(), 16)? >> CAP_SYS_RESOURCE & 1 == 1)
}
