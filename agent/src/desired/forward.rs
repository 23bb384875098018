//! Pod traffic through a machine whose docker drops what is forwarded.
//!
//! docker that finds forwarding turned off turns it on and sets the policy of FORWARD to DROP: whenever it starts before
//! anybody has made the machine a node. What comes from a pod is forwarded, even to a pod beside it
//! (`bridge-nf-call-iptables`). flannel and calico have rules of their own; where nobody has, a unit of ours does: the
//! daemon has no right to.

use std::fmt::Write;

use super::cni::BRIDGE;
use super::{Facts, FileSpec, paths, units};
use crate::config::{Config, NetworkPlugin};

/// How pod traffic is known, as iptables takes it, and whether it is IPv6; empty where the network has its own rules, or nothing is
/// known of it.
fn ways(config: &Config) -> Vec<(String, bool)> {
    let network = match (config.network.plugin, &config.cluster.pod_cidr) {
        (NetworkPlugin::Bridge, _) => {
            let both = [false, true];
            return both
                .iter()
                .flat_map(|v6| ["-i", "-o"].map(|way| (format!("{way} {BRIDGE}"), *v6)))
                .collect();
        }
        (NetworkPlugin::None, Some(network)) => network,
        _ => return Vec::new(),
    };
    let v6 = network.network().is_ipv6();
    vec![(format!("-s {network}"), v6), (format!("-d {network}"), v6)]
}

/// The unit; `None` where no rule is needed, or nothing is there to make it with.
///
/// Rules are appended: what an operator forbids in DOCKER-USER stays forbidden.
pub(super) fn unit(config: &Config, facts: &Facts) -> Option<FileSpec> {
    let program = facts.iptables.as_ref()?;
    let ways = ways(config);
    if ways.is_empty() {
        return None;
    }
    let mut text = format!(
        "# Written by kn-agent; changes are put back.\n\
         [Unit]\n\
         Description=Pod traffic passes where docker drops what is forwarded\n\
         After={docker}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n",
        docker = units::DOCKER,
    );
    let (v4, v6) = (program.display().to_string(), program.with_file_name("ip6tables").display().to_string());
    let line = |way: &str, v6_way: bool, verb: &str| {
        let program = units::word(if v6_way { &v6 } else { &v4 });
        format!("{program} --wait {verb} FORWARD {way} -j ACCEPT -m comment --comment kn-agent")
    };
    for (way, is_v6) in &ways {
        // One that is there is taken away first, so that there is one. A machine without IPv6 needs none of its rules.
        let _ = writeln!(text, "ExecStart=-{}", line(way, *is_v6, "--delete"));
        let optional = if *is_v6 && config.network.plugin == NetworkPlugin::Bridge { "-" } else { "" };
        let _ = writeln!(text, "ExecStart={optional}{}", line(way, *is_v6, "--append"));
    }
    for (way, is_v6) in &ways {
        let _ = writeln!(text, "ExecStop=-{}", line(way, *is_v6, "--delete"));
    }
    Some(FileSpec::new(&paths::units().join(units::FORWARD), text, 0o644))
}
