//! A machine with real systemd: a copy-on-write root booted by systemd-nspawn, in cgroups and an address of its own.

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use crate::{
    Artefacts, Run, cgroup,
    process::{Daemon, run, signal, wait_until},
    quirks::{self, NodeFile},
};

const BOOT_LIMIT: Duration = Duration::from_mins(1);
const POWER_OFF_LIMIT: Duration = Duration::from_secs(40);

/// Runs in a new mount namespace: enters the node's cgroups, mounts its root, and becomes `script`, which gives nspawn
/// the terminal it wants. nspawn on a disk-backed `/run` refuses to work, hence the tmpfs. It ends with 133 where the
/// node reboots.
const LAUNCH: &str = r#"
set -e
directory=$1 layers=$2 cgroups=$3
for cgroup in $cgroups; do echo $$ > "$cgroup/cgroup.procs"; done
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/systemd
mount -t overlay overlay -o "lowerdir=$layers,upperdir=$directory/upper,workdir=$directory/work" "$directory/root"
exec script --quiet --flush --return --command "exec setpriv --pdeathsig KILL sh '$directory/nspawn'" /dev/null
"#;

/// PID 1 until it becomes systemd.
const INIT: &str = r"#!/bin/sh
@QUIRKS@
ip link set host0 up
ip address add @ADDRESS@/24 dev host0
ip route add default via @GATEWAY@
# nspawn's own death does not reach PID 1.
exec setpriv --pdeathsig KILL /usr/lib/systemd/systemd @ARGUMENTS@
";

/// What a node is made of.
#[derive(Debug, Clone)]
pub(crate) struct NodeSpec {
    /// The root file system, shared and read-only.
    pub(crate) root: PathBuf,
    /// What `/var/lib/docker` starts as; copied.
    pub(crate) docker: Option<PathBuf>,
    /// What `/var/lib/containerd` starts as, where containerd is what the kubelet talks to; copied.
    pub(crate) containerd: Option<PathBuf>,
    /// Programs that appear in `/usr/local/bin`.
    pub(crate) programs: Vec<PathBuf>,
}

/// A booted node. Dropping it kills it, as pulling the plug does.
#[derive(Debug)]
pub struct Node {
    name: String,
    address: Ipv4Addr,
    directory: PathBuf,
    spec: NodeSpec,
    container: Option<Daemon>,
    run: Arc<Run>,
}

/// What a command in a node printed and how it ended.
#[derive(Debug)]
pub struct NodeOutput {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Node {
    /// Boots a fresh node with kubelet, kube-proxy and cri-dockerd in `/usr/local/bin`, CNI plugins in `/usr/lib/cni`,
    /// and docker installed, disabled and stopped, with the lab's images in it.
    pub fn boot(run: &Arc<Run>, artefacts: &Artefacts, name: &str) -> Result<Self> {
        Self::boot_spec(run, name, artefacts.node.clone())
    }

