//! What kube-proxy's modes find on this machine. Nothing of it needs a right, so rules themselves are not looked at.

use std::path::Path;

use super::facts::is_executable;
use super::modules;
use crate::config::{Config, ProxyMode};
use crate::desired::modes::{Means, Module, programs};
use crate::ports::root::Root;

/// Where a unit's program finds others by name: systemd's own default (systemd.exec(5), `$PATH`).
const UNIT_PATH: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

pub(super) fn means(root: &Root, config: &Config) -> Means {
    let kernel = modules::release(root);
    let is_missing = |program: &&str| {
        !UNIT_PATH.iter().any(|directory| is_executable(&root.path(&Path::new(directory).join(program))))
    };
    let ipvs = if config.proxy.mode == ProxyMode::Ipvs { ipvs(root, &kernel) } else { Module::Unknown };
    Means {
        missing: programs(config.proxy.mode).iter().copied().filter(is_missing).collect(),
        ipvs,
        has_ipvs_device: root.exists(Path::new("/sys/class/net/kube-ipvs0")),
        kernel,
    }
}

/// Each network namespace has the file once the kernel has the code.
fn ipvs(root: &Root, kernel: &str) -> Module {
    if root.exists(Path::new("/proc/net/ip_vs")) {
        return Module::Present;
    }
    modules::on_disk(root, kernel, "ip_vs")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn ip_vs_is_present_on_the_disk_or_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let put = |path: &str, text: &str| root.write(Path::new(path), text.as_bytes(), 0o644).unwrap();
        assert_eq!(ipvs(&root, "6.1.0"), Module::Absent);
        put("/lib/modules/6.1.0/modules.dep", "kernel/net/x/ip_vs_rr.ko: kernel/net/x/ip_vs.ko\n");
        assert_eq!(ipvs(&root, "6.1.0"), Module::Absent);
        put("/lib/modules/6.1.0/modules.builtin", "kernel/net/netfilter/ipvs/ip_vs.ko\n");
        assert_eq!(ipvs(&root, "6.1.0"), Module::Loadable);
        assert_eq!(ipvs(&root, "6.2.0"), Module::Absent);
        put("/proc/net/ip_vs", "IP Virtual Server\n");
        assert_eq!(ipvs(&root, "6.2.0"), Module::Present);
    }

    #[test]
    fn programs_are_looked_for_where_a_unit_finds_them() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let put = |path: &str, mode: u32| {
            root.write(Path::new(path), b"", mode).unwrap();
            std::fs::set_permissions(root.path(Path::new(path)), std::fs::Permissions::from_mode(mode))
                .unwrap();
        };
        put("/opt/bin/iptables", 0o755);
        put("/usr/sbin/iptables", 0o644);
        let is_there = |path: &str| is_executable(&root.path(Path::new(path)));
        assert!(is_there("/opt/bin/iptables") && !is_there("/usr/sbin/iptables"));
        let found = || UNIT_PATH.iter().any(|directory| is_there(&format!("{directory}/iptables")));
        assert!(!found());
        put("/usr/sbin/iptables", 0o755);
        assert!(found());
    }
}
