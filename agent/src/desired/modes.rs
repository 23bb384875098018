//! What kube-proxy's modes need of a machine, and what they leave on it. The facts are Kubernetes' own:
//!
//! - `iptables`, and `ipvs`, execute `iptables` (pkg/util/iptables; since 1.24 "iptables is not available on this host").
//! - `nftables` executes `nft` and wants Linux 5.13 (pkg/util/kernel: `NFTablesKubeProxyKernelVersion`), since the `nft`
//!   of older systems is made unusable by rules of newer ones; `KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK` passes
//!   over that.
//! - `ipvs` executes `ipset` too, and wants the kernel's `ip_vs` with the scheduler (pkg/proxy/ipvs: `CanUseIPVSProxier`).
//!   Up to 1.24 it went on as iptables where that was missing, with a line in a log.

use serde_json::Value;

use super::versions::{Behaviour, Version};
use super::{Facts, FileSpec, paths, units};
use crate::config::{Config, ProxyMode};

/// The oldest kernel for nftables.
const NFTABLES_KERNEL: (u32, u32) = (5, 13);

/// What is there for the modes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Means {
    /// The kernel's release.
    pub kernel: String,
    /// Programs that were not found where a unit of systemd's would find them.
    pub missing: Vec<&'static str>,
    /// Whether the kernel has `ip_vs`; looked for only where the mode is ipvs.
    pub ipvs: Module,
    /// Whether the interface is there to which ipvs binds the Services' addresses.
    pub has_ipvs_device: bool,
}

/// A module of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Module {
    /// Loaded, or built in.
    Present,
    /// It lies on the disk.
    Loadable,
    /// The kernel has none, and neither has the disk.
    Absent,
    /// The directory of modules is not to be seen: the daemon's sandbox hides it.
    #[default]
    Unknown,
}

/// What is executed in a mode.
pub const fn programs(mode: ProxyMode) -> &'static [&'static str] {
    match mode {
        ProxyMode::Iptables => &["iptables"],
        ProxyMode::Nftables => &["nft"],
        ProxyMode::Ipvs => &["iptables", "ipset"],
    }
}

/// The modules that ipvs uses. kube-proxy asked for all three usual schedulers up to 1.26 (`GetRequiredIPVSModules`).
pub fn modules(config: &Config) -> Vec<String> {
    let mut modules: Vec<String> =
        ["ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh", "dummy", "nf_conntrack"].map(str::to_owned).into();
    let ipvs = config.proxy.component.config.get("ipvs");
    let scheduler = ipvs.and_then(|ipvs| ipvs.get("scheduler")).and_then(Value::as_str);
    // Anything else is no name, and would be a line of its own in our file.
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    if let Some(name) = scheduler.filter(is_name).map(|name| format!("ip_vs_{name}")) {
        modules.push(name);
    }
    modules.dedup();
    modules
}

/// What a mode needs and this machine lacks; `None` where it can be had, as far as can be seen.
pub fn lacking(mode: ProxyMode, means: &Means) -> Option<String> {
    let name = mode.as_str();
    if let Some(program) = programs(mode).iter().find(|program| means.missing.contains(program)) {
        return Some(format!(
            "{name} needs the program `{program}`; install it (Debian: {})",
            package(program)
        ));
    }
    match mode {
        ProxyMode::Iptables => None,
        ProxyMode::Nftables => kernel(&means.kernel).filter(|found| *found < NFTABLES_KERNEL).map(|_| {
            let (major, minor) = NFTABLES_KERNEL;
            format!("{name} needs Linux {major}.{minor} or later, and this is {}", means.kernel)
        }),
        ProxyMode::Ipvs => (means.ipvs == Module::Absent).then(|| {
            format!(
                "{name} needs the kernel's `ip_vs`, and Linux {0} has it neither built in nor in /lib/modules/{0}",
                means.kernel
            )
        }),
    }
}

fn package(program: &str) -> &str {
    if program == "nft" { "nftables" } else { program }
}

/// The first two numbers of a release.
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The mode that a configuration of kube-proxy's says; its default is iptables.
pub fn mode_in(text: &[u8]) -> ProxyMode {
    let text = String::from_utf8_lossy(text);
    let value = text.lines().find_map(|line| line.strip_prefix("mode:")).unwrap_or_default();
    match value.trim().trim_matches(['"', '\'']) {
        "nftables" => ProxyMode::Nftables,
        "ipvs" => ProxyMode::Ipvs,
        _ => ProxyMode::Iptables,
    }
}