    pub(crate) fn boot_spec(run: &Arc<Run>, name: &str, spec: NodeSpec) -> Result<Self> {
        let directory = run.subdirectory(&format!("nodes/{name}"))?;
        let address = run.next_node_address();
        let mut node =
            Self { name: name.to_owned(), address, directory, spec, container: None, run: Arc::clone(run) };
        node.prepare().with_context(|| format!("cannot prepare the node {name}"))?;
        node.power_on()?;
        Ok(node)
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the run's bridge.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What the node wrote since it was made, whiteouts included (overlayfs' upper directory).
    pub fn written(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// Its `/var/lib/docker`, as a directory of the host.
    pub(crate) fn docker_directory(&self) -> PathBuf {
        self.directory.join("docker")
    }

    /// Its `/var/lib/containerd`, as a directory of the host, where it has one of its own.
    pub(crate) fn containerd_directory(&self) -> PathBuf {
        self.directory.join("containerd")
    }

    /// Whether it is containerd that the kubelet is to talk to.
    pub fn has_containerd(&self) -> bool {
        self.spec.containerd.is_some()
    }

    /// The console's output.
    pub fn console_log(&self) -> PathBuf {
        self.run.directory().join(format!("log/{}.console.log", self.name))
    }

    /// Boots it, after [`Node::power_off`] or [`Node::kill`], and waits until systemd has done so.
    pub fn power_on(&mut self) -> Result<()> {
        ensure!(self.container.is_none(), "{} is running", self.name);
        let cgroups = cgroup::create(&self.run.cgroup_name(&self.name))?;
        let cgroups: Vec<_> = cgroups.iter().map(|path| path.display().to_string()).collect();
        let layers = format!("{}:{}", self.directory.join("layer").display(), self.spec.root.display());
        let mut launch = Command::new("unshare");
        launch.args(["--mount", "sh", "-c", LAUNCH, "launch"]).arg(&self.directory).arg(layers);
        launch.arg(cgroups.join(" ")).envs(quirks::NSPAWN_ENVIRONMENT);
        self.run.subdirectory("log")?;
        let container = Daemon::start(&self.name, &launch, &self.console_log(), Duration::ZERO)?;
        self.container = Some(container);
        self.wait_booted()
            .with_context(|| format!("{} did not boot: {}", self.name, self.console_log().display()))
    }

    /// Powers off as an operator does, and kills what takes too long.
    pub fn power_off(&mut self) -> Result<()> {
        self.exec(&["systemctl", "poweroff"])?;
        let ended = self.container.as_mut().is_some_and(|container| container.wait(POWER_OFF_LIMIT));
        self.kill();
        ensure!(ended, "{} did not power off within {} s", self.name, POWER_OFF_LIMIT.as_secs());
        Ok(())
    }

    /// Reboots it and waits until systemd is up again.
    pub fn reboot(&mut self) -> Result<()> {
        let before = self.leader()?;
        self.exec(&["systemctl", "reboot"])?;
        wait_until("the reboot", POWER_OFF_LIMIT + BOOT_LIMIT, || {
            Ok(self.leader().ok().filter(|leader| *leader != before))
        })?;
        self.wait_booted()
    }

    /// Ends every process of it at once, as a power cut does.
    pub fn kill(&mut self) {
        // PID 1 of a PID namespace takes everything in it along; its parents end with it or are killed after it.
        if let (Ok(leader), Some(container)) = (self.leader(), &mut self.container) {
            signal(leader, Signal::KILL);
            container.wait(Duration::from_secs(5));
        }
        if let Some(mut container) = self.container.take() {
            container.kill();
        }
    }

    /// The host's process id of its PID 1.
    pub fn leader(&self) -> Result<u32> {
        let mut pid = self.container.as_ref().with_context(|| format!("{} is off", self.name))?.pid();
        // script, the loop around nspawn, nspawn, PID 1.
        for _ in 0..3 {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            pid = children.split(' ').next().unwrap_or_default().parse().context("no PID 1 yet")?;
        }
        Ok(pid)
    }

    /// The command and arguments that run a program in it, for a person or another tool.
    pub fn enter_command(&self) -> Result<Vec<String>> {
        let leader = self.leader()?.to_string();
        let words = ["nsenter", "-t", &leader, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"];
        Ok(words.map(str::to_owned).to_vec())
    }

    /// A command in it, for the caller to run. It joins PID 1's cgroups first, as a program of the node's does.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        const ENTER: &str =
            r#"for cgroup in $1; do echo $$ > "$cgroup/cgroup.procs"; done; shift; exec "$@""#;
        let cgroups = cgroup::of_process(self.leader()?)?;
        let cgroups: Vec<_> = cgroups.iter().map(|path| path.display().to_string()).collect();
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "enter", &cgroups.join(" ")]).args(self.enter_command()?).args(words);
        command.env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
        ]);
        Ok(command)
    }

    /// Runs a command; returns its standard output, or an error with everything where it fails.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        run(&mut self.command(words)?).with_context(|| format!("on {}", self.name))
    }

    /// Runs a command to whatever end.
    pub fn try_exec(&self, words: &[&str]) -> Result<NodeOutput> {
        let output = crate::process::output(&mut self.command(words)?)?;
        Ok(NodeOutput {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command with our own standard output and error.
    pub fn exec_inherited(&self, words: &[&str]) -> Result<ExitStatus> {
        Ok(self.command(words)?.stdin(Stdio::null()).status()?)
    }

    /// Runs a shell script with arguments; like [`Node::exec`].
    pub fn sh(&self, script: &str, arguments: &[&str]) -> Result<String> {
        self.exec(&[&["sh", "-c", script, "sh"], arguments].concat())
    }

    /// Writes a file, making its directories; as the operator or cloud-init would, not atomically.
    pub fn put(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        const PUT: &str = r#"umask 077; (umask 022; mkdir -p "${1%/*}") && cat > "$1" && chmod "$2" "$1""#;
        let mut child = self
            .command(&["sh", "-c", PUT, "put", path, &format!("{mode:o}")])?
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("no pipe")?.write_all(content.as_ref())?;
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "cannot write `{path}`: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Reads a file.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let output = crate::process::output(&mut self.command(&["cat", path])?)?;
        if !output.status.success() {
            bail!("cannot read `{path}`: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    }

    fn wait_booted(&mut self) -> Result<()> {
        wait_until("systemd to take over", BOOT_LIMIT, || {
            if let Some(container) = &mut self.container {
                container.check_running()?;
            }
            let Ok(leader) = self.leader() else { return Ok(None) };
            let name = fs::read_to_string(format!("/proc/{leader}/comm")).unwrap_or_default();
            Ok((name.trim() == "systemd").then_some(()))
        })?;
        let state = wait_until("systemd to answer", BOOT_LIMIT, || {
            let output = self.try_exec(&["systemctl", "is-system-running", "--wait"])?;
            Ok(Some(output.stdout.trim().to_owned())
                .filter(|state| !matches!(state.as_str(), "" | "offline")))
        })?;
        if state != "running" {
            let failed = self.try_exec(&["systemctl", "--failed", "--no-legend", "--plain"])?;
            bail!("{state}: {}", failed.stdout);
        }
        Ok(())
    }

    fn prepare(&self) -> Result<()> {
        for name in ["upper", "work", "root", "layer"] {
            fs::create_dir_all(self.directory.join(name))?;
        }
        // On a disk's file system: docker's overlay2 cannot lie on the overlay that is the root.
        if let Some(seed) = &self.spec.docker {
            run(Command::new("cp").arg("--archive").arg(seed).arg(self.docker_directory()))?;
        } else {
            fs::create_dir_all(self.docker_directory())?;
        }
        if let Some(seed) = &self.spec.containerd {
            run(Command::new("cp").arg("--archive").arg(seed).arg(self.containerd_directory()))?;
        }
        fs::write(self.directory.join("nspawn"), self.nspawn_script())?;
        self.fill_layer(&self.directory.join("layer"))
    }

    /// A layer between the root and what the node writes: what the lab adds.
    fn fill_layer(&self, layer: &Path) -> Result<()> {
        let init = INIT
            .replace("@QUIRKS@", quirks::BEFORE_SYSTEMD)
            .replace("@ADDRESS@", &self.address.to_string())
            .replace("@GATEWAY@", &self.run.host_address().to_string())
            .replace("@ARGUMENTS@", quirks::init_arguments());
        write_file(&layer.join("usr/local/sbin/lab-init"), 0o755, &init)?;
        write_file(&layer.join("etc/hostname"), 0o644, &format!("{}\n", self.name))?;
        let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{} {}\n", self.address, self.name);
        write_file(&layer.join("etc/hosts"), 0o644, &hosts)?;
        // No name service, but a file: pods get the node's.
        write_file(&layer.join("etc/resolv.conf"), 0o644, "# no name service in the lab\n")?;
        for file in quirks::node_files()? {
            match file {
                NodeFile::Content { path, mode, text } => write_file(&layer.join(path), mode, text)?,
                NodeFile::Masked { unit } => {
                    let units = layer.join("etc/systemd/system");
                    fs::create_dir_all(&units)?;
                    symlink("/dev/null", units.join(unit))?;
                }
            }
        }
        let bin = layer.join("usr/local/bin");
        fs::create_dir_all(&bin)?;
        for program in &self.spec.programs {
            let name =
                program.file_name().with_context(|| format!("`{}` names no file", program.display()))?;
            // A link of the file itself: argv[0] decides what the multi-call binary is.
            let file = program.canonicalize()?;
            fs::hard_link(&file, bin.join(name)).or_else(|_| fs::copy(&file, bin.join(name)).map(drop))?;
        }
        Ok(())
    }

    /// nspawn's command line, again for as long as the node reboots.
    fn nspawn_script(&self) -> String {
        let directory = self.directory.display();
        let mut words = vec![
            "--quiet".to_owned(),
            // There is no machined to register with, and a unit only where the host runs systemd.
            "--register=no".to_owned(),
            "--keep-unit".to_owned(),
            "--kill-signal=SIGRTMIN+3".to_owned(),
            "--resolv-conf=off".to_owned(),
            "--timezone=off".to_owned(),
            // The name of its interface on the host comes from this: no two runs may share it.
            format!("--machine={}-{}", self.run.bridge(), self.name),
            format!("--hostname={}", self.name),
            format!("--directory={directory}/root"),
            format!("--bind={directory}/docker:/var/lib/docker"),
            format!("--network-bridge={}", self.run.bridge()),
        ];
        if self.spec.containerd.is_some() {
            words.push(format!("--bind={directory}/containerd:/var/lib/containerd"));
        }
        words.extend(quirks::NSPAWN_ARGUMENTS.map(str::to_owned));
        if Path::new("/lib/modules").is_dir() {
            words.push("--bind-ro=/lib/modules".to_owned());
        }
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        format!(
            "while setpriv --pdeathsig KILL systemd-nspawn {} /usr/local/sbin/lab-init; [ $? -eq 133 ]; do :; done\n",
            words.join(" ")
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn write_file(path: &Path, mode: u32, content: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}
