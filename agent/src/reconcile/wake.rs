//! What wakes the loop.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Node, Service};

use crate::desired::{Program, address::ByName};
use crate::observe::access::Access;
use crate::observe::{Fact, runtime};
use crate::ports::cluster::Seen;

/// What wakes the loop.
pub(super) enum Wake {
    Units,
    Node(String, Fact<Seen<Node>>),
    Request(String, Fact<Seen<CertificateSigningRequest>>),
    Dns(Fact<Seen<Service>>),
    Kubelet(Box<Program>),
    Proxy(Box<Program>),
    Engine(Fact<runtime::Info>),
    Access(Result<Access, String>),
    Route(ByName),
    Files,
    UnitFiles,
    Token,
    BusLost,
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Units => "units",
            Self::Node(..) => "node",
            Self::Request(..) => "request",
            Self::Dns(_) => "cluster DNS",
            Self::Kubelet(_) => "kubelet",
            Self::Proxy(_) => "kube-proxy",
            Self::Engine(_) => "engine",
            Self::Access(_) => "access",
            Self::Route(_) => "route",
            Self::Files => "files",
            Self::UnitFiles => "unit files",
            Self::Token => "token",
            Self::BusLost => "bus lost",
        })
    }
}
