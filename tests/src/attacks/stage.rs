//! A cluster with the approver at work, and everybody who sends requests.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use kube::Client;

use super::{
    nodes,
    verdict::{Line, Observed, Outcome},
};
use crate::{
    ControlPlane, agent,
    requests::{Approver, Envelope, Fate, History, Requesters, client_of, pkcs10::Pkcs10},
};

/// How long a verdict may take before it counts as none.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// After so many verdicts that were waited for in vain the approver is taken to be broken: the rest waits for a second
/// each, so that the table of what is wrong comes soon.
const IN_VAIN: u32 = 5;

/// Who may create requests beside tokens and nodes, and kubeadm's kind of token.
const OTHERS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lab-requesters}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node-bootstrapper}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: nameless}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:bootstrappers:kubeadm:default-node-token'}
---
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-kubeam, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: kubeam
  token-secret: '0123456789abcdef'
  usage-bootstrap-authentication: 'true'
  auth-extra-groups: 'system:bootstrappers:kubeadm:default-node-token'
";

/// kubeadm's kind of token, as its holder shows it.
pub(super) const KUBEADM_TOKEN: &str = "kubeam.0123456789abcdef";

/// Whether a request may be approved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Permission {
    Never,
    May,
    /// It, or another one of the same group, and not both.
    OneOf(String),
}

/// The stage. Dropping it stops the approver.
pub(super) struct Stage<'a> {
    pub(super) control_plane: &'a ControlPlane,
    pub(super) requesters: Requesters<'a>,
    pub(super) admin: Client,
    pub(super) history: History,
    permissions: Mutex<HashMap<String, Permission>>,
    in_vain: AtomicU32,
    pub(super) approver: Approver<'a>,
}

impl<'a> Stage<'a> {
    /// A cluster set up as an administrator does it, with the approver running.
    pub(super) async fn set(control_plane: &'a ControlPlane) -> Result<Self> {
        let program = agent::program()?;
        let approver = Approver::set_up(control_plane, program.clone())?;
        let requesters = Requesters::new(control_plane, program);
        let admin = requesters.admin().await?;
        let history = History::watch(admin.clone()).await?;
        let permissions = Mutex::default();
        control_plane.kubectl()?.create(OTHERS)?;
        let mut stage = Self {
            control_plane,
            requesters,
            admin,
            history,
            permissions,
            in_vain: AtomicU32::new(0),
            approver,
        };
        nodes::create_all(&stage).await?;
        stage.approver.restart()?;
        Ok(stage)
    }

    /// A client with the approver's own credential.
    pub(super) async fn approver_client(&self) -> Result<Client> {
        client_of(&self.approver.kubeconfig()).await
    }

    /// Sends a request; its UID.
    pub(super) async fn send(
        &self,
        client: &Client,
        name: &str,
        envelope: &Envelope,
        permission: Permission,
    ) -> Result<String> {
        let uid =
            envelope.send(client, name).await.with_context(|| format!("cannot create the request {name}"))?;
        self.permit(&uid, permission);
        Ok(uid)
    }

    /// Notes whether a request may be approved.
    pub(super) fn permit(&self, uid: &str, permission: Permission) {
        let mut permissions = self.permissions.lock().unwrap_or_else(PoisonError::into_inner);
        permissions.insert(uid.to_owned(), permission);
    }

    /// What was noted of a request; one that nobody noted must not be approved.
    pub(super) fn permission(&self, uid: &str) -> Permission {
        let permissions = self.permissions.lock().unwrap_or_else(PoisonError::into_inner);
        permissions.get(uid).cloned().unwrap_or(Permission::Never)
    }

    /// Waits until a request shows `outcome`; what it shows then, or after `limit`.
    pub(super) async fn observe(&self, uid: &str, outcome: Outcome, limit: Duration) -> Observed {
        self.wait(uid, limit, |fate| Observed::of(fate).is_final(outcome)).await
    }

    /// Waits until `met` holds of a request; what it shows then, or after `limit`.
    pub(super) async fn wait(&self, uid: &str, limit: Duration, met: impl Fn(&Fate) -> bool) -> Observed {
        let broken = self.in_vain.load(Ordering::Relaxed) >= IN_VAIN;
        let limit = if broken { limit.min(Duration::from_secs(1)) } else { limit };
        let fate = match self.history.wait(uid, limit, met).await {
            Ok(fate) => Some(fate),
            Err(fate) => {
                self.in_vain.fetch_add(1, Ordering::Relaxed);
                fate
            }
        };
        fate.map_or_else(|| Observed::Other("never seen by the watch".to_owned()), |fate| Observed::of(&fate))
    }

    /// Returns when a request that was sent now is approved: what came before it had its turn.
    pub(super) async fn fence(&self, name: &str) -> Result<()> {
        let node = self.requesters.node("n2").await?;
        let envelope = Envelope::kubelet_serving(Pkcs10::node("n2").dns("n2").pem()?);
        let uid = self.send(&node, name, &envelope, Permission::May).await?;
        let observed = self.observe(&uid, Outcome::Approved, PATIENCE).await;
        anyhow::ensure!(
            Outcome::Approved.matches(&observed),
            "a good request is {observed} after {} s: the approver is not at work",
            PATIENCE.as_secs()
        );
        Ok(())
    }

    /// Sends a request and says what came of it.
    pub(super) async fn attempt(&self, attempt: Attempt<'_>) -> Result<Line> {
        let Attempt { class, what, by, client, name, envelope, expected } = attempt;
        let permission = if expected.allows_approval() { Permission::May } else { Permission::Never };
        let uid = self.send(client, name, envelope, permission).await?;
        let observed = self.observe(&uid, expected, PATIENCE).await;
        Ok(line(class, what, by, expected, &observed))
    }
}

/// A request sent in the course of a scene.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) class: &'static str,
    pub(super) what: &'a str,
    pub(super) by: &'a str,
    pub(super) client: &'a Client,
    pub(super) name: &'a str,
    pub(super) envelope: &'a Envelope,
    pub(super) expected: Outcome,
}

/// The line of a request.
pub(super) fn line(
    class: &'static str,
    what: &str,
    by: &str,
    expected: Outcome,
    observed: &Observed,
) -> Line {
    Line {
        class,
        what: what.to_owned(),
        by: by.to_owned(),
        expected: expected.to_string(),
        observed: observed.to_string(),
        ok: expected.matches(observed),
    }
}
