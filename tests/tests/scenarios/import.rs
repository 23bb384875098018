//! Nodes as they were run before, imported and Ready on today's parts.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::scenario::{JOIN, Scenario};
use anyhow::{Result, ensure};
use lab::Minor;

/// Where the files of the two nodes are.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/src/import/tests");

/// Where these nodes had their programs and certificates.
const BIN_DIR: &str = "/opt/kube/bin";
const CA_DIR: &str = "/etc/kubernetes/ssl";

/// Puts programs and CNI plugins where these nodes had them.
const PLACE_PROGRAMS: &str = "mkdir -p /opt/kube/bin && for program in kubelet kube-proxy; do \
                              ln -sf \"$(command -v $program)\" /opt/kube/bin/; done && ln -sf /usr/lib/cni/* /opt/kube/bin/";

struct Imported {
    scenario: Scenario,
    /// The node's name, as these nodes had it: its address.
    name: String,
}

impl Imported {
    fn start(name: &str, minor: Minor) -> Result<Self> {
        let scenario = Scenario::start(name, minor)?;
        scenario.node.sh(PLACE_PROGRAMS, &[])?;
        let name = scenario.node.address().to_string();
        Ok(Self { scenario, name })
    }

    /// What the placeholders of both nodes stand for here.
    fn vars(&self, token: &str) -> Result<String> {
        let plane = &self.scenario.control_plane;
        let ca = Command::new("base64").arg("--wrap=0").arg(plane.ca()).output()?;
        let mut vars = String::new();
        for (name, value) in [
            ("bin_dir", BIN_DIR),
            ("ca_dir", CA_DIR),
            ("NODE_IP", &self.name),
            ("inventory_hostname", &self.name),
            ("KUBE_APISERVER", &plane.server()),
            ("CA_DATA", &String::from_utf8(ca.stdout)?),
            ("BOOTSTRAP_TOKEN", token),
            ("CLUSTER_CIDR", lab::ControlPlane::POD_CIDR),
            ("CLUSTER_DNS_SVC_IP", "10.68.0.2"),
            ("CLUSTER_DNS_DOMAIN", "cluster.local."),
            ("MAX_PODS", "60"),
            ("KUBELET_ROOT_DIR", "/var/lib/kubelet"),
            ("KUBE_RESERVED", "cpu=200m,memory=500Mi,ephemeral-storage=1Gi"),
            // How full the lab's disk is says nothing about a node.
            ("HARD_EVICTION", "memory.available<200Mi,nodefs.available<1%"),
        ] {
            writeln!(vars, "{name}={value}")?;
        }
        Ok(vars)
    }

