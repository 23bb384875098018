//! Names of units, and text of unit files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::paths;
use crate::config::{Config, RuntimeKind};

/// docker's own unit.
pub const DOCKER: &str = "docker.service";
/// containerd's own unit.
pub const CONTAINERD: &str = "containerd.service";
/// The CRI shim of docker, from Kubernetes 1.24 on.
pub const CRI_DOCKERD: &str = "cri-docker.service";
/// The kubelet.
pub const KUBELET: &str = "kubelet.service";
/// kube-proxy.
pub const KUBE_PROXY: &str = "kube-proxy.service";
/// Loads the images that lie on the node as files; ours.
pub const IMAGES: &str = "kn-agent-images.service";
/// Lets pod traffic pass where docker drops what is forwarded; ours.
pub const FORWARD: &str = "kn-agent-forward.service";
/// Applies the kernel settings in `/etc/sysctl.d/95-kn-agent.conf`; shipped with the package.
pub const SYSCTL: &str = "kn-agent-sysctl.service";
/// Loads the modules in `/etc/modules-load.d/95-kn-agent.conf`; shipped with the package.
pub const MODULES: &str = "kn-agent-modules.service";

/// Takes away what kube-proxy left in another mode; ours, there only while that is due.
pub const PROXY_CLEANUP: &str = "kn-agent-proxy-cleanup.service";

/// Lets only those reach ports of this node who may; ours, there where something is restricted.
pub const FIREWALL: &str = "kn-agent-firewall.service";

/// Debian's own firewall: it takes every table away when it starts.
pub const NFTABLES: &str = "nftables.service";

/// Takes away rules for a port that the kubelet gave up; ours, there only while that is due.
pub const PORT_4194: &str = "kn-agent-port-4194.service";

/// Every unit whose state matters.
pub const ALL: &[&str] = &[
    DOCKER,
    CRI_DOCKERD,
    KUBELET,
    KUBE_PROXY,
    SYSCTL,
    MODULES,
    CONTAINERD,
    IMAGES,
    PROXY_CLEANUP,
    FORWARD,
    FIREWALL,
    NFTABLES,
];

/// Units of ours that a change of the configuration makes needless.
pub const OPTIONAL: &[&str] = &[IMAGES, FORWARD, FIREWALL];

/// Whether the state of `unit` says anything under this configuration: not that of the other engine, nor that of a
/// firewall beside which there is none of ours.
pub fn matters(unit: &str, config: &Config) -> bool {
    match unit {
        CONTAINERD => config.runtime.kind == RuntimeKind::Containerd,
        DOCKER | CRI_DOCKERD => config.runtime.kind == RuntimeKind::Docker,
        NFTABLES => !config.firewall.restrict.is_empty(),
        _ => true,
    }
}

/// Whether it matters that systemd has read the newest file of `unit`, and whether it starts at boot: not of oneshots that
/// nothing wants, which systemd forgets after each answer, nor of Debian's firewall, which we neither write nor enable.
pub fn has_file_of_interest(unit: &str) -> bool {
    !matches!(unit, SYSCTL | MODULES | PROXY_CLEANUP | NFTABLES)
}

/// The files of ours that `unit` reads when it starts: it starts anew when one of them changes.
pub fn inputs(unit: &str) -> Vec<PathBuf> {
    let of_its_own: &[&Path] = match unit {
        // The engine's unit is the distribution's.
        DOCKER => return vec![paths::daemon_json().to_owned()],
        CONTAINERD => {
            return vec![paths::containerd_config().to_owned(), paths::containerd_drop_in().to_owned()];
        }
        KUBELET => &[paths::kubelet_config(), paths::kubelet_kubeconfig()],
        KUBE_PROXY => &[paths::proxy_config(), paths::proxy_kubeconfig()],
        FIREWALL => &[paths::firewall()],
        _ => &[],
    };
    let unit_file = paths::units().join(unit);
    std::iter::once(unit_file).chain(of_its_own.iter().map(|&path| path.to_owned())).collect()
}

/// A path as the value of a condition or a description (systemd.unit(5), SPECIFIERS). What would end the line is refused
/// where the configuration is read.
pub fn path(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

/// One word of an `ExecStart=` line, quoted so that systemd passes exactly these bytes (systemd.service(5), COMMAND
/// LINES; systemd.syntax(7), QUOTING): `%` and `$` doubled, control characters as escapes.
pub fn word(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match c {
            '%' => quoted.push_str("%%"),
            '$' => quoted.push_str("$$"),
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%$+".contains(c);
    if !text.is_empty() && text.chars().all(plain) { quoted } else { format!("\"{quoted}\"") }
}

/// An `ExecStart=` line over several lines, a flag on each.
pub fn exec_start(program: &str, flags: &[(String, String)]) -> String {
    let mut line = format!("ExecStart={}", word(program));
    for (flag, value) in flags {
        let _ = write!(line, " \\\n  {}", word(&format!("--{flag}={value}")));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_plain_text_readable_and_quote_the_rest() {
        assert_eq!(word("--v=2"), "--v=2");
        assert_eq!(word("100%"), "100%%");
        assert_eq!(word("a b"), "\"a b\"");
        assert_eq!(word("x\n[Service]"), "\"x\\x0a[Service]\"");
        assert_eq!(word("${X}\""), "\"$${X}\\\"\"");
        assert_eq!(word(""), "\"\"");
        assert_eq!(path(Path::new("/a b/100%n")), "/a b/100%%n");
    }
}
