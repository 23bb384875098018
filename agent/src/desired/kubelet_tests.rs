//! Reservations and thresholds, and the unit around them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;

use super::*;
use crate::config::{HostFacts, Sources, load};
use crate::observe::facts;
use crate::ports::root::Root;

/// The kubelet's unit on a machine whose `/sys/fs/cgroup` has these directories, under this configuration.
fn unit_on(cgroups: &[&str], kubelet: &str) -> String {
    let machine = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = machine.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for cgroup in cgroups {
        put(&format!("sys/fs/cgroup/{cgroup}"), "");
    }
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
    put("ca.pem", &ca);
    let text = format!(
        "cluster: {{server: 'https://10.0.0.1:6443', ca: {{file: /ca.pem}}}}\nkubelet: {{config: {kubelet}}}\n"
    );
    put("etc/kn-agent/config.yaml", &text);
    let sources = Sources { root: machine.path().to_owned(), only: None, env: Vec::new() };
    let config =
        load(&sources, &HostFacts { hostname: "n1".to_owned(), ..HostFacts::default() }).unwrap().config;
    let mut facts = facts::quick(&Root::new(machine.path()), &config);
    facts.kubelet.path = Some(Path::new("/usr/bin/kubelet").to_owned());
    let driver = crate::desired::runtime::kubelet_cgroup_driver(&config, &facts);
    let version = "v1.20.2".parse().unwrap();
    String::from_utf8(unit(&config, &facts, version, &driver).unwrap().content).unwrap()
}

const V1: [&str; 3] = ["cpuset/cgroup.procs", "memory/cgroup.procs", "blkio/cgroup.procs"];
const RESERVED: &str = "{enforceNodeAllocatable: [pods, kube-reserved, system-reserved], \
                        kubeReservedCgroup: /system.slice/kubelet.service, systemReservedCgroup: /system.slice}";

#[test]
fn cgroups_of_enforced_reservations_are_made_in_each_hierarchy_of_v1() {
    let unit = unit_on(&V1, RESERVED);
    let line = unit.lines().find(|line| line.starts_with("ExecStartPre=")).unwrap();
    assert_eq!(
        line,
        "ExecStartPre=/bin/mkdir -p /sys/fs/cgroup/cpuset/system.slice/kubelet.service \
         /sys/fs/cgroup/memory/system.slice/kubelet.service /sys/fs/cgroup/cpuset/system.slice \
         /sys/fs/cgroup/memory/system.slice"
    );
}

#[test]
fn cpusets_are_filled_from_the_root_down() {
    let unit = unit_on(&V1, RESERVED);
    let lines: Vec<&str> = unit.lines().filter(|line| line.starts_with("ExecStartPre=/bin/sh ")).collect();
    assert!(lines[0].ends_with(" sh system.slice kubelet.service") && lines[1].ends_with(" sh system.slice"));
    assert!(lines.len() == 2 && lines[0].contains("cat $$file > $$part/$$file"), "{lines:?}");
    // Where there is no such hierarchy there is nothing to fill.
    let unit = unit_on(&["memory/cgroup.procs"], RESERVED);
    assert!(unit.contains("ExecStartPre=/bin/mkdir") && !unit.contains("/bin/sh"), "{unit}");
}

#[test]
fn no_cgroup_is_made_that_nobody_asks_for() {
    for (cgroups, kubelet) in [
        // Nothing is enforced, or on no cgroup, or with slices of systemd's.
        (&V1[..], "{}"),
        (&V1[..], "{kubeReservedCgroup: /system.slice/kubelet.service}"),
        (&V1[..], "{enforceNodeAllocatable: [pods, kube-reserved]}"),
        (&V1[..], "{enforceNodeAllocatable: [kube-reserved], kubeReservedCgroup: /a, cgroupDriver: systemd}"),
        (&V1[..], "{enforceNodeAllocatable: [kube-reserved], kubeReservedCgroup: /../etc}"),
        // On v2 a directory `cpuset` is no hierarchy.
        (
            &["cgroup.controllers", "cpuset/cgroup.procs"][..],
            "{enforceNodeAllocatable: [kube-reserved], kubeReservedCgroup: /a, cgroupDriver: cgroupfs}",
        ),
    ] {
        let unit = unit_on(cgroups, kubelet);
        assert!(!unit.contains("ExecStartPre="), "{kubelet}: {unit}");
    }
}

/// `kubelet.yaml` of a version, on a machine with 2 processors and 8 GiB.
fn fields_of(version: &str, kubelet: &str) -> Value {
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
    let machine = tempfile::tempdir().unwrap();
    fs::create_dir_all(machine.path().join("etc/kn-agent")).unwrap();
    fs::write(machine.path().join("ca.pem"), ca).unwrap();
    let text =
        format!("cluster: {{server: 'https://10.0.0.1:6443', ca: {{file: /ca.pem}}}}\nkubelet: {kubelet}\n");
    fs::write(machine.path().join("etc/kn-agent/config.yaml"), text).unwrap();
    let sources = Sources { root: machine.path().to_owned(), only: None, env: Vec::new() };
    let host = HostFacts { hostname: "n1".to_owned(), processors: 2, memory: 8 << 30 };
    let config = load(&sources, &host).unwrap().config;
    let spec = configuration(&config, &Facts::default(), version.parse().unwrap(), "systemd");
    serde_saphyr::from_str(&String::from_utf8(spec.content).unwrap()).unwrap()
}

#[test]
fn reservations_and_thresholds_are_written_for_the_oldest_and_the_newest_alike() {
    for (version, signals) in [("v1.20.2", 4), ("v1.36.3", 5)] {
        let fields =
            fields_of(version, "{reserved: auto, config: {evictionHard: {memory.available: 500Mi}}}");
        assert_eq!(fields["kubeReserved"], json!({"cpu": "70m", "memory": "1843Mi"}), "{version}");
        let thresholds = fields["evictionHard"].as_object().unwrap();
        assert_eq!(
            (thresholds.len(), &thresholds["memory.available"]),
            (signals, &json!("500Mi")),
            "{version}"
        );
        // The control: nothing is asked for.
        let fields = fields_of(version, "{}");
        assert!(fields.get("kubeReserved").is_none() && fields.get("evictionHard").is_none(), "{fields}");
    }
}
