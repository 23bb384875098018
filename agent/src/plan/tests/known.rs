//! Lines of real kubelets and of systemd, and what is said of a unit that ends with them.

use super::Phase;
use super::messages::joined;
use crate::desired::units;
use crate::plan::known::{KNOWN, explain};
use crate::ports::systemd::UnitState;

/// A line as the journal has it, and what is told.
const LINES: [(&str, &str); 11] = [
    (
        r#"E0101 00:00:00.000000 1 run.go:72] "command failed" err="failed to run Kubelet: running with swap on is not supported, please disable swap or set --fail-swap-on flag to false""#,
        "swap is on: swapoff -a",
    ),
    (
        r#"E0101 00:00:00.000000 1 kubelet.go:1] "Failed to start ContainerManager" err="Failed to enforce Kube Reserved Cgroup Limits on \"/kube.slice\": [\"kube\"] cgroup does not exist""#,
        "a cgroup of enforceNodeAllocatable can't be used",
    ),
    (
        r#"Failed to start ContainerManager Failed to enforce System Reserved Cgroup Limits on "/system.slice": ["system"] cgroup does not exist"#,
        "kubeReservedCgroup and systemReservedCgroup are slices",
    ),
    (
        r#""Failed to start ContainerManager" err="invalid Node Allocatable configuration. Resource \"memory\" has a reservation of {{2609905664 0} {<nil>}  BinarySI} but capacity of {{1003839488 0} {<nil>}  BinarySI}. Expected capacity >= reservation.""#,
        "more is reserved than this machine has: lower",
    ),
    (
        r#""command failed" err="failed to parse kubelet flag: unknown flag: --allow-privileged""#,
        "this version has no such flag: take it out of kubelet.extraArgs or of a drop-in (systemctl cat kubelet)",
    ),
    (
        r#""command failed" err="failed to validate kubelet configuration, error: kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported""#,
        "the machine has cgroup v1",
    ),
    (
        r#""command failed" err="failed to run Kubelet: swap feature is enabled and LimitedSwap but it is only supported with cgroupv2""#,
        "kubelet.config.memorySwap wants cgroup v2",
    ),
    (
        r#"failed to run Kubelet: misconfiguration: kubelet cgroup driver: "systemd" is different from docker cgroup driver: "cgroupfs""#,
        "kubelet and docker have different cgroup drivers",
    ),
    ("kubelet.service: Main process exited, code=exited, status=200/CHDIR", "WorkingDirectory is not there"),
    ("kubelet.service: Main process exited, code=exited, status=203/EXEC", "program can't be executed"),
    (
        "kubelet.service: A process of this unit has been killed by the OOM killer.",
        "the kernel ended it for want of memory",
    ),
];

/// What the phase says of a kubelet that ends again and again with `line`.
fn told(line: &str) -> String {
    let log = vec!["I0101 something before".to_owned(), line.to_owned()];
    let state = UnitState {
        load: "loaded".to_owned(),
        active: "activating".to_owned(),
        sub: "auto-restart".to_owned(),
        restarts: 3,
        exit_status: 1,
        log,
        ..UnitState::default()
    };
    joined(Phase::Kubelet, |_, observed| {
        observed.units.insert(units::KUBELET, Ok(state));
    })
}

#[test]
fn a_kubelet_that_ends_with_known_words_is_told_with_cause_and_remedy() {
    for (line, means) in LINES {
        let told = told(line);
        let (first, log) = told.split_once('\n').unwrap();
        assert!(first.starts_with("UnitCrashLoop: ") && first.contains(means), "{told}");
        assert!(log.contains(line), "{told}");
    }
    for known in &KNOWN {
        assert!(
            LINES.iter().any(|(line, _)| line.contains(known.fragment)),
            "no line with {}",
            known.fragment
        );
    }
    // The words of others are no kubelet's, and what any unit's mean is said with its own name.
    let state = |line: &str| UnitState { log: vec![line.to_owned()], ..UnitState::default() };
    let of_proxy = |line: &str| explain(units::KUBE_PROXY, &state(line));
    assert_eq!(of_proxy(LINES[0].0), None);
    assert_eq!(
        of_proxy(LINES[4].0).unwrap(),
        "this version has no such flag: take it out of proxy.extraArgs or of a drop-in (systemctl cat kube-proxy)"
    );
    let of_shim = explain(units::CRI_DOCKERD, &state(LINES[4].0)).unwrap();
    assert!(!of_shim.contains("extraArgs") && of_shim.contains("systemctl cat cri-docker"), "{of_shim}");
    assert!(of_proxy(LINES[8].0).unwrap().contains("systemctl cat kube-proxy shows it"));
    // The control: of words that nobody knows nothing is made up.
    assert!(
        told("E1 no such thing")
            .starts_with("UnitCrashLoop: `kubelet.service` was restarted 3 times, last exit status 1\n")
    );
}
