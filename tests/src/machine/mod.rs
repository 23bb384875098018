//! A whole machine with a kernel of its own, emulated: cgroup v2, and kernel modules that the host does not have.
//!
//! QEMU without KVM: a boot takes about 20 s, and programs run ten to twenty times as slowly as on the host.

mod disk;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::Ipv4Addr,
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::{
    Artefacts, Run,
    node::NodeOutput,
    process::{Daemon, wait_until},
};
use disk::Disk;

/// A command on it may start a container runtime for the first time.
const COMMAND_LIMIT: Duration = Duration::from_mins(3);

/// Called by QEMU with the name of the interface it made, which goes when QEMU does.
const PLUG: &str = "#!/bin/sh -e
ip link set \"$1\" master @BRIDGE@
ip link set \"$1\" up
";

/// A booted machine, `/usr/local` of which holds a node's programs and the package. Dropping it pulls the plug.
#[derive(Debug)]
pub struct Machine {
    name: String,
    address: Ipv4Addr,
    console: PathBuf,
    _qemu: Daemon,
    shell: Mutex<BufReader<UnixStream>>,
}

impl Machine {
    /// Boots one, and waits until systemd has started everything. What it writes is gone with it.
    pub fn boot(run: &Arc<Run>, artefacts: &Artefacts, package: &Path, name: &str) -> Result<Self> {
        let disk = Disk::ensure(&artefacts.node)?;
        let directory = run.subdirectory(&format!("machines/{name}"))?;
        let console = run.subdirectory("log")?.join(format!("{name}.console.log"));
        let programs = directory.join("programs.img");
        disk::programs(&artefacts.node, package, &directory.join("programs"), &programs)?;
        let address = run.next_node_address();
        let plug = directory.join("plug");
        fs::write(&plug, PLUG.replace("@BRIDGE@", &run.bridge()))?;
        fs::set_permissions(&plug, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let socket = directory.join("shell");

        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
        ]);
        qemu.args(["-smp", "2", "-m", "4096", "-device", "virtio-rng-pci"]);
        qemu.arg("-kernel").arg(&disk.kernel).arg("-initrd").arg(&disk.initrd);
        qemu.arg("-append").arg(format!(
            "console=ttyS0 net.ifnames=0 systemd.hostname={name} lab.address={address}/24 lab.gateway={}",
            run.host_address()
        ));
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        // Writes go into a temporary file of QEMU's.
        qemu.arg("-drive").arg(format!("file={},if=virtio,format=raw,snapshot=on", disk.root.display()));
        qemu.arg("-drive").arg(format!("file={},if=virtio,format=raw,readonly=on", programs.display()));
        qemu.arg("-netdev").arg(format!(
            "tap,id=net,ifname={}-{},script={},downscript=no",
            run.bridge(),
            address.octets()[3],
            plug.display()
        ));
        qemu.args(["-device", "virtio-net-pci,netdev=net", "-device", "virtio-serial-pci"]);
        // The machine reads an end of file where nobody is connected: it starts when we are.
        qemu.arg("-chardev").arg(format!("socket,id=shell,path={},server=on,wait=on", socket.display()));
        qemu.args(["-device", "virtserialport,chardev=shell,name=lab"]);
        let log = console.with_extension("qemu.log");
        let mut qemu = Daemon::start(name, &qemu, &log, Duration::ZERO)?;
        let shell = wait_until("QEMU to open its socket", Duration::from_secs(20), || {
            qemu.check_running()?;
            Ok(UnixStream::connect(&socket).ok())
        })?;
        shell.set_read_timeout(Some(COMMAND_LIMIT))?;
        let shell = Mutex::new(BufReader::new(shell));
        let machine = Self { name: name.to_owned(), address, console, _qemu: qemu, shell };
        machine.wait_booted()?;
        Ok(machine)
    }

    /// Its address on the run's bridge.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Runs a shell script to whatever end.
    pub fn try_sh(&self, script: &str) -> Result<NodeOutput> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ask = || -> Result<String> {
            let line = encode(script) + "\n";
            shell.get_mut().write_all(line.as_bytes())?;
            let mut answer = String::new();
            shell.read_line(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().with_context(|| {
            format!(
                "{} does not answer; its console: {}; the script:\n{script}",
                self.name,
                self.console.display()
            )
        })?;
        let words: Vec<&str> = answer.trim_end_matches('\n').split(' ').collect();
        let [status, stdout, stderr] = words[..] else { bail!("{} answered {answer:?}", self.name) };
        let status = ExitStatus::from_raw(status.parse::<i32>()? << 8);
        Ok(NodeOutput { status, stdout: decode(stdout)?, stderr: decode(stderr)? })
    }

    /// Runs a shell script; its output, or an error with everything where it fails.
    pub fn sh(&self, script: &str) -> Result<String> {
        let output = self.try_sh(script)?;
        ensure!(output.status.success(), "`{script}` on {}: {}{}", self.name, output.stdout, output.stderr);
        Ok(output.stdout)
    }

    /// Writes a file, making its directories.
    pub fn put(&self, path: &str, content: &str, mode: u32) -> Result<()> {
        let content = encode(content);
        let script = format!(
            "umask 077; (umask 022; mkdir -p \"$(dirname '{path}')\") && echo {content} | base64 -d > '{path}' && chmod {mode:o} '{path}'"
        );
        self.sh(&script).map(drop)
    }

    fn wait_booted(&self) -> Result<()> {
        let state = self.try_sh("systemctl is-system-running --wait")?.stdout;
        if state.trim() != "running" {
            bail!("{}: {}", state.trim(), self.sh("systemctl --failed --no-legend --plain")?);
        }
        Ok(())
    }
}

/// Kubernetes writes bytes as base64, so its type does.
fn encode(text: &str) -> String {
    json!(ByteString(text.as_bytes().to_vec())).as_str().map(str::to_owned).unwrap_or_default()
}

fn decode(word: &str) -> Result<String> {
    let bytes: ByteString = serde_json::from_value(Value::from(word))?;
    Ok(String::from_utf8_lossy(&bytes.0).into_owned())
}
