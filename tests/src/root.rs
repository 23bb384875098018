//! The root file system of a node: Debian with docker and the CNI plugins, everything of it disabled.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{Minor, cache, debian::KEYRING, packages, process::run};

const PACKAGES: [&str; 17] = [
    "busybox-static",
    "ca-certificates",
    "conntrack",
    "containernetworking-plugins",
    "curl",
    "dbus",
    "docker.io",
    "ethtool",
    "iproute2",
    "iptables",
    "kmod",
    "nftables",
    "procps",
    "socat",
    "systemd",
    "systemd-sysv",
    "udev",
];

/// As a fresh machine of a fleet's image: container runtimes installed, none started.
const DISABLE: &str = "chroot \"$1\" systemctl disable docker.service docker.socket containerd.service";

/// A release of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12: docker 20.10, containerd 1.6.
    Bookworm,
    /// Debian 13: docker 26.1, containerd 1.7.
    Trixie,
}

impl Suite {
    /// That of nodes with this version of Kubernetes: one whose docker its runtime interface works with. The kubelet of
    /// 1.20 has dockershim, for docker 20.10; cri-dockerd needs docker 23.
    pub fn of(minor: Minor) -> Self {
        match minor {
            Minor::V1_20 => Self::Bookworm,
            Minor::V1_36 => Self::Trixie,
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Bookworm => 12,
            Self::Trixie => 13,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The client of docker 23 and later is a package of its own.
    const fn more_packages(self) -> &'static [&'static str] {
        match self {
            Self::Bookworm => &[],
            Self::Trixie => &["docker-cli"],
        }
    }
}

/// The node's root, made where it is missing.
pub(crate) fn ensure(suite: Suite) -> Result<PathBuf> {
    let (suite, more) = (suite.name(), suite.more_packages());
    let include = [&PACKAGES, more].concat().join(",");
    let key = format!("node-{suite}-{}", cache::digest(&format!("{include}{DISABLE}")));
    let entry = cache::entry(&key, |directory| {
        let source = format!("deb [signed-by={KEYRING}] {} {suite} main", packages::mirror()?);
        run(Command::new("mmdebstrap")
            .args(["--variant=minbase", &format!("--include={include}"), "--format=directory"])
            .arg(format!("--customize-hook={DISABLE}"))
            // The host's name and resolver are not the node's; the machine id is each boot's own.
            .arg("--customize-hook=rm -f \"$1/etc/hostname\" \"$1/etc/resolv.conf\"")
            .arg("--customize-hook=: > \"$1/etc/machine-id\"")
            .arg(suite)
            .arg(directory.join("root"))
            .arg(source))?;
        Ok(())
    })?;
    Ok(entry.join("root"))
}
