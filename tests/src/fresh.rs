//! A node back to what it was, without a boot: many joins on one machine, each from the same start.

use std::{
    collections::BTreeSet,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{ControlPlane, Kubectl, Node, process::output, traces};

/// Everything a join starts, and the agent itself.
const UNITS: [&str; 10] = [
    "kn-agent.path",
    "kn-agent.service",
    "kubelet.service",
    "kube-proxy.service",
    "kn-agent-forward.service",
    "cri-docker.socket",
    "cri-docker.service",
    "docker.socket",
    "docker.service",
    "containerd.service",
];

/// Where a join leaves files, docker's images and logs aside. Paths with a newline are not expected.
const LIST: &str = "find /etc /var/lib -xdev \
    -path /var/lib/docker -prune -o -path /var/lib/containerd -prune -o -path /var/lib/systemd -prune -o -print";

/// Kernel settings a node changes, those that exist.
const SYSCTLS: &str = "cd /proc/sys; for name in net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables \
    net/bridge/bridge-nf-call-ip6tables; do [ -e $name ] && echo \"$name $(cat $name)\"; done; :";

/// Stops, unmounts, takes away what is no file. `$@`: units. First what would start others again.
const STOP: &str = r#"
systemctl stop kn-agent.path kn-agent.service kubelet.service 2> /dev/null
if systemctl is-active --quiet docker.service; then
    containers=$(docker ps --all --quiet)
    [ -z "$containers" ] || docker rm --force --volumes $containers > /dev/null
fi
systemctl stop "$@" 2> /dev/null
findmnt --raw --noheadings --output TARGET | grep '^/var/lib/kubelet/' | sort --reverse | xargs --no-run-if-empty umount
for tables in iptables ip6tables; do
    for table in filter nat mangle; do $tables -t $table -F && $tables -t $table -X; done
done
for link in docker0 cni0 cbr0; do [ ! -e /sys/class/net/$link ] || ip link delete $link; done
find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} \;
rm -rf /run/kn-agent /run/docker.sock /run/cri-dockerd.sock /etc/docker/daemon.json
[ ! -e /root/daemon.json.fresh ] || cp --preserve /root/daemon.json.fresh /etc/docker/daemon.json
"#;

/// After the files are gone: systemd forgets units and failures, and what starts the agent waits again.
const START: &str = "systemctl daemon-reload; systemctl reset-failed; systemctl start kn-agent.path";

/// Objects deleted at the API server are gone after this, finalizers included.
const DELETE_LIMIT: Duration = Duration::from_secs(20);

/// What a machine was like.
#[derive(Debug)]
pub struct Fresh {
    files: BTreeSet<String>,
    sysctls: Vec<(String, String)>,
}

impl Fresh {
    /// Remembers a machine with the package installed and no configuration. It must be fresh.
    pub fn of(node: &Node) -> Result<Self> {
        traces::ensure_none(node, true)?;
        node.sh("[ ! -e /etc/docker/daemon.json ] || cp --preserve /etc/docker/daemon.json /root/daemon.json.fresh", &[])?;
        Ok(Self { files: files(node)?, sysctls: sysctls(node)? })
    }

    /// Undoes a join, on the machine and in the cluster, and proves it. Returns the time it took.
    pub fn restore(&self, node: &Node, control_plane: &ControlPlane) -> Result<Duration> {
        let start = Instant::now();
        let kubectl = control_plane.kubectl()?;
        // The kubelet first: one that runs would make its Node again.
        stop(node)?;
        thread::scope(|scope| -> Result<()> {
            let cluster = scope.spawn(|| forget(&kubectl, node.name()));
            self.restore_machine(node)?;
            cluster.join().unwrap_or_else(|_| anyhow::bail!("the cluster's cleaning panicked"))
        })?;
        self.prove(node)?;
        Ok(start.elapsed())
    }

    fn restore_machine(&self, node: &Node) -> Result<()> {
        let added: Vec<String> = files(node)?.difference(&self.files).cloned().collect();
        if !added.is_empty() {
            let mut words = vec!["rm", "-rf", "--"];
            words.extend(added.iter().map(String::as_str));
            node.exec(&words)?;
        }
        for (name, value) in &self.sysctls {
            node.sh("echo \"$2\" > /proc/sys/$1", &[name, value])?;
        }
        node.exec(&["sh", "-c", START]).map(drop)
    }

    fn prove(&self, node: &Node) -> Result<()> {
        let now = files(node)?;
        let changed: Vec<&String> = now.symmetric_difference(&self.files).collect();
        ensure!(changed.is_empty(), "the machine is not as it was: {changed:?}");
        ensure!(sysctls(node)? == self.sysctls, "kernel settings are not as they were");
        node.sh(
            "[ ! -e /root/daemon.json.fresh ] || cmp /root/daemon.json.fresh /etc/docker/daemon.json",
            &[],
        )?;
        traces::ensure_none(node, true)
    }
}

/// Stops everything a join started, containers included.
pub(crate) fn stop(node: &Node) -> Result<()> {
    node.sh(STOP, &UNITS).map(drop)
}

fn files(node: &Node) -> Result<BTreeSet<String>> {
    Ok(node.exec(&["sh", "-c", LIST])?.lines().map(str::to_owned).collect())
}

fn sysctls(node: &Node) -> Result<Vec<(String, String)>> {
    let found = node.exec(&["sh", "-c", SYSCTLS])?;
    Ok(found
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect())
}

/// Takes the Node, its CSINode, its lease and the certificate requests out of the cluster: all of them, a token's do not name a node.
pub(crate) fn forget(kubectl: &Kubectl, name: &str) -> Result<()> {
    let timeout = format!("--timeout={}s", DELETE_LIMIT.as_secs());
    let delete = |words: &[&str]| -> Result<()> {
        let mut command: Command = kubectl.command(&[&["delete", &timeout], words].concat());
        let done = output(&mut command)?;
        ensure!(done.status.success(), "kubectl delete {words:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    };
    delete(&["node", name, "--ignore-not-found"])?;
    // It goes with the Node, but some time later, and would then be in the way of the next one's.
    delete(&["csinode", name, "--ignore-not-found"])?;
    delete(&["lease", name, "--namespace=kube-node-lease", "--ignore-not-found"])?;
    delete(&["csr", "--all"])?;
    let left = kubectl.run(&["get", "nodes,csr", "-o", "name"])?;
    ensure!(
        !left
            .lines()
            .any(|object| object.starts_with("certificatesigning") || object == format!("node/{name}")),
        "the cluster still has {left}"
    );
    Ok(())
}
