//! Who reaches this node's ports: a table of nftables of our own, and the unit that loads it.
//!
//! The daemon has no right to. The table stands beside those of kube-proxy, docker and the administrator, and takes
//! nothing from them: it only drops, for the ports that are named, what does not come from where it may. What the
//! machine says to itself passes, also under its own addresses, and so does what is under way.
//!
//! It looks at packets twice. As they come in, after conntrack knows them (priority raw, -300, and conntrack's -200) and
//! before kube-proxy, docker and the CNI plugin `portmap` send those for a Service's nodePort, a published port or a
//! hostPort on to another address and port (dstnat, -100): they pass no `input` under the port that was asked for. And
//! in `input`: a Service whose endpoint is this node leads to its ports under another.

use std::fmt::Write;
use std::path::Path;

use super::{Facts, FileSpec, paths, units};
use crate::config::{Config, Restriction};
use crate::names::Cidr;

/// The table's name, with its family.
pub const TABLE: &str = "inet kn-agent-firewall";

/// The table as `nft` loads it: in one transaction, whatever was there before.
fn ruleset(restrict: &[Restriction], services: Option<Cidr>) -> String {
    let rules = rules(restrict, services);
    format!(
        "# Written by kn-agent from firewall.restrict; changes are put back.\n\
         add table {TABLE}\n\
         delete table {TABLE}\n\
         table {TABLE} {{\n\
         \tchain prerouting {{\n\
         \t\ttype filter hook prerouting priority mangle; policy accept;\n\
         {rules}\
         \t}}\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         {rules}\
         \t}}\n\
         }}\n"
    )
}

/// What passes, then port by port who may and that nobody else does. Under ipvs the addresses of `services` are the
/// machine's own, and are not meant.
fn rules(restrict: &[Restriction], services: Option<Cidr>) -> String {
    let mut text = "\t\tiif \"lo\" accept\n\
                    \t\tct state established,related accept\n\
                    \t\tfib daddr type != local accept\n"
        .to_owned();
    let family = |network: &Cidr| if network.network().is_ipv6() { "ip6" } else { "ip" };
    if let Some(services) = services {
        let _ = writeln!(text, "\t\t{} daddr {services} accept", family(&services));
    }
    for Restriction { port, allow } in restrict {
        for of in ["ip", "ip6"] {
            let allowed = allow.iter().filter(|network| family(network) == of);
            let allowed: Vec<String> = allowed.map(ToString::to_string).collect();
            if !allowed.is_empty() {
                let _ = writeln!(text, "\t\ttcp dport {port} {of} saddr {{ {} }} accept", allowed.join(", "));
            }
        }
        let _ = writeln!(text, "\t\ttcp dport {port} counter drop");
    }
    text
}

/// Before the network is: no port is open for a moment at boot. What comes that early must not wait for `sysinit.target`,
/// as a service does by default: cloud-init's stand between the two, and systemd would drop a job to break the circle.
///
/// Debian's `nftables.service` takes away every table when it starts, reloads or stops (`flush ruleset`); ours is loaded
/// again after it.
const ORDER: &str = "\
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service nftables.service
Before=network-pre.target kubelet.service shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
";

/// The table and its unit; none where nothing is restricted, or there is nothing to load it with.
pub(super) fn files(config: &Config, facts: &Facts) -> Vec<FileSpec> {
    let Some(program) = facts.nft.as_ref().filter(|_| !config.firewall.restrict.is_empty()) else {
        return Vec::new();
    };
    let nft = units::word(&program.display().to_string());
    let unit = format!(
        "# Written by kn-agent; changes are put back.\n\
         [Unit]\n\
         Description=Who reaches the ports of this node (firewall.restrict of kn-agent)\n\
         {ORDER}\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={nft} --file {0}\n\
         ExecReload={nft} --file {0}\n\
         ExecStop={nft} \"add table {TABLE}; delete table {TABLE}\"\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        paths::firewall().display(),
    );
    vec![
        FileSpec::new(
            paths::firewall(),
            ruleset(&config.firewall.restrict, config.cluster.service_cidr),
            0o600,
        ),
        FileSpec::new(&paths::units().join(units::FIREWALL), unit, 0o644),
    ]
}

/// Takes rules on port 4194 out of `INPUT`, exactly those that kubelets up to 1.11 were given by their unit, again with
/// each restart, and those as often as they are there. Where something listens on that port today the rules may be for
/// that, and stay.
const PORT_4194: &str = "\
listening=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ local _ state _; do \
case $local-$state in *:1062-0A) echo $local ;; esac; done); \
test -z \"$listening\" || { echo \"something listens on port 4194: its rules stay\"; exit 0; }; \
for rule in \"-s 10.0.0.0/8 -p tcp --dport 4194 -j ACCEPT\" \"-s 172.16.0.0/12 -p tcp --dport 4194 -j ACCEPT\" \
\"-s 192.168.0.0/16 -p tcp --dport 4194 -j ACCEPT\" \"-p tcp --dport 4194 -j DROP\"; do \
while $0 --wait --delete INPUT $rule 2>/dev/null; do echo \"removed: INPUT $rule\"; done; done";

/// The unit that does; there while that is due.
pub fn port_4194_unit(facts: &Facts) -> Option<FileSpec> {
    let program = facts.iptables.as_ref()?;
    let text = format!(
        "# Written by kn-agent, and gone when it has run.\n\
         [Unit]\n\
         Description=Rules for the kubelet's port 4194, which it gave up in 1.12, are taken away\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=/bin/sh -c {} {}\n",
        units::word(PORT_4194),
        units::word(&program.display().to_string()),
    );
    Some(FileSpec::new(&paths::units().join(units::PORT_4194), text, 0o644))
}

/// The note that it has run on this machine.
pub fn port_4194_note() -> FileSpec {
    FileSpec::new(paths::port_4194(), "looked for\n", 0o600)
}

/// What is left of a unit of ours that is not wanted any more, beside its own file.
pub fn leaves(unit: &str) -> Option<&'static Path> {
    (unit == units::FIREWALL).then(paths::firewall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_ports_are_closed_and_only_to_those_who_are_not_named() {
        let restriction = |port, allow: &[&str]| Restriction {
            port,
            allow: allow.iter().map(|network| network.parse().unwrap()).collect(),
        };
        let restrict = [
            restriction(10_250, &["10.0.0.0/8", "fd00::/8", "192.168.0.0/16"]),
            restriction(10_256, &["fd00::/8"]),
        ];
        let text = ruleset(&restrict, "10.96.0.0/12".parse().ok());
        let rules: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("\t\ttcp ")).collect();
        let of_a_chain = [
            "dport 10250 ip saddr { 10.0.0.0/8, 192.168.0.0/16 } accept",
            "dport 10250 ip6 saddr { fd00::/8 } accept",
            "dport 10250 counter drop",
            "dport 10256 ip6 saddr { fd00::/8 } accept",
            "dport 10256 counter drop",
        ];
        assert_eq!(rules, [of_a_chain, of_a_chain].concat());
        assert!(
            text.starts_with("# ") && text.contains("\nadd table inet kn-agent-firewall\ndelete table inet")
        );
        assert_eq!(text.matches("\t\tip daddr 10.96.0.0/12 accept\n").count(), 2);
        assert!(!ruleset(&restrict, None).contains(" daddr 10."));
        assert!(text.contains("policy accept"), "{text}");
    }
}
