//! What a cluster has before anything is applied.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{Approver, Cni, Options, calico, flannel};
use crate::cluster::client::{CallError, Cluster};
use crate::cluster::{APPROVER_ACCOUNT, AUTO_APPROVE_BINDING, BOOTSTRAPPER_BINDING, MANAGED_BY, NAMESPACE};

/// Where earlier versions had the approver's account.
pub(super) const OLD_NAMESPACE: &str = "kube-system";

/// What was found.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Found {
    /// All role bindings of the cluster.
    pub(super) bindings: Vec<ClusterRoleBinding>,
    /// All roles of the cluster.
    pub(super) roles: Vec<ClusterRole>,
    /// The approver's Deployment.
    pub(in crate::cluster) deployment: Option<Deployment>,
    /// What of flannel is there.
    pub(super) flannel: flannel::Found,
    /// calico's controllers.
    pub(super) calico: calico::Found,
    /// Whether the account of an earlier version is there.
    pub(super) old_account: bool,
}

impl Found {
    /// Looks.
    ///
    /// # Errors
    /// At the first thing that cannot be read.
    pub(in crate::cluster) async fn look(cluster: &Cluster) -> Result<Self, CallError> {
        let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client());
        let roles: Api<ClusterRole> = Api::all(cluster.client());
        let deployments: Api<Deployment> = Api::namespaced(cluster.client(), NAMESPACE);
        let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), OLD_NAMESPACE);
        let all = ListParams::default();
        let deployment = format!("Deployment {NAMESPACE}/{APPROVER_ACCOUNT}");
        let account = format!("ServiceAccount {OLD_NAMESPACE}/{APPROVER_ACCOUNT}");
        let (bindings, roles, flannel, calico, deployment, account) = futures::try_join!(
            cluster.call("list", "ClusterRoleBindings", bindings.list(&all)),
            cluster.call("list", "ClusterRoles", roles.list(&all)),
            flannel::Found::look(cluster),
            calico::Found::look(cluster),
            cluster.call("get", deployment, deployments.get_opt(APPROVER_ACCOUNT)),
            cluster.call("get", account, accounts.get_opt(APPROVER_ACCOUNT)),
        )?;
        Ok(Self {
            bindings: bindings.items,
            roles: roles.items,
            deployment,
            flannel,
            calico,
            old_account: account.is_some_and(|account| is_ours(&account)),
        })
    }

    /// The options that this cluster was set up with: with them, `init` changes only what is not as it should be.
    pub(in crate::cluster) fn options(&self) -> Options {
        let binding = |name: &str| self.bindings.iter().find(|binding| binding.name_any() == name);
        let subjects = binding(BOOTSTRAPPER_BINDING).and_then(|binding| binding.subjects.as_deref());
        let user = subjects.unwrap_or_default().iter().find(|subject| subject.kind == "User");
        Options {
            auto_approve: binding(AUTO_APPROVE_BINDING).is_some(),
            static_user: user.map(|user| user.name.clone()),
            approver: Approver::AsFound,
            cni: Cni::AsFound,
            server: None,
            dry_run: true,
        }
    }
}

/// Nobody else's is taken away, or written over.
pub(super) fn is_ours(object: &impl ResourceExt) -> bool {
    object.labels().get(MANAGED_BY.0).is_some_and(|value| value == MANAGED_BY.1)
}

#[cfg(test)]
mod tests {
    use super::super::objects::{Choices, bindings};
    use super::*;

    #[test]
    fn options_of_a_cluster_are_those_it_was_set_up_with() {
        let set_up = |auto_approve, static_user: Option<&str>| {
            let static_user = static_user.map(str::to_owned);
            let choices = Choices { auto_approve, static_user, ..Choices::default() };
            Found { bindings: bindings(&choices), ..Found::default() }.options()
        };
        let plain = set_up(false, None);
        assert!(!plain.auto_approve && plain.static_user.is_none() && plain.dry_run);
        let other = set_up(true, Some("kubelet-bootstrap"));
        assert!(other.auto_approve && other.static_user.as_deref() == Some("kubelet-bootstrap"));
    }

    #[test]
    fn account_of_somebody_else_is_not_taken_away() {
        let mut account = ServiceAccount::default();
        assert!(!is_ours(&account));
        account.metadata.labels = Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into());
        assert!(is_ours(&account));
    }
}
