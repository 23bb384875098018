//! Mode `certificate` and a kubeconfig of kube-proxy's that was made elsewhere, read from real files.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Usage, IsCa,
    Issuer, KeyPair, SanType,
};
use serde_json::{Value, json};

use super::world::World;
use super::{Phase, Step, Verdict, settle, steps};
use crate::config::SuppliedPair;
use crate::desired::{paths, units};
use crate::observe::supplied;
use crate::ports::root::Root;

const DAY: i64 = 86_400;

/// A directory for what an operator puts in place, and the authority that issued it.
pub(super) struct Operator {
    pub(super) directory: tempfile::TempDir,
    pub(super) ca: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What is asked of the authority; changed where a test wants something wrong.
pub(super) struct Order {
    pub(super) name: &'static str,
    pub(super) group: Option<&'static str>,
    pub(super) usages: Vec<Usage>,
    pub(super) names: Vec<&'static str>,
    pub(super) addresses: Vec<&'static str>,
    /// Validity in days from now.
    pub(super) days: (i64, i64),
}

impl Order {
    pub(super) fn node() -> Self {
        Self {
            name: "system:node:n1",
            group: Some("system:nodes"),
            usages: vec![Usage::ClientAuth, Usage::ServerAuth],
            names: vec!["n1"],
            addresses: vec!["10.0.0.2"],
            days: (-10, 355),
        }
    }

    pub(super) fn proxy() -> Self {
        Self { name: "system:kube-proxy", group: None, usages: vec![Usage::ClientAuth], ..Self::node() }
    }
}

impl Operator {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "clients");
        let ca = params.self_signed(&key).unwrap().pem();
        Self { directory: tempfile::tempdir().unwrap(), ca, issuer: Issuer::new(params, key) }
    }

    pub(super) fn issue(&self, order: &Order) -> (String, String) {
        let now = Timestamp::now();
        let at = |days: i64| {
            let at = now.saturating_add(SignedDuration::from_secs(days * DAY)).unwrap();
            std::time::SystemTime::from(at).into()
        };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(group) = order.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, order.name);
        params.extended_key_usages.clone_from(&order.usages);
        params.subject_alt_names =
            order.names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        params
            .subject_alt_names
            .extend(order.addresses.iter().map(|a| SanType::IpAddress(a.parse().unwrap())));
        (params.not_before, params.not_after) = (at(order.days.0), at(order.days.1));
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub(super) fn put(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        PathBuf::from("/").join(name)
    }

    fn root(&self) -> Root {
        Root::new(self.directory.path())
    }

    /// Has the world see what is on disk now.
    pub(super) fn look(&self, world: &mut World) {
        let root = self.root();
        world.edit(|config, observed| {
            observed.supplied = config.identity.supplied.as_ref().map(|pair| supplied::pair(&root, pair));
            if let Some(pair) = &observed.supplied {
                observed.client_certificate =
                    pair.as_ref().map(|pair| Some(pair.certificate.clone())).map_err(Clone::clone);
            }
            observed.facts.supplied_serves = config
                .identity
                .supplied
                .as_ref()
                .and_then(|pair| supplied::is_for_serving(&root, &pair.certificate));
            observed.proxy_kubeconfig =
                config.proxy.kubeconfig.as_ref().map(|path| supplied::kubeconfig(&root, path));
        });
    }

    /// A machine in mode `certificate` with what was ordered.
    pub(super) fn node(&self, order: &Order) -> World {
        let (certificate, key) = self.issue(order);
        let pair = SuppliedPair {
            certificate: self.put("node.pem", &certificate, 0o644),
            key: self.put("node-key.pem", &key, 0o600),
        };
        let mut world = World::fresh();
        world.edit(|config, observed| {
            config.identity.supplied = Some(pair);
            config.identity.token = None;
            observed.client_ca = Ok(self.ca.clone().into_bytes());
            // The API server says so as soon as it is asked with a certificate.
            observed.watched.node = Some(Ok(crate::ports::cluster::Seen::Absent));
        });
        self.look(&mut world);
        // What stands before the certificate: the CA is on disk.
        if let Verdict::Act(steps) = &world.plan().verdicts[&Phase::Trust] {
            for step in steps {
                world.apply(step);
            }
        }
        world
    }

    /// Writes a kubeconfig for kube-proxy, edited, and has the world use it.
    pub(super) fn kubeconfig(&self, world: &mut World, order: &Order, edit: impl FnOnce(&mut Value)) {
        let base64 = |text: &str| serde_json::to_value(ByteString(text.as_bytes().to_vec())).unwrap();
        let (certificate, key) = self.issue(order);
        let mut fields = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "default",
            "clusters": [{"name": "kubernetes", "cluster": {
                "server": "https://10.0.0.1:6443", "certificate-authority-data": base64(&self.ca),
            }}],
            "users": [{"name": "kube-proxy", "user": {
                "client-certificate-data": base64(&certificate), "client-key-data": base64(&key),
            }}],
            "contexts": [{"name": "default", "context": {"cluster": "kubernetes", "user": "kube-proxy"}}],
        });
        edit(&mut fields);
        let path = self.put("kube-proxy.kubeconfig", &fields.to_string(), 0o600);
        world.edit(|config, _| config.proxy.kubeconfig = Some(path));
        self.look(world);
    }
}