/// Whether kube-proxy of this version, when it starts in the mode `wanted`, takes away what it left in `left`.
pub fn cleans_itself(version: Version, left: ProxyMode, wanted: ProxyMode) -> bool {
    let is_nftables = |mode| mode == ProxyMode::Nftables;
    Behaviour::ProxyCleansUp.holds(version) && is_nftables(left) != is_nftables(wanted)
}

/// The note of the mode that is left.
pub fn left(mode: ProxyMode) -> FileSpec {
    FileSpec::new(paths::proxy_left(), format!("{}\n", mode.as_str()), 0o600)
}

/// The unit that takes away what kube-proxy left. It ends kube-proxy first, which would write its rules again, or lose
/// those of its new mode: `--cleanup` takes all of them. What can't be taken away stands in its log and holds nothing
/// back: Services that do not work at all would be worse than a rule too many.
pub fn cleanup_unit(facts: &Facts) -> Option<FileSpec> {
    let program = units::word(&facts.proxy.path.as_ref()?.display().to_string());
    let text = format!(
        "# Written by kn-agent, and taken away when it has run.\n\
         [Unit]\n\
         Description=Takes away what kube-proxy left in another mode\n\
         Conflicts={proxy}\n\
         After={proxy}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=-{program} --cleanup\n",
        proxy = units::KUBE_PROXY,
    );
    Some(FileSpec::new(&paths::units().join(units::PROXY_CLEANUP), text, 0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_lack_what_kubernetes_source_says_they_need() {
        let all = [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs];
        let with = |kernel: &str, missing: &[&'static str], ipvs| {
            let means =
                Means { kernel: kernel.to_owned(), missing: missing.to_vec(), ipvs, ..Means::default() };
            all.map(|mode| lacking(mode, &means).unwrap_or_default())
        };
        assert_eq!(with("6.1.0-18-amd64", &[], Module::Unknown), ["", "", ""]);
        // A release that says no number is not judged.
        assert_eq!(with("", &[], Module::Loadable), ["", "", ""]);
        assert_eq!(with("5.13.0", &[], Module::Present)[1], "");
        assert_eq!(
            with("5.10.0-28-amd64", &[], Module::Absent),
            [
                "",
                "nftables needs Linux 5.13 or later, and this is 5.10.0-28-amd64",
                "ipvs needs the kernel's `ip_vs`, and Linux 5.10.0-28-amd64 has it neither built in nor in \
                 /lib/modules/5.10.0-28-amd64"
            ]
        );
        assert_eq!(
            with("6.1.0", &["iptables", "nft", "ipset"], Module::Present),
            [
                "iptables needs the program `iptables`; install it (Debian: iptables)",
                "nftables needs the program `nft`; install it (Debian: nftables)",
                "ipvs needs the program `iptables`; install it (Debian: iptables)"
            ]
        );
        assert_eq!(
            with("6.1.0", &["ipset"], Module::Present)[2],
            "ipvs needs the program `ipset`; install it (Debian: ipset)"
        );
    }

    #[test]
    fn the_mode_of_a_file_is_read_however_it_is_written() {
        for (text, mode) in [
            ("mode: ipvs\n", ProxyMode::Ipvs),
            ("kind: x\nmode: \"ipvs\"  \n", ProxyMode::Ipvs),
            ("mode: 'nftables'\n", ProxyMode::Nftables),
            ("mode: \"\"\n", ProxyMode::Iptables),
            ("kind: x\nipvs:\n  mode: ipvs\n", ProxyMode::Iptables),
            ("", ProxyMode::Iptables),
        ] {
            assert_eq!(mode_in(text.as_bytes()), mode, "{text}");
        }
    }

    #[test]
    fn kube_proxy_cleans_up_itself_where_its_source_does() {
        let (iptables, nftables, ipvs) = (ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs);
        for (version, left, wanted, does) in [
            ("v1.28.9", ipvs, iptables, false),
            ("v1.28.9", iptables, nftables, false),
            ("v1.29.0", iptables, nftables, true),
            ("v1.36.0", nftables, iptables, true),
            ("v1.36.0", nftables, ipvs, true),
            ("v1.36.0", ipvs, nftables, true),
            ("v1.36.0", iptables, ipvs, false),
            ("v1.36.0", ipvs, iptables, false),
        ] {
            assert_eq!(
                cleans_itself(version.parse().unwrap(), left, wanted),
                does,
                "{version} {left:?} {wanted:?}"
            );
        }
    }
}
