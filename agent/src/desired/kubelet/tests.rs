//! Reservations and thresholds, and the unit around them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;

use super::*;
use serde_json::Value;

use crate::config::{HostFacts, Sources, load};
use crate::observe::facts;
use crate::ports::root::Root;

/// A configuration with this for the kubelet, and the machine it stands on.
fn configured(kubelet: &str) -> (Config, tempfile::TempDir) {
    let machine = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
    fs::create_dir_all(machine.path().join("etc/kn-agent")).unwrap();
    fs::write(machine.path().join("ca.pem"), ca).unwrap();
    let text =
        format!("cluster: {{server: 'https://10.0.0.1:6443', ca: {{file: /ca.pem}}}}\nkubelet: {kubelet}\n");
    fs::write(machine.path().join("etc/kn-agent/config.yaml"), text).unwrap();
    let sources = Sources { root: machine.path().to_owned(), only: None, env: Vec::new() };
    let host = HostFacts { hostname: "n1".to_owned(), processors: 2, memory: 8 << 30 };
    (load(&sources, &host).unwrap().config, machine)
}

/// The kubelet's unit on a machine whose `/sys/fs/cgroup` has these files, under this configuration.
fn unit_on(cgroups: &[&str], kubelet: &str) -> String {
    let (config, machine) = configured(&format!("{{config: {kubelet}}}"));
    for cgroup in cgroups {
        let path = machine.path().join("sys/fs/cgroup").join(cgroup);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let mut facts = facts::quick(&Root::new(machine.path()), &config);
    facts.kubelet.path = Some(Path::new("/usr/bin/kubelet").to_owned());
    let driver = crate::desired::runtime::kubelet_cgroup_driver(&config, &facts);
    let version = "v1.20.2".parse().unwrap();
    String::from_utf8(unit(&config, &facts, version, &driver).unwrap().content).unwrap()
}

const V1: [&str; 3] = ["cpuset/cgroup.procs", "memory/cgroup.procs", "blkio/cgroup.procs"];
const RESERVED: &str = "{enforceNodeAllocatable: [pods, kube-reserved, system-reserved], \
                        kubeReservedCgroup: /system.slice/kubelet.service, systemReservedCgroup: /system.slice}";

fn lines<'a>(unit: &'a str, start: &str) -> Vec<&'a str> {
    unit.lines().filter(|line| line.starts_with(start)).collect()
}

#[test]
fn cgroups_of_enforced_reservations_are_made_in_each_hierarchy_of_v1() {
    let unit = unit_on(&V1, RESERVED);
    let made = lines(&unit, "ExecStartPre=/bin/sh -ec \"mkdir ");
    assert_eq!(
        made,
        ["system.slice/kubelet.service", "system.slice"].map(|cgroup| format!(
            "ExecStartPre=/bin/sh -ec \"mkdir -p \\\"$$@\\\"\" sh /sys/fs/cgroup/cpuset/{cgroup} /sys/fs/cgroup/memory/{cgroup}"
        ))
    );
    assert!(
        lines(&unit, "ExecStartPre=")[0].ends_with(" sh /sys/fs/cgroup/cpuset /sys/fs/cgroup/memory"),
        "{unit}"
    );
}

