//! What is found of each certificate, and whether its renewal can work.

use jiff::Timestamp;

use super::{CertificateState, CertificateStatus, Certs, Outlook, RenewedBy, SCHEMA};
use crate::config::Config;
use crate::desired::certificates::Purpose;
use crate::desired::paths;
use crate::observe::Fact;
use crate::observe::certificates::{self, Certificate};
use crate::observe::token::SeenToken;
use crate::plan::Phase;
use crate::plan::identity::{kubelet_is_late, window};
use crate::status::{Document, State};

/// What is known of a node's certificates.
#[derive(Debug)]
pub struct Looked<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The kubelet's client certificate, which is the node's own.
    pub client: Fact<Option<Certificate>>,
    /// The kubelet's serving certificate.
    pub serving: Fact<Option<Certificate>>,
    /// kube-proxy's.
    pub proxy: Fact<Option<Certificate>>,
    /// The CA bundle.
    pub ca: Fact<Vec<u8>>,
    /// The bootstrap token.
    pub token: Fact<Option<SeenToken>>,
    /// Whether the kubelet runs; `None` where systemd does not say.
    pub kubelet_runs: Option<bool>,
    /// What the daemon last said, where it runs.
    pub daemon: Option<Document>,
}

impl Certs {
    /// The document for what was found.
    pub fn of(looked: &Looked<'_>, now: Timestamp) -> Self {
        let mut certificates = vec![client(looked, now), serving(looked, now)];
        let ours = looked.config.proxy.enabled && looked.config.proxy.kubeconfig.is_none();
        certificates.extend(ours.then(|| proxy(looked, now)));
        certificates.extend(bundle(looked, now));
        let node = looked.config.node.name.to_string();
        Self { schema: SCHEMA, node, looked_at: now, certificates }
    }
}

fn found(fact: &Fact<Option<Certificate>>) -> Option<&Certificate> {
    fact.as_ref().ok()?.as_ref()
}

/// What the daemon says of one of `phases`, where that is not in order.
fn of_daemon(looked: &Looked<'_>, phases: &[Phase]) -> Option<(Outlook, String)> {
    let daemon = looked.daemon.as_ref()?;
    let open = |state| matches!(state, State::Waiting | State::Blocked | State::Acting);
    let phase = daemon.phases.iter().find(|p| phases.contains(&p.phase) && open(p.state))?;
    let outlook = if phase.state == State::Blocked { Outlook::Blocked } else { Outlook::Waiting };
    let reason = phase.reason.map(|reason| format!("{reason}: ")).unwrap_or_default();
    Some((outlook, format!("{reason}{}", phase.message)))
}

/// 70 to 90 % of the life: when the kubelet renews, at an instant only it knows.
fn of_kubelet(status: CertificateStatus, certificate: &Certificate) -> CertificateStatus {
    let life = certificate.not_after - certificate.not_before;
    status.renewed(certificate.not_before + life / 10 * 7, kubelet_is_late(certificate))
}

/// Whether a kubelet runs that would renew.
fn kubelet_outlook(looked: &Looked<'_>, asks_with: &str) -> (Outlook, String) {
    match looked.kubelet_runs {
        Some(true) => (Outlook::Good, format!("the kubelet asks with {asks_with}; no token is needed")),
        Some(false) => (Outlook::Waiting, "kubelet.service does not run: nobody renews it".to_owned()),
        None => (Outlook::Waiting, "systemd does not say whether the kubelet runs".to_owned()),
    }
}

/// The node's certificate where it was issued before: nobody here renews it.
fn supplied(looked: &Looked<'_>, file: &std::path::Path, now: Timestamp) -> CertificateStatus {
    let status = CertificateStatus::new("kubelet-client", file, RenewedBy::Operator, &looked.client);
    let status = match found(&looked.client) {
        Some(certificate) => status.with(certificate, now),
        None => status,
    };
    let (outlook, message) = of_daemon(looked, &[Phase::Identity, Phase::Upkeep]).unwrap_or_else(|| {
        (
            Outlook::Good,
            "replace identity.certFile and identity.keyFile; they are read again by themselves".to_owned(),
        )
    });
    status.told(outlook, message)
}

