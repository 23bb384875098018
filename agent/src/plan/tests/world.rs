//! A model of a node and its cluster: what steps change, and what others do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{NodeCondition, NodeSpec, NodeStatus};

use super::fixture::{FIXTURE, Issued, SPARE};
use super::parts::conf;
use super::signer::Approver;
use super::{Plan, Step, plan};
use crate::config::{CaSource, Config, HostFacts, RuntimeKind, Sources, load};
use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::desired::containerd::Found;
use crate::desired::dns::ClusterDns;
use crate::desired::{self, DaemonJson, Facts, Program, cni, paths, units};
use crate::observe::certificates::{self, PendingKey};
use crate::observe::runtime;
use crate::observe::token::SeenToken;
use crate::observe::{Attempt, Fact, Observed, Watched};
use crate::plan::View;
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::ports::root::FileOnDisk;
use crate::ports::systemd::UnitState;
use crate::reason::Reason;

/// Everything the planner sees, and what the model remembers beside it.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) config: Config,
    pub(super) observed: Observed,
    pub(super) approver: Approver,
    /// Whether a runtime takes its time to start.
    pub(super) is_slow: bool,
    /// How often others move until the one that starts is up.
    pub(super) starts_for: u8,
    /// The life of what is issued, seconds.
    pub(super) life: i64,
    pub(super) issued: Issued,
    last_key: Option<String>,
    pub(super) now: Timestamp,
    planner: Planner,
}

