//! etcd, API server, controller-manager and scheduler, as processes of the host.

mod arguments;
mod rebuild;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    Artefacts, Kubectl, Kubernetes, Minor, Run,
    pki::{self, Identity, Pki},
    process::{Daemon, output, wait_until},
};

/// How long each part may take to answer.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A graceful stop of an API server takes seconds; it is killed after this.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// Every request's metadata; certificate requests and nodes with their bodies, which tests assert on.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  resources:
  - {group: certificates.k8s.io}
  - {group: '', resources: [nodes]}
- level: Metadata
";

/// A request that proves that certificates are signed.
const PROBE: &str = "apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: lab-probe}
spec:
  request: @REQUEST@
  signerName: kubernetes.io/kube-apiserver-client
  usages: [client auth]
";

/// A part of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store.
    Etcd,
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`: signs certificates, gives nodes their podCIDR.
    ControllerManager,
    /// `kube-scheduler`.
    Scheduler,
}

impl Component {
    /// In the order they start.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler];

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

/// Where the parts listen: the usual ports, or others where somebody on this host listens there on every address.
#[derive(Debug)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api_server: u16,
    controller_manager: u16,
    scheduler: u16,
}

impl Ports {
    fn choose(run: &Run) -> Result<Self> {
        let (host, loopback) = (run.host_address(), run.loopback_address());
        Ok(Self {
            etcd: free_port(loopback, 2379)?,
            etcd_peer: free_port(loopback, 2380)?,
            api_server: free_port(host, 6443)?,
            controller_manager: free_port(loopback, 10257)?,
            scheduler: free_port(loopback, 10259)?,
        })
    }
}

fn free_port(address: Ipv4Addr, preferred: u16) -> Result<u16> {
    let listener = TcpListener::bind((address, preferred)).or_else(|_| TcpListener::bind((address, 0)))?;
    Ok(listener.local_addr()?.port())
}

/// A running control plane. Dropping it stops it.
#[derive(Debug)]
pub struct ControlPlane {
    running: BTreeMap<Component, Daemon>,
    ports: Ports,
    kubernetes: Kubernetes,
    pki: Pki,
    run: Arc<Run>,
    life: Option<Duration>,
    gives_blocks: bool,
}

impl ControlPlane {
    /// The clusters' service network; the first address is the API server's.
    pub const SERVICE_CIDR: &'static str = "10.96.0.0/16";
    /// A token of the API server's static token file, in the form that `head -c 16 /dev/urandom | od -An -tx` gives.
    pub const STATIC_TOKEN: &'static str = "7f0c4d1e9ab35628d4417ce0b2f8a963";
    /// Whose it is; without `cluster init --static-user` that user may do nothing.
    pub const STATIC_USER: &'static str = "kubelet-bootstrap";
    /// The clusters' pod network; each node gets a /24 of it.
    pub const POD_CIDR: &'static str = "10.244.0.0/16";

    /// Starts a control plane in a run of its own and waits until its API server is ready.
    pub fn start(name: &str, artefacts: &Artefacts) -> Result<Self> {
        Self::start_signing(name, artefacts, None)
    }

    /// The same, whose signers' certificates are valid for `life` from the moment they are issued.
    pub(crate) fn start_signing(name: &str, artefacts: &Artefacts, life: Option<Duration>) -> Result<Self> {
        let run = Run::start(name)?;
        let pki = Pki::create(run.subdirectory("pki")?)?;
        let (ports, kubernetes) = (Ports::choose(&run)?, artefacts.kubernetes.clone());
        let mut plane =
            Self { running: BTreeMap::new(), ports, kubernetes, pki, run, life, gives_blocks: true };
        plane.write_identities()?;
        for component in Component::ALL {
            plane.start_component(component)?;
        }
        Ok(plane)
    }

    /// The run it belongs to, for nodes to be booted in.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Kubernetes' programs.
    pub fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }

    /// The minor version of Kubernetes.
    pub fn minor(&self) -> Minor {
        self.kubernetes.minor()
    }

    /// The API server's address as nodes use it.
    pub fn server(&self) -> String {
        format!("https://{}:{}", self.run.host_address(), self.ports.api_server)
    }

    /// The port of it.
    pub(crate) fn port(&self) -> u16 {
        self.ports.api_server
    }

    /// The certificate authority's bundle.
    pub fn ca(&self) -> PathBuf {
        self.pki.path("ca.crt")
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.run.directory().join("admin.kubeconfig")
    }

    /// The audit log, one JSON object a line.
    pub fn audit_log(&self) -> PathBuf {
        self.run.directory().join("log/audit.log")
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Ok(Kubectl::new(self.kubernetes.program("kubectl")?, self.admin_kubeconfig()))
    }

    /// kubectl as a user in groups, with a certificate signed for it by the cluster's authority.
    pub fn kubectl_as(&self, name: &str, user: &str, groups: &[&str]) -> Result<(Kubectl, Identity)> {
        let identity = self.pki.client(name, user, groups)?;
        let path = self.run.directory().join(format!("{name}.kubeconfig"));
        pki::write_secret(&path, &pki::kubeconfig(&self.server(), &self.ca(), &identity))?;
        Ok((Kubectl::new(self.kubernetes.program("kubectl")?, path), identity))
    }

    /// A certificate for a node, client and server in one, signed for it by the cluster's authority; it is valid for
    /// `days` more, or ended as many ago.
    pub fn certificate_of_node(&self, node: &str, address: IpAddr, days: i64) -> Result<Identity> {
        self.pki.both("node", &format!("system:node:{node}"), (address, node), days)
    }

    /// Starts a part that is not running and waits until it answers.
    pub fn start_component(&mut self, component: Component) -> Result<()> {
        let log = self.run.subdirectory("log")?.join(format!("{}.log", component.name()));
        let command = self.command(component)?;
        let mut daemon = Daemon::start(component.name(), &command, &log, STOP_GRACE)?;
        let mut health_check = self.health_check(component);
        wait_until(&format!("{} to answer", component.name()), START_LIMIT, || {
            daemon.check_running()?;
            Ok(output(&mut health_check)?.status.success().then_some(()))
        })
        .with_context(|| tail(&log))?;
        self.running.insert(component, daemon);
        if component == Component::ControllerManager && self.running.contains_key(&Component::ApiServer) {
            self.wait_for_controllers().context("the controllers do not work")?;
        }
        Ok(())
    }

    /// Waits until a certificate is signed: the controller-manager says it is healthy seconds before its controllers
    /// start, which would be counted as the agent's waiting.
    fn wait_for_controllers(&self) -> Result<()> {
        let kubectl = self.kubectl()?;
        kubectl.create(&PROBE.replace("@REQUEST@", &self.pki.request("lab-probe")?))?;
        kubectl.run(&["certificate", "approve", "lab-probe"])?;
        wait_until("a signed certificate", START_LIMIT, || {
            let probe = kubectl.get(&["csr", "lab-probe"])?;
            Ok(probe["status"]["certificate"].is_string().then_some(()))
        })?;
        kubectl.run(&["delete", "csr", "lab-probe"])?;
        Ok(())
    }

    /// Has the controller-manager give Nodes their blocks of pod addresses, or not, from now on.
    pub fn give_blocks(&mut self, whether: bool) -> Result<()> {
        self.gives_blocks = whether;
        self.stop_component(Component::ControllerManager);
        self.start_component(Component::ControllerManager)
    }

    /// Stops a part with SIGTERM and waits until it is gone.
    pub fn stop_component(&mut self, component: Component) {
        drop(self.running.remove(&component));
    }

    /// Kills a part.
    pub fn kill_component(&mut self, component: Component) {
        if let Some(mut daemon) = self.running.remove(&component) {
            daemon.kill();
        }
    }

    /// The process ids of what runs.
    pub fn pids(&self) -> Vec<(Component, u32)> {
        self.running.iter().map(|(component, daemon)| (*component, daemon.pid())).collect()
    }

    fn write_identities(&self) -> Result<()> {
        let host = IpAddr::V4(self.run.host_address());
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), host, IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))];
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        self.pki.server("kube-apiserver", &addresses, &names)?;
        self.pki.client(
            "kube-apiserver-kubelet-client",
            "kube-apiserver-kubelet-client",
            &["system:masters"],
        )?;
        self.kubectl_as("admin", "kubernetes-admin", &["system:masters"])?;
        for component in [Component::ControllerManager, Component::Scheduler] {
            self.kubectl_as(component.name(), &format!("system:{}", component.name()), &[])?;
        }
        fs::write(self.run.directory().join("audit-policy.yaml"), AUDIT_POLICY)?;
        let line = format!("{},{},10001\n", Self::STATIC_TOKEN, Self::STATIC_USER);
        fs::write(self.run.directory().join("tokens.csv"), line)?;
        Ok(())
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The store last: the others log and retry without it.
        for component in Component::ALL.into_iter().rev() {
            self.stop_component(component);
        }
    }
}

/// The end of a log, for an error.
fn tail(log: &std::path::Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
