//! What a node is made of.

use crate::{Engine, Minor, Suite};

/// What runs containers, and Kubernetes' version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    /// docker, through the kubelet's own dockershim.
    Dockershim,
    /// docker, through cri-dockerd.
    CriDockerd,
    /// The distribution's containerd.
    Containerd,
    /// containerd 1.7 with the oldest Kubernetes.
    Containerd17,
    /// containerd 2.
    Containerd2,
}

/// How Services are made to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Iptables,
    Nftables,
}

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) stack: Stack,
    pub(super) suite: Suite,
    pub(super) mode: Mode,
}

/// A combination that cannot work: it is tried all the same, and the agent must say this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Impossible {
    pub(super) why: &'static str,
    pub(super) reason: &'static str,
    pub(super) mark: &'static str,
}

impl Stack {
    const ALL: [Self; 5] =
        [Self::Dockershim, Self::CriDockerd, Self::Containerd, Self::Containerd17, Self::Containerd2];

    pub(super) fn minor(self) -> Minor {
        match self {
            Self::Dockershim | Self::Containerd17 => Minor::V1_20,
            Self::CriDockerd | Self::Containerd | Self::Containerd2 => Minor::V1_36,
        }
    }

    /// Debian 13 has containerd 1.7 itself.
    pub(super) fn engine(self, suite: Suite) -> Engine {
        match self {
            Self::Dockershim | Self::CriDockerd => Engine::Docker,
            Self::Containerd17 if suite == Suite::Bookworm => Engine::Containerd17,
            Self::Containerd | Self::Containerd17 => Engine::Containerd,
            Self::Containerd2 => Engine::Containerd2,
        }
    }

    /// What the Node must say its runtime is.
    pub(super) fn runtime(self, suite: Suite) -> &'static str {
        match (self, suite) {
            (Self::Dockershim | Self::CriDockerd, Suite::Bookworm) => "docker://20.10.",
            (Self::Dockershim | Self::CriDockerd, Suite::Trixie) => "docker://26.",
            (Self::Containerd, Suite::Bookworm) => "containerd://1.6.",
            (Self::Containerd, Suite::Trixie) | (Self::Containerd17, _) => "containerd://1.7.",
            (Self::Containerd2, _) => "containerd://2.",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dockershim => "dockershim-1.20",
            Self::CriDockerd => "cri-dockerd-1.36",
            Self::Containerd => "containerd-1.36",
            Self::Containerd17 => "containerd1.7-1.20",
            Self::Containerd2 => "containerd2-1.36",
        }
    }
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

impl Cell {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for stack in Stack::ALL {
            for suite in [Suite::Bookworm, Suite::Trixie] {
                cells.extend([Mode::Iptables, Mode::Nftables].map(|mode| Self { stack, suite, mode }));
            }
        }
        cells
    }

    /// All their names, one a line.
    pub(super) fn names() -> String {
        Self::all().into_iter().map(Self::name).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn name(self) -> String {
        format!("{}-debian{}-{}", self.stack.name(), self.suite.number(), self.mode.name())
    }

    pub(super) fn impossible(self) -> Option<Impossible> {
        if self.stack.minor() == Minor::V1_20 && self.mode == Mode::Nftables {
            return Some(Impossible {
                why: "kube-proxy has nftables from 1.29 on",
                reason: "FieldRefused",
                mark: "kube-proxy 1.20 does not know nftables yet",
            });
        }
        (self.stack == Stack::CriDockerd && self.suite == Suite::Bookworm).then_some(Impossible {
            why: "cri-dockerd needs docker 23, this has 20.10",
            reason: "RuntimeCrashLoop",
            mark: "API version",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_combination_is_there_once_and_most_are_possible() {
        let cells = Cell::all();
        let names: BTreeSet<String> = cells.iter().map(|cell| cell.name()).collect();
        assert_eq!((cells.len(), names.len()), (20, 20));
        assert_eq!(cells.iter().filter(|cell| cell.impossible().is_some()).count(), 6);
    }
}
