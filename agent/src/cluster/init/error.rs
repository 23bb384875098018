//! What is in the way of setting up a cluster, and the way out.

use std::path::PathBuf;

use thiserror::Error;

use super::{APPROVER_KUBECONFIG, ReleaseError};
use crate::cluster::client::CallError;
use crate::ports::Failure;

/// What was asked for and makes no sense: the operator's input, exit code 2. Nothing was changed.
#[derive(Debug, Error)]
pub enum Unusable {
    /// A Deployment needs an image, and there is none yet to take it from.
    #[error(
        "`--approver deployment` needs `--image IMAGE`, one that the cluster's nodes can get; `make image` builds it as \
         a tar to load with `ctr -n k8s.io images import` or `docker load`, or to push to a registry"
    )]
    NoImage,
    /// A pod, or another host, cannot be told where the server is.
    #[error("the kubeconfig's server is not for an approver: {0}; give one: --server https://HOST:PORT")]
    Server(#[from] crate::names::Invalid),
    /// A flag that belongs to another place of the approver.
    #[error("`{flag}` is for `{place}`")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// Where it belongs to.
        place: &'static str,
    },
    /// calico's release.
    #[error(transparent)]
    Calico(#[from] ReleaseError),
    /// The file can't be read.
    #[error("cannot read {file}: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// A release is a file.
    #[error(
        "`--cni calico` needs `--manifest FILE`: calico.yaml or calico-etcd.yaml of the release that you choose"
    )]
    NoManifest,
    /// It is one of the nodes', not of this machine.
    #[error("`{flag}` is a directory of the nodes and must be absolute, found {}", path.display())]
    RelativePath {
        /// The flag.
        flag: &'static str,
        /// What was given.
        path: PathBuf,
    },
    /// Two of them would write the same routes.
    #[error(
        "DaemonSet {0} runs flannel and was not made by kn-agent; keep it, or remove what it was made from (kubectl \
         delete -f FILE) and run this again"
    )]
    OtherFlannel(String),
    /// Two networks for one cluster.
    #[error(
        "flannel is in this cluster, put there by kn-agent; for calico remove it first: kubectl delete namespace \
         kube-flannel, and /etc/cni/net.d/10-flannel.conflist on each node"
    )]
    OurFlannel,
    /// The unit reads one file.
    #[error(
        "kn-agent-approver.service reads {APPROVER_KUBECONFIG} and not {}; give `--no-start` to write that file and \
         start the approver yourself", .0.display()
    )]
    OtherFile(PathBuf),
    /// The approver would not know its API server.
    #[error(
        "kubeconfig {0} has no certificate-authority, which the approver needs to know its API server by; use one that \
         has, as /etc/kubernetes/admin.conf does"
    )]
    NoCa(String),
}

/// Why the cluster could not be set up. What was applied before stays; running it again goes on from there.
#[derive(Debug, Error)]
pub enum InitError {
    /// A request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The operator's input.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// A binding of our name binds something else, and what a binding binds cannot be changed.
    #[error(
        "{kind} {name} binds {found}, expected {expected}; a binding's role cannot be changed, so remove it and run \
         this again: kubectl delete {}", delete(.kind, .name)
    )]
    OtherRole {
        /// `ClusterRoleBinding` or `RoleBinding`.
        kind: String,
        /// The binding, behind its namespace where it has one.
        name: String,
        /// What it binds.
        found: String,
        /// What it should bind.
        expected: String,
    },
    /// The controller-manager did not fill the Secret.
    #[error(
        "Secret {name} got no token within {seconds} s; the controller-manager fills it: does it run, with \
         --service-account-private-key-file?"
    )]
    NoToken {
        /// The Secret.
        name: String,
        /// How long was waited.
        seconds: u64,
    },
    /// This host's files or systemd.
    #[error("{}", .0.message)]
    Host(Failure),
}

fn delete(kind: &str, name: &str) -> String {
    match name.split_once('/') {
        Some((namespace, name)) => format!("{} -n {namespace} {name}", kind.to_lowercase()),
        None => format!("{} {name}", kind.to_lowercase()),
    }
}
