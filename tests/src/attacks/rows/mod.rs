//! Every single request that is tried, as data. A row that attacks differs from one that is approved in one thing.

mod bootstrap;
mod form;
mod names;
mod proxy;
mod signers;

use std::net::Ipv4Addr;

use anyhow::Result;

use super::verdict::Expected;
use crate::requests::{Envelope, pkcs10::Pkcs10};
pub(super) use signers::LEGACY;

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Requester {
    /// A node with a client certificate of its own.
    Node(&'static str),
    /// The holder of a token bound to this node; each number is a token of its own.
    Token(&'static str, u8),
    /// The holder of a token bound to no node.
    LooseToken,
    /// The holder of a token that kubeadm made.
    KubeadmToken,
    /// A user who may create requests.
    User,
    /// A user who is in the group of nodes and named like none.
    NamelessNode,
    /// The administrator.
    Admin,
}

impl std::fmt::Display for Requester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Token(name, _) => write!(f, "token of {name}"),
            Self::LooseToken => f.write_str("token of no node"),
            Self::KubeadmToken => f.write_str("kubeadm's token"),
            Self::User => f.write_str("user eve"),
            Self::NamelessNode => f.write_str("eve in system:nodes"),
            Self::Admin => f.write_str("administrator"),
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) class: &'static str,
    pub(super) what: &'static str,
    pub(super) by: Requester,
    pub(super) envelope: Envelope,
    pub(super) expected: Expected,
}

impl Row {
    fn new(
        class: &'static str,
        what: &'static str,
        by: Requester,
        envelope: Envelope,
        expected: impl Into<Expected>,
    ) -> Self {
        Self { class, what, by, envelope, expected: expected.into() }
    }
}

/// What depends on the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where the API server listens.
    pub(super) api_server: Ipv4Addr,
}

/// Every row.
pub(super) fn all(place: Place) -> Result<Vec<Row>> {
    let parts = [bootstrap::rows()?, names::rows(place)?, form::rows()?, proxy::rows()?, signers::rows()?];
    Ok(parts.concat())
}

/// What kubelet `name` asks for with its client certificate.
fn client(request: &Pkcs10) -> Result<Envelope> {
    Ok(Envelope::kubelet_client(request.pem()?))
}

/// What a kubelet asks for to serve with.
fn serving(request: &Pkcs10) -> Result<Envelope> {
    Ok(Envelope::kubelet_serving(request.pem()?))
}