#[test]
fn the_limit_on_the_kubelets_own_cgroup_is_systemds_too() {
    let of = |cgroup: &str, memory: &str| {
        let fields = format!("enforceNodeAllocatable: [kube-reserved], kubeReservedCgroup: {cgroup}");
        let unit = unit_on(&V1, &format!("{{{fields}, kubeReserved: {{memory: {memory}}}}}"));
        lines(&unit, "MemoryMax=").first().map(|line| (*line).to_owned())
    };
    let own = "/system.slice/kubelet.service";
    // Of a level that is for processor time alone the memory is nobody's limit; the cgroup is the same.
    let compressible = "{enforceNodeAllocatable: [kube-reserved-compressible], kubeReservedCgroup: /kube/daemons, \
                        kubeReserved: {memory: 300Mi}}";
    let unit = unit_on(&V1, compressible);
    assert!(lines(&unit, "ExecStartPre=").iter().any(|line| line.contains("/kube/daemons")), "{unit}");
    let compressible = compressible.replace("/kube/daemons", own);
    assert!(lines(&unit_on(&V1, &compressible), "MemoryMax=").is_empty());
    let beside = compressible.replace(
        "[kube-reserved-compressible]",
        "[kube-reserved, system-reserved-compressible], systemReservedCgroup: /others",
    );
    assert_eq!(
        lines(&unit_on(&V1, &beside), "MemoryMax="),
        ["MemoryMax=300M"],
        "the other level's kind is its own"
    );
    assert_eq!(of(own, "500Mi").as_deref(), Some("MemoryMax=500M"));
    assert_eq!(of(own, "1Gi").as_deref(), Some("MemoryMax=1G"));
    assert_eq!(of(own, "'524288000'").as_deref(), Some("MemoryMax=524288000"));
    // `500M` of Kubernetes is decimal; and another cgroup is none of systemd's.
    assert_eq!((of(own, "500M"), of(own, "0.5Gi"), of("/kube", "500Mi")), (None, None, None));
}

#[test]
fn cpusets_are_filled_from_the_root_down() {
    let of_cpuset = |unit: &str| -> Vec<String> {
        lines(unit, "ExecStartPre=")
            .into_iter()
            .filter(|line| line.contains("cpuset.mems"))
            .map(str::to_owned)
            .collect()
    };
    let filled = of_cpuset(&unit_on(&V1, RESERVED));
    assert!(
        filled[0].ends_with(" sh system.slice kubelet.service") && filled[1].ends_with(" sh system.slice")
    );
    assert!(filled.len() == 2 && filled[0].contains("cat $$file > \\\"$$part/$$file\\\""), "{filled:?}");
    // Where there is no such hierarchy there is nothing to fill.
    let unit = unit_on(&["memory/cgroup.procs"], RESERVED);
    assert!(unit.contains("mkdir") && of_cpuset(&unit).is_empty(), "{unit}");
}

#[test]
fn no_cgroup_is_made_that_nobody_asks_for() {
    for kubelet in [
        // Nothing is enforced, or on no cgroup, or with slices of systemd's.
        "{}",
        "{kubeReservedCgroup: /system.slice/kubelet.service}",
        "{enforceNodeAllocatable: [kube-reserved], kubeReservedCgroup: /a.slice, cgroupDriver: systemd}",
        "{enforceNodeAllocatable: [kube-reserved], kubeReservedCgroup: /../etc}",
    ] {
        let unit = unit_on(&V1, kubelet);
        assert!(!unit.contains("ExecStartPre="), "{kubelet}: {unit}");
    }
}

#[test]
fn on_v2_there_is_one_directory_with_the_controllers_of_all_above_it() {
    // A directory `cpuset` is no hierarchy there.
    let machine = ["cgroup.controllers", "cpuset/cgroup.procs"];
    let kubelet = "{enforceNodeAllocatable: [kube-reserved], kubeReservedCgroup: /kube/daemons, cgroupDriver: cgroupfs}";
    let unit = unit_on(&machine, kubelet);
    let made = lines(&unit, "ExecStartPre=");
    assert!(made.len() == 2 && made[0].ends_with(" sh /sys/fs/cgroup"), "{made:?}");
    assert!(made[1].contains("cgroup.subtree_control") && made[1].ends_with(" sh kube daemons"), "{made:?}");
}

