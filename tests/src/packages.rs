//! Debian packages of the host, and where the host gets them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{cache, debian::KEYRING, process::run, quirks::INOTIFY, say};

/// Programs the lab runs on the host, and the packages that bring them.
const PROGRAMS: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("curl", "curl"),
    ("script", "bsdutils"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("strace", "strace"),
];

/// Raises a limit of the host's that is too low for several labs; until its next boot.
fn ensure_inotify() -> Result<()> {
    let (file, wanted) = INOTIFY;
    let found: u32 = fs::read_to_string(file)?.trim().parse().with_context(|| format!("`{file}`"))?;
    if found < wanted {
        fs::write(file, wanted.to_string()).with_context(|| format!("cannot write `{file}`"))?;
        say(format_args!("{file} is {wanted} until the next boot, and was {found}"));
    }
    Ok(())
}

/// Installs what every run needs and is missing.
pub(crate) fn ensure_host() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the lab needs root: it makes namespaces, mounts and a bridge"
    );
    ensure_inotify()?;
    let mut missing = missing(PROGRAMS);
    if !Path::new(KEYRING).exists() {
        missing.push("debian-archive-keyring");
    }
    install(&missing)
}

/// Installs those packages whose program, named first, is missing.
pub(crate) fn ensure_programs(programs: &[(&str, &'static str)]) -> Result<()> {
    install(&missing(programs))
}

fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        programs.iter().filter(|(name, _)| find(name).is_none()).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn install(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    ensure!(find("apt-get").is_some(), "install {}: this host has no apt-get", missing.join(", "));
    say(format_args!("installing {} …", missing.join(", ")));
    let mut install = apt_get();
    install.args(["install", "--yes", "--no-install-recommends"]).args(missing);
    with_fresh_lists(&mut install)
}

/// A program on `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// etcd: from `KUBEBUILDER_ASSETS`, the host, or Debian's package, unpacked and not installed (it would start one).
pub(crate) fn etcd() -> Result<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(|assets| PathBuf::from(assets).join("etcd"));
    if let Some(path) = assets.filter(|path| path.is_file()).or_else(|| find("etcd")) {
        return Ok(path);
    }
    let entry = cache::entry("etcd-server", |directory| {
        with_fresh_lists(apt_get().args(["download", "etcd-server"]).current_dir(directory))?;
        let package = fs::read_dir(directory)?.next().context("apt-get brought no package")??.path();
        run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(directory))?;
        fs::remove_file(package)?;
        Ok(())
    })?;
    Ok(entry.join("usr/bin/etcd"))
}

/// The archive this host installs its own release from: the one other suites come from too.
pub(crate) fn mirror() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("`/etc/os-release` names no VERSION_CODENAME")?;
    let targets = run(Command::new("apt-get").args(["indextargets", "--format", "$(CODENAME) $(REPO_URI)"]))?;
    let uri = targets.lines().find_map(|line| line.strip_prefix(codename)?.strip_prefix(' '));
    match uri {
        Some(uri) => Ok(uri.to_owned()),
        None => bail!("apt has no index of {codename}; run `apt-get update`"),
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Another apt-get, such as a fresh machine's unattended upgrades, is waited for.
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// Runs an apt-get command; where it fails, once more after an update.
fn with_fresh_lists(command: &mut Command) -> Result<()> {
    if run(command).is_err() {
        run(apt_get().arg("update"))?;
        run(command)?;
    }
    Ok(())
}
