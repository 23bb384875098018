//! Which engine runs containers, and how the kubelet reaches it.

use std::path::Path;

use super::{Facts, FileSpec, Version, containerd, paths, runtime, units, versions};
use crate::config::{Config, RuntimeKind};

/// Its name.
pub const fn name(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Docker => "docker",
        RuntimeKind::Containerd => "containerd",
    }
}

/// Its own unit, the distribution's.
pub const fn unit(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Docker => units::DOCKER,
        RuntimeKind::Containerd => units::CONTAINERD,
    }
}

/// What the kubelet talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// docker, through the kubelet itself.
    Dockershim,
    /// docker, through cri-dockerd.
    CriDockerd,
    /// containerd.
    Containerd,
}

impl Interface {
    /// Of an engine, for a kubelet.
    pub fn of(kind: RuntimeKind, kubelet: Version) -> Self {
        match kind {
            RuntimeKind::Containerd => Self::Containerd,
            RuntimeKind::Docker if versions::needs_cri_dockerd(kubelet) => Self::CriDockerd,
            RuntimeKind::Docker => Self::Dockershim,
        }
    }

    /// The socket it is reached at.
    pub fn socket(self) -> Option<&'static Path> {
        match self {
            Self::Dockershim => None,
            Self::CriDockerd => Some(paths::cri_socket()),
            Self::Containerd => Some(paths::containerd_socket()),
        }
    }

    /// The units that the kubelet starts after.
    pub const fn units(self) -> &'static [&'static str] {
        match self {
            Self::Dockershim => &[units::DOCKER],
            Self::CriDockerd => &[units::DOCKER, units::CRI_DOCKERD],
            Self::Containerd => &[units::CONTAINERD],
        }
    }
}

/// The engine's own configuration where it needs a change; the operator's keys are kept.
///
/// # Errors
/// It can't be read, or is of a kind that is not changed by halves.
pub fn files(config: &Config, facts: &Facts) -> Result<Vec<FileSpec>, String> {
    match config.runtime.kind {
        RuntimeKind::Docker => runtime::daemon_json(config, facts).map(|file| file.into_iter().collect()),
        RuntimeKind::Containerd => containerd::files(config, facts),
    }
}

/// What the engine's own unit gets: the start limit would keep it down after its cause is mended, and `infinity` open
/// files, as distributions ship it, make programs in containers that close every possible descriptor take minutes.
pub fn drop_in(kind: RuntimeKind) -> FileSpec {
    let text = "# Written by kn-agent; changes are put back. Other settings belong into a drop-in of your own.\n\
                [Unit]\n\
                StartLimitIntervalSec=0\n\
                \n\
                [Service]\n\
                LimitNOFILE=1048576\n";
    FileSpec::new(&paths::units().join(format!("{}.d/10-kn-agent.conf", unit(kind))), text, 0o644)
}
