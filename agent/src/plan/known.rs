//! What a unit says when it ends, and what that means. Data: a part of the line, whose words they are, the cause, what
//! helps, and which program's source has the words.

use super::UnitState;
use crate::desired::units;

/// Words of a log and what they mean.
pub(super) struct Known {
    /// A part of the line that no other line has.
    pub(super) fragment: &'static str,
    /// Whose words they are; of any unit where that is empty.
    of: &'static str,
    /// What is the matter.
    cause: &'static str,
    /// What helps; `{unit}` stands for the unit's name.
    remedy: &'static str,
}

const UNKNOWN_FLAG: &str = "unknown flag: --";
const NO_SUCH_FLAG: &str = "this version has no such flag";

/// The first that a log has is told: what says more stands before what says less.
pub(super) const KNOWN: [Known; 12] = [
    // Kubernetes: pkg/kubelet/cm/container_manager_linux.go.
    Known {
        fragment: "running with swap on is not supported",
        of: units::KUBELET,
        cause: "swap is on",
        remedy: "swapoff -a, and take swap out of /etc/fstab; or kubelet.config.failSwapOn: false",
    },
    // Kubernetes: pkg/kubelet/cm/node_container_manager_linux.go.
    Known {
        fragment: "Reserved Cgroup Limits on",
        of: units::KUBELET,
        cause: "a cgroup of enforceNodeAllocatable can't be used, or its limit is too small",
        remedy: "kn-agent check; kubeReservedCgroup and systemReservedCgroup are slices (`/x.slice`) with the driver \
                 systemd; raise kubeReserved and systemReserved, or do not enforce them",
    },
    // Kubernetes: pkg/kubelet/cm/node_container_manager_linux.go.
    Known {
        fragment: "invalid Node Allocatable configuration",
        of: units::KUBELET,
        cause: "more is reserved than this machine has",
        remedy: "lower kubelet.config.kubeReserved, systemReserved and evictionHard, or kubelet.reserved: auto",
    },
    // Kubernetes: cmd/kubelet/app/server.go and the flag library spf13/pflag.
    Known {
        fragment: UNKNOWN_FLAG,
        of: units::KUBELET,
        cause: NO_SUCH_FLAG,
        remedy: "take it out of kubelet.extraArgs or of a drop-in (systemctl cat {unit})",
    },
    // Kubernetes: cmd/kube-proxy/app/server.go and the same.
    Known {
        fragment: UNKNOWN_FLAG,
        of: units::KUBE_PROXY,
        cause: NO_SUCH_FLAG,
        remedy: "take it out of proxy.extraArgs or of a drop-in (systemctl cat {unit})",
    },
    // The same library, in dockerd and cri-dockerd.
    Known {
        fragment: UNKNOWN_FLAG,
        of: "",
        cause: NO_SUCH_FLAG,
        remedy: "take it out of the unit or of a drop-in (systemctl cat {unit})",
    },
    // Kubernetes: cmd/kubelet/app/server_linux.go, pkg/kubelet/apis/config/validation/validation_linux.go.
    Known {
        fragment: "configured to not run on a host using cgroup v1",
        of: units::KUBELET,
        cause: "the machine has cgroup v1, and kubelet.config.failCgroupV1 forbids it",
        remedy: "boot with systemd.unified_cgroup_hierarchy=1, or kubelet.config.failCgroupV1: false",
    },
    // Kubernetes: pkg/kubelet/kubelet.go.
    Known {
        fragment: "LimitedSwap but it is only supported with cgroupv2",
        of: units::KUBELET,
        cause: "kubelet.config.memorySwap wants cgroup v2, and the machine has v1",
        remedy: "boot with systemd.unified_cgroup_hierarchy=1, or take memorySwap out",
    },
    // Kubernetes up to 1.23: pkg/kubelet/dockershim/docker_service.go.
    Known {
        fragment: "misconfiguration: kubelet cgroup driver",
        of: units::KUBELET,
        cause: "kubelet and docker have different cgroup drivers",
        remedy: "make docker's native.cgroupdriver and kubelet.config.cgroupDriver equal, or remove both",
    },
    // systemd: src/core/execute.c and src/shared/exit-status.c.
    Known {
        fragment: "status=200/CHDIR",
        of: "",
        cause: "the unit's WorkingDirectory is not there",
        remedy: "systemctl cat {unit} shows it; make the directory, or take it out of the drop-in",
    },
    // systemd: the same.
    Known {
        fragment: "status=203/EXEC",
        of: "",
        cause: "the unit's program can't be executed",
        remedy: "systemctl cat {unit} shows it; install the program, or mend the drop-in",
    },
    // systemd: src/core/unit.c.
    Known {
        fragment: "killed by the OOM killer",
        of: "",
        cause: "the kernel ended it for want of memory",
        remedy: "raise kubeReserved's or systemReserved's memory where it is enforced on the unit's slice",
    },
];

/// Cause and remedy of a unit that ends again and again, where its last lines are known.
pub(super) fn explain(unit: &str, state: &UnitState) -> Option<String> {
    let is_said = |known: &&Known| {
        (known.of.is_empty() || known.of == unit)
            && state.log.iter().any(|line| line.contains(known.fragment))
    };
    let known = KNOWN.iter().find(is_said)?;
    let remedy = known.remedy.replace("{unit}", unit.trim_end_matches(".service"));
    Some(format!("{}: {remedy}", known.cause))
}