fn client(looked: &Looked<'_>, now: Timestamp) -> CertificateStatus {
    if let Some(pair) = &looked.config.identity.supplied {
        return supplied(looked, &pair.certificate, now);
    }
    let status =
        CertificateStatus::new("kubelet-client", paths::kubelet_client(), RenewedBy::Kubelet, &looked.client);
    let certificate = found(&looked.client);
    let status = match certificate {
        Some(certificate) => of_kubelet(status.with(certificate, now), certificate),
        None => status,
    };
    if let Some((outlook, message)) = of_daemon(looked, &[Phase::Identity]) {
        return status.told(outlook, message);
    }
    if status.state == CertificateState::Valid {
        let (outlook, message) = match certificate.map(kubelet_is_late) {
            Some(late) if now.as_second() >= late => (
                Outlook::Blocked,
                "the kubelet has not renewed it in its time: kn-agent logs kubelet".to_owned(),
            ),
            _ => kubelet_outlook(looked, "it itself"),
        };
        return status.told(outlook, message);
    }
    let name = &looked.config.node.name;
    let why = match &looked.token {
        Ok(Some(token)) => {
            let which = token.id.as_ref().map_or("a static token".to_owned(), |id| format!("token {id}"));
            return status.told(Outlook::Waiting, format!("kn-agent asks for another with {which}"));
        }
        Ok(None) => "identity.token is not set".to_owned(),
        Err(failure) => failure.message.clone(),
    };
    let how = format!("on an admin machine: kn-agent token create --node {name} --print token");
    status.told(Outlook::Blocked, format!("{why}; {how}"))
}

fn serving(looked: &Looked<'_>, now: Timestamp) -> CertificateStatus {
    let status = CertificateStatus::new(
        "kubelet-serving",
        paths::kubelet_server(),
        RenewedBy::Kubelet,
        &looked.serving,
    );
    let status = match found(&looked.serving) {
        Some(certificate) => of_kubelet(status.with(certificate, now), certificate),
        None => status,
    };
    let (outlook, message) = of_daemon(looked, &[Phase::ServingCert])
        .unwrap_or_else(|| kubelet_outlook(looked, "the node's certificate, and somebody must approve it"));
    status.told(outlook, message)
}

fn proxy(looked: &Looked<'_>, now: Timestamp) -> CertificateStatus {
    let status =
        CertificateStatus::new("kube-proxy", paths::proxy_client(), RenewedBy::KnAgent, &looked.proxy);
    let status = match found(&looked.proxy) {
        Some(certificate) => {
            let window = window(looked.config.node.name.as_str(), Purpose::KubeProxy, certificate);
            status.with(certificate, now).renewed(window.at, window.at)
        }
        None => status,
    };
    if let Some((outlook, message)) = of_daemon(looked, &[Phase::ProxyIdentity, Phase::Renewal]) {
        return status.told(outlook, message);
    }
    let identity = found(&looked.client).is_some_and(|certificate| certificate.is_valid_at(now));
    match (looked.daemon.is_some(), identity) {
        (false, _) => status.told(Outlook::Waiting, "the daemon does not run: systemctl start kn-agent"),
        (true, false) => status.told(Outlook::Waiting, "the node's own certificate must be valid first"),
        (true, true) => status.told(
            Outlook::Good,
            "kn-agent asks with the node's certificate, and somebody must approve it; no token is needed",
        ),
    }
}

fn bundle(looked: &Looked<'_>, now: Timestamp) -> Vec<CertificateStatus> {
    let file = paths::ca();
    let pem = match &looked.ca {
        Ok(pem) => pem,
        Err(failure) => {
            let none = CertificateStatus::new("ca", file, RenewedBy::Operator, &Err(failure.clone()));
            return vec![none.told(Outlook::Blocked, failure.message.clone())];
        }
    };
    let status = |(index, certificate): (usize, &Certificate)| {
        let name = if index == 0 { "ca".to_owned() } else { format!("ca-{}", index + 1) };
        let status = CertificateStatus::new(&name, file, RenewedBy::Operator, &Ok(None));
        let status = status.with(certificate, now);
        match status.state {
            CertificateState::Valid => {
                status.told(Outlook::Good, "put its successor into cluster.ca beside it before it ends")
            }
            _ => status.told(Outlook::Blocked, "put its successor into cluster.ca"),
        }
    };
    certificates::all(pem).iter().enumerate().map(status).collect()
}
