//! The root file system of a node: Debian with docker and the CNI plugins, everything of it disabled.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{cache, packages, process::run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const PACKAGES: [&str; 18] = [
    "busybox-static",
    "ca-certificates",
    "conntrack",
    "containernetworking-plugins",
    "curl",
    "dbus",
    "docker-cli",
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

/// The release nodes run.
const SUITE: &str = "trixie";

/// The node's root, made where it is missing.
pub(crate) fn ensure() -> Result<PathBuf> {
    let include = PACKAGES.join(",");
    let key = format!("node-{SUITE}-{}", cache::digest(&format!("{include}{DISABLE}")));
    let entry = cache::entry(&key, |directory| {
        let source = format!("deb [signed-by={KEYRING}] {} {SUITE} main", packages::mirror()?);
        run(Command::new("mmdebstrap")
            .args(["--variant=minbase", &format!("--include={include}"), "--format=directory"])
            .arg(format!("--customize-hook={DISABLE}"))
            // The host's name and resolver are not the node's; the machine id is each boot's own.
            .arg("--customize-hook=rm -f \"$1/etc/hostname\" \"$1/etc/resolv.conf\"")
            .arg("--customize-hook=: > \"$1/etc/machine-id\"")
            .arg(SUITE)
            .arg(directory.join("root"))
            .arg(source))?;
        Ok(())
    })?;
    Ok(entry.join("root"))
}