/// What decides in a world: the planner, or one that is spoiled on purpose.
pub(super) type Planner = fn(View<'_>) -> Plan;

fn config() -> Config {
    let text = format!(
        "cluster:\n  server: https://10.0.0.1:6443\n  ca: {{data: {:?}}}\nidentity: {{token: {{value: abcdef.0123456789abcdef}}}}\n\
         node: {{name: n1}}\nnetwork: {{plugin: bridge}}\n",
        FIXTURE.ca
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let sources = Sources { root: "/".into(), only: Some(file.path().to_owned()), env: Vec::new() };
    load(&sources, &HostFacts { hostname: "ignored".to_owned(), ..HostFacts::default() }).unwrap().config
}

fn program(path: &str) -> Program {
    Program { path: Some(path.into()), version: Some("v1.36.3".parse().unwrap()), ..Program::default() }
}

impl World {
    /// A machine with everything installed and nothing done.
    pub(super) fn fresh() -> Self {
        let facts = Facts {
            kubelet: program("/usr/bin/kubelet"),
            proxy: program("/usr/bin/kube-proxy"),
            cri_dockerd: Some("/usr/bin/cri-dockerd".into()),
            cgroup_v2: true,
            resolv_conf: "/etc/resolv.conf".into(),
            route_address: Some("10.0.0.2".parse().unwrap()),
            cni_bin_dir: Some("/opt/cni/bin".into()),
            iptables: Some("/usr/sbin/iptables".into()),
            nft: Some("/usr/sbin/nft".into()),
            ..Facts::default()
        };
        let unit = |name: &&'static str| {
            let known = matches!(*name, units::DOCKER | units::SYSCTL | units::MODULES);
            let load = if known { "loaded" } else { "not-found" };
            let state =
                UnitState { load: load.to_owned(), active: "inactive".to_owned(), ..UnitState::default() };
            (*name, Ok(state))
        };
        let observed = Observed {
            facts,
            configured_ca: Ok(FIXTURE.ca.clone().into_bytes()),
            files: BTreeMap::new(),
            sysctls: desired::files::SYSCTLS.iter().map(|&(name, _)| (name, Some("0".to_owned()))).collect(),
            units: units::ALL.iter().map(unit).collect(),
            client_ca: Ok(FIXTURE.ca.clone().into_bytes()),
            supplied: None,
            proxy_kubeconfig: None,
            client_certificate: Ok(None),
            proxy_certificate: Ok(None),
            serving_certificate: Ok(None),
            pending_client_key: Ok(None),
            pending_proxy_key: Ok(None),
            token: Ok(Some(SeenToken { id: Some("abcdef".to_owned()), is_fleeting: false })),
            has_kept_token: false,
            renew_proxy: false,
            engine: runtime::inactive(RuntimeKind::Docker),
            cni: crate::observe::cni::Found::default(),
            kubelet_health: Err("not active".to_owned()),
            proxy_health: Err("not active".to_owned()),
            access: None,
            other_proxies: Vec::new(),
            overrides: BTreeMap::new(),
            watched: Watched::default(),
            attempts: BTreeMap::new(),
            under_way: BTreeSet::new(),
        };
        Self {
            config: config(),
            observed,
            approver: Approver::Approves,
            is_slow: false,
            starts_for: 0,
            life: 10 * 365 * 86_400,
            issued: Issued::Right,
            last_key: None,
            now: Timestamp::now(),
            planner: plan,
        }
    }

    /// The same, on which a runtime takes its time to start.
    pub(super) fn slow() -> Self {
        Self { is_slow: true, ..Self::fresh() }
    }

    /// The same, which knows its cluster's CA by its pin alone and has found nothing yet.
    pub(super) fn pinned(mut self) -> Self {
        self.config.cluster.ca = CaSource::Pins(vec![FIXTURE.pin()]);
        self.lose_ca();
        self
    }

    fn lose_ca(&mut self) {
        let why = Failure::new(Reason::CaUndiscovered, "`/etc/kubernetes/pki/ca.crt` is not there");
        (self.observed.configured_ca, self.observed.client_ca) = (Err(why.clone()), Err(why));
    }

    /// The same, whose token systemd passes for this start alone.
    pub(super) fn with_fleeting_token(mut self) -> Self {
        if let Ok(Some(token)) = &mut self.observed.token {
            token.is_fleeting = true;
        }
        self
    }

    pub(super) fn plan(&self) -> Plan {
        let desired = desired::desired(&self.config, &self.observed.facts);
        (self.planner)(View {
            config: &self.config,
            desired: desired.as_ref(),
            observed: &self.observed,
            now: self.now,
        })
    }

    /// The same world, in which another planner decides.
    pub(super) fn under(mut self, planner: Planner) -> Self {
        self.planner = planner;
        self
    }

    pub(super) fn tick(&mut self) -> i64 {
        self.now = self.now.saturating_add(jiff::SignedDuration::from_millis(10)).unwrap();
        self.now.as_microsecond()
    }

    pub(super) fn unit(&mut self, name: &str) -> Option<&mut UnitState> {
        self.observed.units.get_mut(name)?.as_mut().ok()
    }

    /// Does a step as systemd, the file system and the API server would.
    pub(super) fn apply(&mut self, step: &Step) {
        let at = self.tick();
        match step {
            Step::WriteFile(file) => {
                let found = FileOnDisk { content: file.content.clone(), mode: file.mode, mtime_usec: at };
                self.written(&file.path, found);
            }
            Step::MakeDirectory { .. } => {}
            Step::RemoveFile(path) => self.forget(path),
            Step::DiscoverCa { .. } => {
                let content = FIXTURE.ca.clone().into_bytes();
                self.observed.configured_ca = Ok(content.clone());
                self.observed.client_ca = Ok(content.clone());
                self.written(paths::ca(), FileOnDisk { content, mode: 0o644, mtime_usec: at });
            }
            Step::EnableUnits(names) => names.iter().for_each(|name| {
                if let Some(state) = self.unit(name).filter(|_| units::has_file_of_interest(name)) {
                    "enabled".clone_into(&mut state.enabled);
                }
            }),
            Step::ReloadSystemd => self.reload(),
            Step::RetireUnit(name) => {
                self.forget(&paths::units().join(name));
                if let Some(state) = self.unit(name) {
                    "not-found".clone_into(&mut state.load);
                    "inactive".clone_into(&mut state.active);
                }
            }
            Step::AwaitUnit(name) => drop(self.come_up(name, at)),
            Step::StartUnit(name) | Step::RestartUnit { unit: name, .. } => self.start(name, at),
            Step::MakeKey { path, refusals } => {
                let public_key_hash = FIXTURE.next_key(self.last_key.as_deref()).to_owned();
                self.last_key = Some(public_key_hash.clone());
                let made_at = self.now.as_second();
                let key = Ok(Some(PendingKey { public_key_hash, refusals: *refusals, made_at }));
                if path == paths::pending_client_key() {
                    self.observed.pending_client_key = key;
                } else {
                    self.observed.pending_proxy_key = key;
                }
            }
            Step::KeepToken => {
                self.observed.has_kept_token = true;
                if let Ok(Some(token)) = &mut self.observed.token {
                    token.is_fleeting = false;
                }
            }
            Step::SubmitRequest { certificate, name } => self.submit(certificate, name),
            Step::InstallCertificate { certificate, pem, .. } => {
                let mut parsed = certificates::parse(pem).unwrap();
                parsed.key_fits = true;
                match certificate.purpose {
                    Purpose::KubeletClient => {
                        self.observed.client_certificate = Ok(Some(parsed));
                        self.observed.watched.node.get_or_insert(Ok(Seen::Absent));
                    }
                    Purpose::KubeProxy => self.observed.proxy_certificate = Ok(Some(parsed)),
                }
            }
            Step::CreateNode(node) => self.observed.watched.node = Some(Ok(Seen::Present(node.clone()))),
        }
    }

    fn submit(&mut self, certificate: &CertificateSpec, name: &str) {
        let key = match certificate.purpose {
            Purpose::KubeletClient => &self.observed.pending_client_key,
            Purpose::KubeProxy => &self.observed.pending_proxy_key,
        };
        let key = key.as_ref().unwrap().as_ref().unwrap();
        // A node asks for kube-proxy's as it is, without one.
        let token = self.observed.token.as_ref().ok().and_then(Option::as_ref);
        let token = token.and_then(|token| token.id.as_deref()).unwrap_or_default();
        let request = FIXTURE.request(certificate, &key.public_key_hash, token);
        self.observed.watched.requests.insert(name.to_owned(), Ok(Seen::Present(Box::new(request))));
    }

    pub(super) fn written(&mut self, path: &Path, found: FileOnDisk) {
        if path == paths::daemon_json() {
            self.observed.facts.daemon_json =
                DaemonJson::Keys(serde_json::from_slice(&found.content).unwrap());
        }
        if path == paths::containerd_config() {
            let text = String::from_utf8(found.content.clone()).unwrap();
            self.observed.facts.containerd = Found::new(Some((text, found.mode)), Vec::new());
        }
        if path == cni::bridge_path(&self.config) {
            self.observed.cni.confs = Ok(vec![conf("10-kn-agent-bridge.conflist", &found.content)]);
        }
        if let Some(name) =
            path.strip_prefix(paths::units()).ok().and_then(|name| name.to_str().map(str::to_owned))
            && let Some(state) = self.unit(&name)
        {
            state.needs_reload = units::has_file_of_interest(&name);
        }
        self.observed.files.insert(path.to_owned(), Ok(Some(found)));
    }

    /// What approver, signer, controller-manager, systemd and kubelet do of their own accord; whether any of them did.
    pub(super) fn others_move(&mut self) -> bool {
        let at = self.tick();
        let mut moved = self.judge_requests();
        moved |= self.starts_for > 0;
        self.starts_for = self.starts_for.saturating_sub(1);
        if self.starts_for == 0 {
            moved |= self.come_up(units::DOCKER, at) | self.come_up(units::CRI_DOCKERD, at);
        }
        let kubelet = self.observed.kubelet_health.is_ok();
        if self.observed.facts.cluster_dns == ClusterDns::Unknown && self.observed.watched.node.is_some() {
            self.observed.facts.cluster_dns = ClusterDns::At("10.96.0.10".parse().unwrap());
            moved = true;
        }
        if let Some(Ok(Seen::Present(node))) = &mut self.observed.watched.node {
            let spec = node.spec.get_or_insert_with(NodeSpec::default);
            if spec.pod_cidr.is_none() {
                spec.pod_cidr = Some("10.244.0.0/24".to_owned());
                moved = true;
            }
            let status = node.status.get_or_insert_with(NodeStatus::default);
            if kubelet && status.conditions.is_none() {
                let ready = NodeCondition {
                    type_: "Ready".to_owned(),
                    status: "True".to_owned(),
                    ..Default::default()
                };
                status.conditions = Some(vec![ready]);
                moved = true;
            }
        }
        moved
    }

    /// What an operator writes, or what befalls the machine.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Config, &mut Observed)) {
        change(&mut self.config, &mut self.observed);
    }

    /// Takes the node's certificate away, and has its request seen so; the request's name.
    pub(super) fn ask_again(&mut self, seen: Fact<Seen<CertificateSigningRequest>>) -> String {
        let spec = desired::certificates::kubelet_client(&self.config);
        let key = FIXTURE.keys[SPARE].clone();
        let name = spec.request_name(&key);
        self.observed.client_certificate = Ok(None);
        let mut seen = seen;
        if let Ok(Seen::Present(request)) = &mut seen
            && request.spec.request.0.is_empty()
        {
            request.spec = FIXTURE.request(&spec, &key, "abcdef").spec;
        }
        let made_at = self.now.as_second();
        self.observed.pending_client_key =
            Ok(Some(PendingKey { public_key_hash: key, refusals: 0, made_at }));
        self.observed.watched.requests.insert(name.clone(), seen);
        name
    }

    /// A step that failed and is not tried again yet.
    pub(super) fn fail(&mut self, step: &str, failure: Failure) {
        let retry_at = self.now.saturating_add(jiff::SignedDuration::from_secs(9)).unwrap();
        self.observed.attempts.insert(step.to_owned(), Attempt { failure, count: 1, retry_at });
    }

    pub(super) fn delete_node(&mut self) {
        self.observed.watched.node = Some(Ok(Seen::Absent));
    }

    pub(super) fn forget(&mut self, path: &Path) {
        if path == paths::pending_client_key() {
            self.observed.pending_client_key = Ok(None);
        } else if path == paths::pending_proxy_key() {
            self.observed.pending_proxy_key = Ok(None);
        } else if path == paths::renew_proxy() {
            self.observed.renew_proxy = false;
        } else if path == paths::kubelet_server() {
            self.observed.serving_certificate = Ok(None);
        } else if path == paths::kept_token() {
            self.observed.has_kept_token = false;
        }
        if path == paths::containerd_config() {
            self.observed.facts.containerd = Found::default();
        }
        if path == paths::ca() && matches!(self.config.cluster.ca, CaSource::Pins(_)) {
            self.lose_ca();
        }
        if path == cni::bridge_path(&self.config)
            && let Ok(confs) = &mut self.observed.cni.confs
        {
            confs.retain(|conf| !path.ends_with(&conf.file));
        }
        self.observed.files.remove(path);
    }

    pub(super) fn has_bridge_conf(&self) -> bool {
        self.observed.files.contains_key(&cni::bridge_path(&self.config))
    }

    pub(super) fn started(&self, unit: &str) -> i64 {
        let state = self.observed.units.get(unit).and_then(|state| state.as_ref().ok());
        state.map_or(0, |state| i64::try_from(state.active_since_usec).unwrap())
    }

    /// The newest of the files the unit reads, by what the paths say.
    pub(super) fn newest_input(&self, unit: &str) -> i64 {
        let of_unit = |path: &PathBuf| {
            let name = path.to_string_lossy();
            name.contains(unit.trim_end_matches(".service"))
                || (unit == units::DOCKER && path == paths::daemon_json())
        };
        let mtime =
            |file: &Result<Option<FileOnDisk>, Failure>| Some(file.as_ref().ok()?.as_ref()?.mtime_usec);
        self.observed
            .files
            .iter()
            .filter(|(path, _)| of_unit(path))
            .filter_map(|(_, file)| mtime(file))
            .max()
            .unwrap_or(0)
    }
}