#[test]
fn slices_are_wanted_before_the_kubelet_and_other_names_are_refused() {
    let of = |cgroup: &str| {
        format!(
            "{{enforceNodeAllocatable: [pods, kube-reserved], kubeReservedCgroup: {cgroup}, cgroupDriver: systemd}}"
        )
    };
    let unit = unit_on(&["cgroup.controllers"], &of("/podruntime.slice/podruntime-kube.slice"));
    for key in ["Wants", "After"] {
        let line = format!("{key}=network-online.target docker.service podruntime-kube.slice");
        assert!(unit.lines().any(|found| found == line), "{unit}");
    }
    assert!(!unit.contains("ExecStartPre="), "{unit}");
    let misnamed = |cgroup: &str, driver: &str| {
        let kubelet = format!("{{enforceNodeAllocatable: [kube-reserved], kubeReservedCgroup: {cgroup}}}");
        reserved_cgroups::misnamed(&configured(&format!("{{config: {kubelet}}}")).0, driver)
    };
    assert_eq!(
        misnamed("/system.slice/kubelet.service", "systemd").unwrap(),
        "kubelet.config.kubeReservedCgroup is `/system.slice/kubelet.service`: with the cgroup driver systemd it must be a \
         slice, e.g. `/kubelet.slice`"
    );
    assert_eq!(misnamed("/system.slice/kubelet.service", "cgroupfs"), None);
    assert_eq!(misnamed("/kubelet.slice", "systemd"), None);
}

/// `kubelet.yaml` of a version, on a machine with 2 processors and 8 GiB.
fn fields_of(version: &str, kubelet: &str) -> Value {
    let (config, _machine) = configured(kubelet);
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

#[test]
fn components_are_asked_for_their_health_where_their_configuration_has_it() {
    let kubelet = |fields: &str| health::kubelet(&configured(&format!("{{config: {fields}}}")).0);
    let at = |text: &str| Some(text.parse().unwrap());
    assert_eq!(kubelet("{}"), at("127.0.0.1:10248"));
    assert_eq!(kubelet("{healthzPort: 10250}"), at("127.0.0.1:10250"));
    assert_eq!(kubelet("{healthzBindAddress: 0.0.0.0}"), at("127.0.0.1:10248"));
    assert_eq!(kubelet("{healthzBindAddress: '::', healthzPort: 1}"), at("[::1]:1"));
    assert_eq!(kubelet("{healthzBindAddress: 10.0.0.7}"), at("10.0.0.7:10248"));
    assert_eq!(kubelet("{healthzPort: 0}"), None);
    let proxy = |address: &str| {
        let (mut config, _machine) = configured("{}");
        config.proxy.component.config.insert("healthzBindAddress".to_owned(), json!(address));
        health::proxy(&config)
    };
    for (written, asked) in [
        ("", "127.0.0.1:10256"),
        (":10300", "127.0.0.1:10300"),
        ("0.0.0.0:10300", "127.0.0.1:10300"),
        ("[::]:10300", "[::1]:10300"),
        ("10.0.0.7", "10.0.0.7:10256"),
        ("10.0.0.7:1", "10.0.0.7:1"),
    ] {
        assert_eq!(proxy(written), at(asked), "{written}");
    }
    assert_eq!(proxy("0.0.0.0:0"), None);
}

#[test]
fn addresses_of_the_resolver_never_go_without_the_domain() {
    for (kubelet, domain) in [
        ("{config: {clusterDNS: [10.96.0.10, 10.96.0.11]}}", Some("cluster.local")),
        ("{config: {clusterDNS: [10.96.0.10], clusterDomain: a.b}}", Some("a.b")),
        // The control: where pods resolve as the node does, there is neither.
        ("{}", None),
    ] {
        let (config, machine) = configured(kubelet);
        let facts = facts::quick(&Root::new(machine.path()), &config);
        let file = configuration(&config, &facts, "v1.36.3".parse().unwrap(), "systemd");
        let fields: Value = serde_saphyr::from_str(str::from_utf8(&file.content).unwrap()).unwrap();
        assert_eq!(fields["clusterDomain"].as_str(), domain, "{fields}");
        assert_eq!(fields.get("clusterDNS").is_some(), domain.is_some(), "{fields}");
    }
}
