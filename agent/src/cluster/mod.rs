//! The cluster side: what an administrator sets up once ([`init`]), hands out to a machine ([`token`], [`mod@print`]) and
//! leaves running ([`approver`], which decides by [`policy`] on what [`csr`] read). [`client`] is the way there.

pub mod approver;
pub mod client;
pub mod csr;
pub mod init;
pub mod policy;
pub mod print;
pub mod token;

pub use crate::desired::certificates::BOOTSTRAPPER_BINDING;

/// Who we are to server-side apply.
pub const FIELD_MANAGER: &str = "kn-agent";

/// The group every token of ours carries. It may ask for certificates; nothing approves them by itself.
pub const TOKEN_GROUP: &str = "system:bootstrappers:kn-agent";

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
