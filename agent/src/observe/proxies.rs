//! Other kube-proxies on this machine: those of a DaemonSet run in this PID namespace too.

use std::path::{Path, PathBuf};

use crate::desired::units;
use crate::ports::root::Root;

/// A process that is called kube-proxy and is not of our unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherProxy {
    /// Its process id.
    pub pid: u32,
    /// The cgroup it is in: that of a unit, or of a pod.
    pub cgroup: String,
}

/// Every other kube-proxy. What ends while it is looked at is none.
pub fn others(root: &Root) -> Vec<OtherProxy> {
    let pids = root.list(Path::new("/proc")).unwrap_or_default();
    pids.iter().filter_map(|name| name.parse().ok()).filter_map(|pid| other(root, pid)).collect()
}

fn other(root: &Root, pid: u32) -> Option<OtherProxy> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let text = |name: &str| {
        let file = root.read_following(&directory.join(name)).ok()??;
        Some(String::from_utf8_lossy(&file.content).into_owned())
    };
    // One that is asked for its version, by us too, is none that runs.
    let asked = |arguments: &str| arguments.split('\0').any(|word| matches!(word, "--version" | "--help"));
    if text("comm")?.trim_end() != "kube-proxy" || asked(&text("cmdline")?) {
        return None;
    }
    let cgroup = cgroup_in(&text("cgroup")?)?;
    let is_ours = cgroup.rsplit('/').next() == Some(units::KUBE_PROXY);
    (!is_ours).then_some(OtherProxy { pid, cgroup })
}

/// The path in systemd's own hierarchy, which is the one of cgroup v2 where there is no other.
fn cgroup_in(text: &str) -> Option<String> {
    let of =
        |kind: &str| text.lines().find_map(|line| line.split_once(kind)).map(|(_, path)| path.to_owned());
    of(":name=systemd:").or_else(|| of("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kube_proxy_of_a_pod_is_found_and_ours_or_one_that_tells_its_version_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let put = |pid: u32, name: &str, text: &str| {
            root.write(Path::new(&format!("/proc/{pid}/{name}")), text.as_bytes(), 0o444).unwrap();
        };
        let process = |pid: u32, comm: &str, cgroup: &str| {
            put(pid, "comm", comm);
            put(pid, "cgroup", cgroup);
            put(pid, "cmdline", &format!("{comm}\0--config=/x\0"));
        };
        process(7, "kube-proxy\n", "0::/system.slice/kube-proxy.service\n");
        process(8, "kubelet\n", "0::/system.slice/kubelet.service\n");
        process(6, "kube-proxy\n", "0::/system.slice/kn-agent.service\n");
        put(6, "cmdline", "/usr/bin/kube-proxy\0--version\0");
        assert_eq!(others(&root), []);
        process(9, "kube-proxy\n", "0::/kubepods.slice/pod1/c1\n");
        process(10, "kube-proxy\n", "5:memory:/m\n1:name=systemd:/kubepods/pod2/c2\n0::/\n");
        let mut found = others(&root);
        found.sort_by_key(|proxy| proxy.pid);
        let paths: Vec<_> = found.iter().map(|proxy| (proxy.pid, proxy.cgroup.as_str())).collect();
        assert_eq!(paths, [(9, "/kubepods.slice/pod1/c1"), (10, "/kubepods/pod2/c2")]);
    }
}
