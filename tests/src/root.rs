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

/// The release of nodes with this version of Kubernetes: one whose docker its runtime interface works with. The kubelet
/// of 1.20 has dockershim, for docker 20.10; cri-dockerd needs docker 23, whose client is a package of its own.
fn release(minor: Minor) -> (&'static str, &'static [&'static str]) {
    match minor {
        Minor::V1_20 => ("bookworm", &[]),
        Minor::V1_36 => ("trixie", &["docker-cli"]),
    }
}

/// The node's root, made where it is missing.
pub(crate) fn ensure(minor: Minor) -> Result<PathBuf> {
    let (suite, more) = release(minor);
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
