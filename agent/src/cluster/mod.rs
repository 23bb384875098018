//! The cluster side: what an administrator sets up once ([`init`]), hands out to a machine ([`token`], [`mod@print`]) and
//! leaves running ([`approver`], which decides by [`policy`] on what [`csr`] read and [`inventory`] knows). [`status`]
//! tells what of it is in place. [`client`] is the way there.

pub mod approver;
pub mod client;
pub mod csr;
pub mod init;
pub mod inventory;
mod pkcs10;
pub mod policy;
pub mod print;
pub mod status;
pub mod token;

use crate::names::NodeName;
use crate::ports::keys::sha256;

pub use crate::desired::certificates::{APPROVER_SAYS, BOOTSTRAPPER_BINDING};

/// Who we are to server-side apply.
pub const FIELD_MANAGER: &str = "kn-agent";

/// The group every token of ours carries. It may ask for certificates; nothing approves them by itself.
pub const TOKEN_GROUP: &str = "system:bootstrappers:kn-agent";

/// What the group of a token that is bound to a node begins with; the node's [`node_group`] is the whole of it.
pub const NODE_GROUP_PREFIX: &str = "system:bootstrappers:kn-agent:node:";

/// The namespace of the approver: its service account, its Deployment, and the Leases that say which key a token was
/// used for. A namespace of its own, because a right to write Leases in kube-system would be one to every component's
/// leadership.
pub const NAMESPACE: &str = "kn-agent";

/// The type of the condition by which a pending request says why it waits. Kubernetes' own controllers know three types
/// and leave others alone.
pub const HELD_CONDITION: &str = "kn-agent.io/Held";

/// The approver's name among roles and bindings.
pub const APPROVER: &str = "kn-agent:approver";

/// The approver's service account, and its Deployment.
pub const APPROVER_ACCOUNT: &str = "kn-agent-approver";

/// The Secret with the account's credentials, where the approver is a unit.
pub const APPROVER_TOKEN: &str = "kn-agent-approver-token";

/// The label on everything we make, and its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kn-agent");

/// The group of tokens whose first certificate is approved unseen, where the cluster was set up so.
pub const AUTO_APPROVE_GROUP: &str = "system:bootstrappers:kn-agent:auto-approve";

/// The binding that makes [`AUTO_APPROVE_GROUP`] mean something.
pub const AUTO_APPROVE_BINDING: &str = "kn-agent:auto-approve";

/// The role whose holders get any node's first client certificate approved by the controller-manager.
pub const NODECLIENT_ROLE: &str = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";

/// The role whose holders get the renewal of their own client certificate approved by the controller-manager.
pub const SELFNODECLIENT_ROLE: &str = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";

/// The group of all nodes, and the one organization in their certificates.
pub const NODES_GROUP: &str = "system:nodes";

/// The group that binds a token to the node `name`. The API server asserts a token's groups in every request made with
/// it, so that the binding is seen without reading a Secret. Hashed, because a group of a token may hold no dot
/// (`\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`, `k8s.io/cluster-bootstrap/token/api`).
pub fn node_group(name: &NodeName) -> String {
    format!("{NODE_GROUP_PREFIX}{}", sha256(name.as_str().as_bytes()))
}