    /// Imports all files of a node; the configuration and what was said beside it.
    fn import(&self, directory: &str, token: &str) -> Result<(String, String)> {
        let vars = self.scenario.control_plane.run().directory().join("vars");
        fs::write(&vars, self.vars(token)?)?;
        let mut files: Vec<_> = fs::read_dir(Path::new(FILES).join(directory))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|file| !file.ends_with("vars"));
        files.sort();
        ensure!(files.len() >= 6, "only {files:?}");
        let program = std::env::var("KN_AGENT")?;
        let mut command = Command::new(program);
        command.args(["config", "import", "--vars"]).arg(&vars).args(&files);
        let output = command.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (config, notes) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.success(), "{notes}");
        ensure!(!(config + &notes).contains(token), "the token was printed");
        Ok((text(&output.stdout), notes))
    }

    /// Puts the configuration in place, has it checked there, and waits until the node is Ready, from outside too.
    fn becomes_ready(&self, config: &str) -> Result<()> {
        let scenario = &self.scenario;
        scenario.node.put("/root/imported.yaml", config, 0o600)?;
        let said = scenario.node.exec(&["kn-agent", "config", "validate", "/root/imported.yaml"])?;
        ensure!(said.starts_with("valid"), "{said}");
        scenario.configure(config)?;
        let status = scenario.wait_ready(JOIN)?;
        ensure!(status["node"] == self.name.as_str(), "{}", status["node"]);
        let kubectl = scenario.control_plane.kubectl()?;
        ensure!(kubectl.node_condition(&self.name, "Ready")?.as_deref() == Some("True"));
        for unit in ["kubelet.service", "kube-proxy.service"] {
            let text = scenario.node.exec(&["cat", &format!("/etc/systemd/system/{unit}")])?;
            let program = unit.trim_end_matches(".service");
            ensure!(text.contains(&format!("ExecStart={BIN_DIR}/{program} ")), "{text}");
            ensure!(scenario.unit(unit, "NRestarts")? == "0", "{unit} was restarted");
            lab::wait_until("the unit to be enabled", JOIN, || {
                Ok((scenario.unit(unit, "UnitFileState")? == "enabled").then_some(()))
            })?;
        }
        // Ready comes first, the reload of systemd that is due after it a moment later.
        lab::wait_until("nothing to be planned", JOIN, || {
            Ok(scenario.node.exec(&["kn-agent", "plan"])?.starts_with("nothing to do").then_some(()))
        })?;
        self.nobody_gets_in()
    }

    /// The kubelet answers whom the cluster knows, and the ports that answered everybody are closed.
    fn nobody_gets_in(&self) -> Result<()> {
        let url = format!("https://{}:10250/runningpods/", self.name);
        let curl = ["--insecure", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", &url];
        let code =
            |command: &mut Command| Ok::<_, anyhow::Error>(String::from_utf8(command.output()?.stdout)?);
        // 000: it has no certificate to serve with yet; that one is approved after the Node lists its addresses.
        let anybody = lab::wait_until("the kubelet's port", JOIN, || {
            Ok(Some(code(Command::new("curl").args(curl))?).filter(|code| code != "000"))
        })?;
        ensure!(anybody == "401", "anybody is answered {anybody}");
        // The control: an administrator is let in by the same request.
        let (_, admin) = self.scenario.control_plane.kubectl_as("admin-2", "root", &["system:masters"])?;
        let mut command = Command::new("curl");
        command.args(curl).arg("--cert").arg(&admin.certificate).arg("--key").arg(&admin.key);
        let known = code(&mut command)?;
        ensure!(known == "200", "an administrator is answered {known}");
        let is_open = |port: u16| TcpStream::connect((self.scenario.node.address(), port)).is_ok();
        ensure!(is_open(10250) && !is_open(10255) && !is_open(4194), "an open port is left");
        Ok(())
    }

    /// A field of the kubelet's configuration as it was written.
    fn kubelet_has(&self, fields: &[&str]) -> Result<()> {
        let text = self.scenario.node.exec(&["cat", "/etc/kubernetes/kubelet.yaml"])?.replace('"', "");
        for field in fields {
            ensure!(text.contains(field), "no `{field}` in {text}");
        }
        Ok(())
    }

    fn with_a_token(&self) -> Result<()> {
        let scenario = &self.scenario;
        let token = scenario.agent(&["token", "create", "--node", &self.name, "--print", "token"])?;
        let (config, notes) = self.import("bootstrap", token.trim())?;
        ensure!(notes.contains("--allow-privileged=true: dropped: removed in 1.15"), "{notes}");
        scenario.node.put("/etc/kn-agent/token", &token, 0o600)?;
        self.becomes_ready(&config)?;
        self.kubelet_has(&["failSwapOn: false", "- 10.68.0.2", "clusterDomain: cluster.local\n"])?;
        let requests = scenario.control_plane.kubectl()?.run(&["get", "csr", "-o", "name"])?;
        ensure!(requests.contains("kn-kubelet-") && requests.contains("kn-proxy-"), "{requests}");
        Ok(())
    }

    fn with_a_certificate(&self) -> Result<()> {
        let scenario = &self.scenario;
        let plane = &scenario.control_plane;
        let (config, notes) = self.import("issued", "none")?;
        ensure!(notes.contains("kept as identity.certFile"), "{notes}");
        let pair = plane.certificate_of_node(&self.name, IpAddr::V4(scenario.node.address()), 300)?;
        for (from, to, mode) in [
            (pair.certificate, "kubelet.pem", 0o644),
            (pair.key, "kubelet-key.pem", 0o600),
            (plane.ca(), "ca.pem", 0o644),
        ] {
            scenario.node.put(&format!("{CA_DIR}/{to}"), fs::read(from)?, mode)?;
        }
        let (as_proxy, _) = plane.kubectl_as("kube-proxy", "system:kube-proxy", &[])?;
        let kubeconfig = as_proxy.run(&["config", "view", "--raw", "--flatten"])?;
        scenario.node.put("/etc/kubernetes/kube-proxy.kubeconfig", kubeconfig, 0o600)?;
        self.becomes_ready(&config)?;
        self.kubelet_has(&[
            "maxPods: 60",
            "kubeReservedCgroup: /system.slice/kubelet.service",
            "- kube-reserved",
        ])?;
        let requests = plane.kubectl()?.run(&["get", "csr", "-o", "name"])?;
        ensure!(requests.is_empty(), "something was asked for: {requests}");
        self.reservation_is_enforced()
    }

    /// The kubelet's cgroup is bounded by what was reserved for it.
    fn reservation_is_enforced(&self) -> Result<()> {
        const LIMIT: &str = "/sys/fs/cgroup/memory/system.slice/kubelet.service/memory.limit_in_bytes";
        let node = &self.scenario.node;
        if node.try_exec(&["test", "-e", "/sys/fs/cgroup/cgroup.controllers"])?.status.success() {
            return Ok(());
        }
        // The kubelet enforces what is reserved some seconds after its start.
        let limit = lab::wait_until("the kubelet to enforce what is reserved", JOIN, || {
            let limit = node.exec(&["cat", LIMIT])?;
            Ok((limit.trim() == (500 << 20).to_string()).then_some(limit))
        })?;
        // systemd owns this cgroup, and keeps what it knows of.
        node.exec(&["systemctl", "daemon-reload"])?;
        let after = node.exec(&["cat", LIMIT])?;
        ensure!(after == limit, "{after} after a reload");
        // The control: a cgroup that nothing is reserved for has no such limit.
        let other = node.exec(&["cat", &LIMIT.replace("kubelet.service", "dbus.service")])?;
        ensure!(other != limit, "{other}");
        node.exec(&["test", "-d", "/sys/fs/cgroup/cpuset/system.slice/kubelet.service"])?;
        // As in a container: the kubelet's unit makes it writable.
        node.sh("mount -o remount,ro,bind /sys/fs/cgroup/memory; ! test -w /sys/fs/cgroup/memory", &[])?;
        node.exec(&["systemctl", "restart", "kubelet"])?;
        node.exec(&["test", "-w", "/sys/fs/cgroup/memory"])?;
        self.scenario.wait_ready(JOIN).map(drop)
    }

    /// The machine forgets the node that was imported first.
    fn forget(&self) -> Result<()> {
        self.scenario.forget()?;
        let kubectl = self.scenario.control_plane.kubectl()?;
        kubectl.run(&["delete", "node", &self.name]).map(drop)
    }
}

#[test]
fn imported_nodes_become_ready_on_1_36() -> Result<()> {
    let imported = Imported::start("import", Minor::V1_36)?;
    // What they were run with does not start any more.
    let kubelet = format!("{BIN_DIR}/kubelet");
    let old =
        imported.scenario.node.try_exec(&[&kubelet, "--allow-privileged=true", "--network-plugin=cni"])?;
    ensure!(!old.status.success() && old.stderr.contains("unknown flag: --allow-privileged"), "{old:?}");
    imported.with_a_token()?;
    imported.forget()?;
    imported.with_a_certificate()
}

#[test]
fn imported_nodes_become_ready_on_1_20() -> Result<()> {
    let imported = Imported::start("import-old", Minor::V1_20)?;
    imported.with_a_token()?;
    imported.forget()?;
    imported.with_a_certificate()
}
