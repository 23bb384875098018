//! Settings that only the lab needs, each with its reason and a probe of its cause. A scenario must not gain one that
//! is not here; a host without the cause does not get the setting.

use std::{fmt::Write as _, fs};

use anyhow::Result;

use crate::{Minor, cache, cgroup, images::PAUSE_IMAGE};

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

const DAEMON_JSON: &str = "etc/docker/daemon.json";

/// containerd's own way around it. The rest is what Debian's package has in this file.
const OOM_CONTAINERD: &str = r#"version = 2

[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"#;

/// The same in containerd 2's form, for a file beside a configuration that imports others.
const OOM_CONTAINERD_2: &str = "version = 3
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
";

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

/// What the host did to a container that is no machine, undone before any unit starts: control groups are read-only in one,
/// and a kubelet ends where there is no kernel log.
pub(crate) const BEFORE_SYSTEMD: &str = r#"mount -o remount,rw /sys/fs/cgroup
for hierarchy in /sys/fs/cgroup/*; do
    [ -d "$hierarchy" ] && mountpoint -q "$hierarchy" && mount -o remount,rw,bind "$hierarchy"
done
[ -e /dev/kmsg ] || mknod /dev/kmsg c 1 11"#;

/// A limit of the host's, and what it has to be at least. Each API server, systemd, docker, kubelet and agent takes a
/// handful of these. Linux lets root have 128 for all containers together, which four labs use up: "Too many open
/// files", wherever it is met.
pub(crate) const INOTIFY: (&str, u32) = ("/proc/sys/fs/inotify/max_user_instances", 1024);

/// A file of a node's that only the lab needs.
#[derive(Debug)]
pub(crate) enum NodeFile {
    Content { path: &'static str, mode: u32, text: &'static str },
    Masked { unit: &'static str },
}

/// Which causes this host has.
#[derive(Debug, Clone, Copy)]
struct Causes {
    oom_score_is_fixed: bool,
    cgroups_are_v1: bool,
    disk_is_nearly_full: bool,
}

impl Causes {
    fn found() -> Result<Self> {
        Ok(Self {
            oom_score_is_fixed: !may_lower_oom_score()?,
            cgroups_are_v1: !cgroup::is_unified(),
            disk_is_nearly_full: is_nearly_full(),
        })
    }
}

/// What each node gets on this host.
pub(crate) fn node_files() -> Result<Vec<NodeFile>> {
    Ok(node_files_for(Causes::found()?))
}

fn node_files_for(causes: Causes) -> Vec<NodeFile> {
    let mut files: Vec<_> = UDEV_UNITS.into_iter().map(|unit| NodeFile::Masked { unit }).collect();
    if causes.oom_score_is_fixed {
        files.push(NodeFile::Content { path: "usr/local/sbin/lab-runc", mode: 0o755, text: OOM_RUNTIME });
        files.push(NodeFile::Content { path: DAEMON_JSON, mode: 0o644, text: OOM_DAEMON_JSON });
        files.push(NodeFile::Content {
            path: "etc/containerd/config.toml",
            mode: 0o644,
            text: OOM_CONTAINERD,
        });
    }
    files
}

/// docker's configuration as a machine that is booted here has it; `None` where it has none.
pub(crate) fn daemon_json() -> Result<Option<&'static str>> {
    Ok(node_files()?.into_iter().find_map(|file| match file {
        NodeFile::Content { path: DAEMON_JSON, text, .. } => Some(text),
        _ => None,
    }))
}

/// What a configuration of containerd 2 that the scenario brings needs beside it.
pub(crate) fn containerd_2_drop_in() -> Result<&'static str> {
    Ok(if Causes::found()?.oom_score_is_fixed { OOM_CONTAINERD_2 } else { "version = 3\n" })
}

/// Arguments of PID 1: systemd 257 boots on cgroup v1 only if told so twice.
pub(crate) fn init_arguments() -> &'static str {
    if cgroup::is_unified() { "" } else { "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1" }
}

/// Fields of the kubelet's configuration, one a line.
pub(crate) fn kubelet_config(minor: Minor) -> Result<Vec<&'static str>> {
    Ok(kubelet_config_for(Causes::found()?, minor))
}

fn kubelet_config_for(causes: Causes, minor: Minor) -> Vec<&'static str> {
    let mut fields = Vec::new();
    // The kubelet refuses cgroup v1 since 1.35 unless told otherwise; a machine of today has v2.
    if causes.cgroups_are_v1 && minor != Minor::V1_20 {
        fields.push("failCgroupV1: false");
    }
    // Images lie on the host's disk: one that is nearly full with other things would taint every node (the kubelet's
    // limit is 15 % free).
    if causes.disk_is_nearly_full {
        fields.push("evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}");
    }
    fields
}

/// Whether less than a quarter of the cache's disk is free: a run takes some of it itself.
fn is_nearly_full() -> bool {
    let disk = cache::directory().ok().and_then(|directory| rustix::fs::statvfs(&directory).ok());
    disk.is_some_and(|disk| disk.f_bavail < disk.f_blocks / 4)
}

/// Fields of kube-proxy's configuration, one a line.
pub(crate) fn proxy_config() -> Vec<&'static str> {
    // In a network namespace nf_conntrack_max is read-only, and kube-proxy ends with "permission denied".
    vec!["conntrack: {maxPerCore: 0, min: 0}"]
}

/// The fragment of kn-agent's configuration that makes it work in the lab: `/etc/kn-agent/config.d/50-lab.yaml`.
///
/// # Errors
/// What this host is like can't be read.
pub fn config_fragment(minor: Minor) -> Result<String> {
    let mut text = String::from("# What only the lab needs; reasons in tests/src/quirks.rs.\n");
    // There is no registry here: the pause image is imported.
    let _ = writeln!(text, "runtime: {{sandboxImage: '{PAUSE_IMAGE}'}}");
    for (component, fields) in [("kubelet", kubelet_config(minor)?), ("proxy", proxy_config())] {
        if !fields.is_empty() {
            let _ = writeln!(text, "{component}: {{config: {{{}}}}}", fields.join(", "));
        }
    }
    Ok(text)
}

fn may_lower_oom_score() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    Ok(u64::from_str_radix(mask.trim(), 16)? >> CAP_SYS_RESOURCE & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, path::Path};

    use kn_agent::config::{HostFacts, Sources, load};
    use kn_agent::desired::{self, Desired};
    use kn_agent::observe::facts;
    use kn_agent::ports::root::Root;

    use super::*;

    /// A machine as the agent sees it, with this in its drop-in and in the engine's own configuration; everything that the
    /// agent would write on it. A key for docker is set, since its file is written only where there is one to add.
    fn written(minor: Minor, fragment: &str, engines: &[(&str, &str)]) -> Result<String> {
        let directory = tempfile::tempdir()?;
        let put = |path: &str, mode: u32, text: &str| -> Result<()> {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            fs::write(&path, text)?;
            Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
        };
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        put("ca.pem", 0o644, &authority.self_signed(&rcgen::KeyPair::generate()?)?.pem())?;
        let minimum = "cluster: {server: 'https://10.0.0.1:6443', ca: {file: /ca.pem}}
identity: {token: {value: abcdef.0123456789abcdef}}
runtime: {daemonJson: {debug: false}}
";
        put("etc/kn-agent/config.yaml", 0o600, minimum)?;
        put("etc/kn-agent/config.d/50-lab.yaml", 0o600, fragment)?;
        for (path, text) in engines {
            put(path, 0o600, text)?;
        }
        for program in ["kubelet", "kube-proxy", "cri-dockerd"] {
            put(&format!("usr/local/bin/{program}"), 0o755, "")?;
        }
        let sources = Sources { root: directory.path().to_owned(), only: None, env: Vec::new() };
        let host = HostFacts { hostname: "worker-1".to_owned(), ..HostFacts::default() };
        let config = load(&sources, &host).map_err(|errors| anyhow::anyhow!("{errors}"))?.config;
        let mut facts = facts::quick(&Root::new(directory.path()), &config);
        facts.kubelet.version = format!("v{minor}.0").parse().ok();
        let desired = desired::desired(&config, &facts).expect("the version is known");
        let mut text = String::new();
        for file in Desired::files(&desired) {
            writeln!(text, "{}:\n{}", file.path.display(), String::from_utf8_lossy(&file.content))?;
        }
        writeln!(text, "{:?}", desired.node)?;
        Ok(text)
    }

    #[test]
    fn no_quirk_of_the_lab_is_the_agents_default() -> Result<()> {
        for minor in [Minor::V1_36, Minor::V1_20] {
            let default = written(minor, "", &[])?;
            // The control: with what the lab adds, each of them is found by the same search.
            let daemon_json = ("etc/docker/daemon.json", OOM_DAEMON_JSON);
            let lab = written(minor, &config_fragment(minor)?, &[daemon_json])?;
            let kubelets = kubelet_config(minor)?;
            let mut marks = vec![PAUSE_IMAGE, "kn-agent-lab", "conntrack", "lab-runc"];
            marks.extend(kubelets.iter().filter_map(|field| field.split(':').next()));
            for mark in marks {
                assert!(!default.contains(mark), "{minor}: `{mark}` is a default:\n{default}");
                assert!(lab.contains(mark), "{minor}: `{mark}` is not searched for rightly:\n{lab}");
            }
            assert!(
                default.contains("\"debug\": false"),
                "docker's configuration was not rendered:\n{default}"
            );
        }
        Ok(())
    }

    #[test]
    fn host_without_a_cause_gets_none_of_what_is_for_it() {
        let no = Causes { oom_score_is_fixed: false, cgroups_are_v1: false, disk_is_nearly_full: false };
        let contents = |causes| {
            let files = node_files_for(causes).into_iter();
            files.filter(|file| matches!(file, NodeFile::Content { .. })).count()
        };
        assert_eq!(contents(no), 0);
        assert_eq!(contents(Causes { oom_score_is_fixed: true, ..no }), 3);
        for (minor, of_cgroups) in [(Minor::V1_20, 0), (Minor::V1_36, 1)] {
            let fields = |causes| kubelet_config_for(causes, minor).len();
            assert_eq!(fields(no), 0, "{minor}");
            assert_eq!(fields(Causes { cgroups_are_v1: true, ..no }), of_cgroups, "{minor}");
            assert_eq!(fields(Causes { disk_is_nearly_full: true, ..no }), 1, "{minor}");
        }
    }

    #[test]
    fn no_quirk_of_the_lab_is_the_agents_default_for_containerd() -> Result<()> {
        let kind = ("etc/kn-agent/config.d/60-kind.yaml", "runtime: {kind: containerd}\n");
        let default = written(Minor::V1_36, "", &[kind])?;
        let lab = written(Minor::V1_36, "", &[kind, ("etc/containerd/config.toml", OOM_CONTAINERD)])?;
        let mark = "restrict_oom_score_adj";
        assert!(!default.contains(mark) && default.contains("sandbox_image"), "{default}");
        assert!(lab.contains(mark), "{lab}");
        Ok(())
    }
}
