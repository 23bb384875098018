//! What a machine starts from: Debian's kernel, an initial RAM disk that finds the disk, and the disk with a node's root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{cache, debian::Apt, node::NodeSpec, packages, process::run};

/// Debian 12's kernel for clouds. That of Debian 13 panics under QEMU 7.2's emulation.
const KERNEL: (&str, &str) = ("deb bookworm", "linux-image-cloud-amd64");

/// What leads to a virtio disk and is not built in, each after what it needs.
const DRIVERS: [&str; 6] = [
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
];

/// What ipvs needs beside the kernel's modules; nodes in containers do without.
const IPSET: (&str, &[&str]) = ("deb trixie", &["ipset", "libipset13t64"]);

const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mkfs.ext4", "e2fsprogs"),
    ("cpio", "cpio"),
    ("gzip", "gzip"),
];

const PACK: &str = "cd \"$1\" && find . | cpio --quiet -o -H newc | gzip -1 > \"$2\"";

const INIT: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
until [ -b /dev/vda ]; do :; done
$b mount -t ext4 /dev/vda /root
$b mount -t devtmpfs dev /root/dev
exec $b switch_root /root /sbin/init
";

/// Gives the machine the address that its kernel was told: there is no DHCP.
const NETWORK: &str = "#!/bin/sh -e
for word in $(cat /proc/cmdline); do
    case $word in lab.address=*) address=${word#*=} ;; lab.gateway=*) gateway=${word#*=} ;; esac
done
ip link set eth0 up
ip address add $address dev eth0
ip route add default via $gateway
";

const NETWORK_UNIT: &str = "[Unit]
DefaultDependencies=no
Requires=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
Before=network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/lab-network
[Install]
WantedBy=multi-user.target network-online.target
";

/// Runs what comes over the serial device, a command a line, and answers with its exit status and output, all of it in
/// base64.
const SHELL: &str = "#!/bin/sh
exec 3<>/dev/virtio-ports/lab
while IFS= read -r line <&3; do
    printf %s \"$line\" | base64 -d > /run/lab-command
    sh /run/lab-command > /run/lab-stdout 2> /run/lab-stderr < /dev/null 3>&-
    status=$?
    printf '%s %s %s\\n' $status \"$(base64 -w0 < /run/lab-stdout)\" \"$(base64 -w0 < /run/lab-stderr)\" >&3
done
";

const SHELL_UNIT: &str = "[Unit]
Requires=dev-virtio\\x2dports-lab.device
After=dev-virtio\\x2dports-lab.device
[Service]
Environment=HOME=/root
ExecStart=/usr/sbin/lab-shell
[Install]
WantedBy=multi-user.target
";

/// Kernel, initial RAM disk and root disk.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) root: PathBuf,
}

impl Disk {
    /// That of nodes of this kind, made where it is missing.
    pub(super) fn ensure(spec: &NodeSpec) -> Result<Self> {
        packages::ensure_programs(PROGRAMS)?;
        let root_name = spec.root.parent().and_then(Path::file_name).context("the root has no name")?;
        let content = format!(
            "{DRIVERS:?}{IPSET:?}{INIT}{NETWORK}{NETWORK_UNIT}{SHELL}{SHELL_UNIT}{:?}",
            spec.containerd
        );
        let key = format!("machine-{}-{}", root_name.to_string_lossy(), cache::digest(&content));
        let entry = cache::entry(&key, |directory| make(spec, directory))?;
        Ok(Self { kernel: entry.join("vmlinuz"), initrd: entry.join("initrd"), root: entry.join("root.img") })
    }
}

fn make(spec: &NodeSpec, directory: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(directory)?;
    let at = |name: &str| scratch.path().join(name);
    let apt = Apt::new(&at("apt"), &[KERNEL.0])?;
    let package = apt.dependency(KERNEL.1)?;
    apt.unpack(&[&package], &at("kernel"))?;
    let version = package.strip_prefix("linux-image-").context("a kernel of another name")?;
    fs::copy(at("kernel/boot").join(format!("vmlinuz-{version}")), directory.join("vmlinuz"))?;
    let modules = at("kernel/lib/modules").join(version);

    let root = at("root");
    copy(&spec.root, &root)?;
    for (seed, to) in [(&spec.docker, "var/lib/docker"), (&spec.containerd, "var/lib/containerd")] {
        if let Some(seed) = seed {
            fs::remove_dir_all(root.join(to)).or_else(absent)?;
            copy(seed, &root.join(to))?;
        }
    }
    Apt::new(&at("ipset"), &[IPSET.0])?.unpack(IPSET.1, &root)?;
    fs::create_dir_all(root.join("usr/lib/modules"))?;
    copy(&modules, &root.join("usr/lib/modules").join(version))?;
    run(Command::new("chroot").arg(&root).args(["depmod", version]))?;
    for (path, mode, text) in [
        ("usr/sbin/lab-network", 0o755, NETWORK),
        ("usr/sbin/lab-shell", 0o755, SHELL),
        ("etc/systemd/system/lab-network.service", 0o644, NETWORK_UNIT),
        ("etc/systemd/system/lab-shell.service", 0o644, SHELL_UNIT),
        ("etc/fstab", 0o644, "/dev/vdb /usr/local ext4 ro 0 0\n"),
        ("etc/resolv.conf", 0o644, "# no name service in the lab\n"),
    ] {
        put(&root.join(path), mode, text)?;
    }
    run(Command::new("chroot").arg(&root).args(["systemctl", "enable", "lab-network", "lab-shell"]))?;
    file_system(&root, &directory.join("root.img"), "6G")?;
    initrd(&root, &modules, &at("initrd"), &directory.join("initrd"))
}

fn initrd(root: &Path, modules: &Path, tree: &Path, to: &Path) -> Result<()> {
    for name in ["bin", "dev", "modules", "root"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::copy(root.join("bin/busybox"), tree.join("bin/busybox"))?;
    for (index, driver) in DRIVERS.iter().enumerate() {
        let from = modules.join("kernel/drivers").join(format!("{driver}.ko"));
        fs::copy(&from, tree.join(format!("modules/{index}"))).with_context(|| from.display().to_string())?;
    }
    put(&tree.join("init"), 0o755, INIT)?;
    run(Command::new("sh").args(["-ec", PACK, "sh"]).arg(tree).arg(to)).map(drop)
}

/// A disk with the programs of a node and the package, for its `/usr/local`.
pub(super) fn programs(spec: &NodeSpec, package: &Path, scratch: &Path, to: &Path) -> Result<()> {
    let bin = scratch.join("bin");
    fs::create_dir_all(&bin)?;
    for program in &spec.programs {
        // One file may be several programs: its name says which it is to be.
        let file = program.canonicalize()?;
        let (name, target) = (program.file_name(), file.file_name());
        let (name, target) = name.zip(target).context("a program without a name")?;
        if !bin.join(target).exists() {
            fs::copy(&file, bin.join(target))?;
        }
        if name != target {
            symlink(target, bin.join(name))?;
        }
    }
    fs::copy(package, scratch.join("kn-agent.deb"))?;
    file_system(scratch, to, "512M")
}

fn file_system(tree: &Path, to: &Path, size: &str) -> Result<()> {
    run(Command::new("mkfs.ext4").args(["-q", "-d"]).arg(tree).arg(to).arg(size)).map(drop)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("--archive").arg(from).arg(to)).map(drop)
}

fn put(path: &Path, mode: u32, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