pub(super) fn said(world: &World, phase: Phase) -> String {
    match &world.plan().verdicts[&phase] {
        Verdict::Satisfied(note) => format!("ok: {note}"),
        Verdict::Unmet { reason, message, .. } if reason.needs_operator() => format!("{reason}! {message}"),
        Verdict::Unmet { reason, message, .. } => format!("{reason}: {message}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_supplied_pair_joins_without_a_key_a_request_or_a_token_for_the_node() {
    let operator = Operator::new();
    let mut world = operator.node(&Order::node());
    operator.kubeconfig(&mut world, &Order::proxy(), |_| {});
    let mut done = Vec::new();
    for _ in 0..40 {
        let plan = world.plan();
        for step in steps(&plan) {
            world.apply(&step);
            done.push(step);
        }
        world.others_move();
    }
    assert!(world.plan().is_ready(), "{:#?}", world.plan().verdicts);
    let asks = |step: &Step| {
        matches!(step, Step::MakeKey { .. } | Step::SubmitRequest { .. } | Step::InstallCertificate { .. })
    };
    assert!(!done.iter().any(asks), "{done:#?}");
    let written = |path: &std::path::Path| match world.observed.files.get(path) {
        Some(Ok(Some(file))) => String::from_utf8(file.content.clone()).unwrap().replace('"', ""),
        _ => String::new(),
    };
    let kubelet = written(paths::kubelet_config());
    for line in [
        "rotateCertificates: false",
        "serverTLSBootstrap: false",
        "tlsCertFile: /node.pem",
        "tlsPrivateKeyFile: /node-key.pem",
    ] {
        assert!(kubelet.contains(line), "{line} is not in\n{kubelet}");
    }
    let kubeconfig = written(paths::kubelet_kubeconfig());
    assert!(
        kubeconfig.contains("client-certificate: /node.pem")
            && kubeconfig.contains("client-key: /node-key.pem")
    );
    assert!(written(&paths::units().join(units::KUBELET)).contains("ConditionPathExists=/node.pem\n"));
    assert!(written(paths::proxy_config()).contains("kubeconfig: /kube-proxy.kubeconfig"));
    assert!(
        written(&paths::units().join(units::KUBE_PROXY))
            .contains("ConditionPathExists=/kube-proxy.kubeconfig\n")
    );
    assert_eq!(written(paths::proxy_kubeconfig()), "", "the operator's is used, so none is written");
    assert_eq!(said(&world, Phase::ServingCert), "ok: the kubelet serves with identity.certFile `/node.pem`");
}

#[test]
fn kube_proxy_may_still_ask_for_its_own_certificate() {
    let operator = Operator::new();
    let mut world = operator.node(&Order::node());
    // The model's signer is the fixture's; both sign for clients here.
    world.edit(|_, observed| {
        observed.client_ca = Ok(format!("{}{}", operator.ca, super::fixture::FIXTURE.ca).into_bytes());
    });
    assert!(settle(&mut world).is_ready());
    assert!(world.observed.proxy_certificate.as_ref().unwrap().is_some());
}

#[test]
fn a_certificate_that_can_not_be_the_nodes_is_refused_with_what_was_found() {
    let operator = Operator::new();
    let refused = |order: Order| said(&operator.node(&order), Phase::Identity);
    assert!(
        refused(Order::node()).starts_with("ok: system:node:n1, valid for 35"),
        "{}",
        refused(Order::node())
    );
    assert_eq!(
        refused(Order { name: "system:node:n2", ..Order::node() }),
        "CertificateUnusable! identity.certFile `/node.pem`: it is for `CN=system:node:n2, \
         O=system:nodes`, expected `CN=system:node:n1, O=system:nodes`"
    );
    assert_eq!(
        refused(Order { group: None, ..Order::node() }),
        "CertificateUnusable! identity.certFile `/node.pem`: it is for `CN=system:node:n1`, expected \
         `CN=system:node:n1, O=system:nodes`"
    );
    assert_eq!(
        refused(Order { usages: vec![Usage::ServerAuth], ..Order::node() }),
        "CertificateUnusable! identity.certFile `/node.pem`: it is not for client authentication (extended key usage), \
         which the kubelet needs"
    );
    let expired = refused(Order { days: (-20, -10), ..Order::node() });
    assert!(
        expired.starts_with("SuppliedExpired! identity.certFile `/node.pem`: it expired at 20"),
        "{expired}"
    );
    let early = refused(Order { days: (10, 20), ..Order::node() });
    assert!(
        early.starts_with("SuppliedExpired! identity.certFile `/node.pem`: it is valid only from 20"),
        "{early}"
    );
    let mut world = operator.node(&Order::node());
    world.edit(|_, observed| observed.client_ca = Ok(super::fixture::FIXTURE.ca.clone().into_bytes()));
    let by_another = said(&world, Phase::Identity);
    assert!(
        by_another.starts_with("CertificateUnusable! identity.certFile `/node.pem`: it was signed by `")
            && by_another.contains("which is not cluster.ca"),
        "{by_another}"
    );
}

#[test]
fn files_that_are_missing_open_to_others_or_no_pair_are_named() {
    let operator = Operator::new();
    let mut world = operator.node(&Order::node());
    let mut after = |change: &dyn Fn()| {
        change();
        operator.look(&mut world);
        said(&world, Phase::Identity)
    };
    let (_, other) = operator.issue(&Order::node());
    for (name, text, mode, expected) in [
        (
            "node-key.pem",
            other.as_str(),
            0o640,
            "KeyExposed! identity.keyFile `/node-key.pem` has mode 0640, expected 0600",
        ),
        (
            "node-key.pem",
            other.as_str(),
            0o600,
            "CertificateUnusable! identity.certFile `/node.pem`: identity.keyFile `/node-key.pem` is the key of another \
             certificate",
        ),
        (
            "node-key.pem",
            "no key",
            0o600,
            "CertificateUnusable! identity.keyFile `/node-key.pem`: there is no private key in it that can be read; \
             expected PEM, unencrypted",
        ),
        (
            "node.pem",
            "nothing",
            0o644,
            "CertificateUnusable! identity.certFile `/node.pem`: there is no certificate in it",
        ),
    ] {
        assert_eq!(after(&|| _ = operator.put(name, text, mode)), expected);
    }
    let missing = after(&|| std::fs::remove_file(operator.directory.path().join("node.pem")).unwrap());
    assert_eq!(missing, "CertificateUnusable! identity.certFile `/node.pem` does not exist");
    // The control: mended, it is used.
    let (certificate, key) = operator.issue(&Order::node());
    let mended = after(&|| {
        operator.put("node.pem", &certificate, 0o644);
        operator.put("node-key.pem", &key, 0o600);
    });
    assert!(mended.starts_with("ok: system:node:n1"), "{mended}");
}

#[test]
fn a_certificate_that_is_none_to_serve_with_leaves_that_to_the_kubelet() {
    let operator = Operator::new();
    let mut world = operator.node(&Order { usages: vec![Usage::ClientAuth], ..Order::node() });
    operator.kubeconfig(&mut world, &Order::proxy(), |_| {});
    assert!(settle(&mut world).is_ready());
    let Some(Ok(Some(file))) = world.observed.files.get(paths::kubelet_config()) else { panic!() };
    let text = String::from_utf8_lossy(&file.content);
    assert!(text.contains("serverTLSBootstrap: true") && !text.contains("tlsCertFile"), "{text}");
    assert!(said(&world, Phase::ServingCert).starts_with("ServingCertPending: "));
}

#[test]
fn names_that_are_missing_and_an_end_that_is_near_are_told_and_hold_nothing_back() {
    let operator = Operator::new();
    let mut world =
        operator.node(&Order { names: vec!["n2"], addresses: vec![], days: (-95, 5), ..Order::node() });
    operator.kubeconfig(&mut world, &Order { days: (-91, 9), ..Order::proxy() }, |_| {});
    assert!(settle(&mut world).is_ready());
    assert_eq!(
        said(&world, Phase::ServingCert),
        "CertificateNames! identity.certFile `/node.pem` is for [n2] and lacks n1 and 10.0.0.2"
    );
    let upkeep = said(&world, Phase::Upkeep);
    assert!(
        upkeep.starts_with(
            "CertificateExpiring! identity.certFile `/node.pem`: 95 % of its life are over; system:node:n1"
        ),
        "{upkeep}"
    );
    assert!(
        upkeep.contains("; proxy.kubeconfig `/kube-proxy.kubeconfig`: 91 % of its life are over"),
        "{upkeep}"
    );
    // The control: with most of its life ahead nothing is told.
    let (certificate, key) = operator.issue(&Order { days: (-80, 20), ..Order::node() });
    operator.put("node.pem", &certificate, 0o644);
    operator.put("node-key.pem", &key, 0o600);
    operator.kubeconfig(&mut world, &Order::proxy(), |_| {});
    settle(&mut world);
    assert!(said(&world, Phase::Upkeep).starts_with("ok: "), "{}", said(&world, Phase::Upkeep));
    assert!(said(&world, Phase::ServingCert).starts_with("ok: "), "{}", said(&world, Phase::ServingCert));
}

#[test]
fn a_replaced_certificate_restarts_only_a_kubelet_that_does_not_read_it_again() {
    let operator = Operator::new();
    for (version, restarts) in [("v1.30.9", true), ("v1.31.0", false)] {
        let mut world = operator.node(&Order::node());
        operator.kubeconfig(&mut world, &Order::proxy(), |_| {});
        world.edit(|_, observed| observed.facts.kubelet.version = version.parse().ok());
        settle(&mut world);
        let restarted = |world: &World| {
            let is_kubelet = |step: &Step| matches!(step, Step::RestartUnit { unit: units::KUBELET, .. });
            world.plan().steps().any(is_kubelet)
        };
        assert!(!restarted(&world), "{version}");
        let at = world.tick();
        world.edit(|_, observed| {
            if let Some(Ok(pair)) = &mut observed.supplied {
                pair.placed_usec = at;
            }
        });
        world.tick();
        assert_eq!(restarted(&world), restarts, "{version}");
    }
}
