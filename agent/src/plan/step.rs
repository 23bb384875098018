//! Steps: one variant an act, fully specified, so that applying needs no further decision.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Node;

use crate::desired::FileSpec;
use crate::desired::certificates::CertificateSpec;
use crate::names::{ApiServerUrl, CaPin};

/// One act.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Put a file in place.
    WriteFile(FileSpec),
    /// Make a directory.
    MakeDirectory {
        /// Where.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Take a file of ours away.
    RemoveFile(PathBuf),
    /// Find the cluster's CA by its pins, and put it in place once it is proven.
    DiscoverCa {
        /// The API server.
        server: ApiServerUrl,
        /// What the CA is known by.
        pins: Vec<CaPin>,
    },
    /// Have units start at boot.
    EnableUnits(Vec<&'static str>),
    /// Make systemd read its unit files.
    ReloadSystemd,
    /// Stop a unit of ours, have it start at boot no more, and take its file away.
    RetireUnit(&'static str),
    /// Wait for a unit that is being started: what follows is not begun where it does not come up.
    AwaitUnit(&'static str),
    /// Start a unit.
    StartUnit(&'static str),
    /// Start a unit anew.
    RestartUnit {
        /// Which.
        unit: &'static str,
        /// Why.
        because: String,
    },
    /// Make a private key and keep it until its certificate comes, in the place of one that waits there.
    MakeKey {
        /// Where.
        path: PathBuf,
        /// How many keys before it ended in a refusal.
        refusals: u32,
    },
    /// Keep a copy of the token that systemd passed for this start alone.
    KeepToken,
    /// Ask for a certificate with the key that waits.
    SubmitRequest {
        /// The certificate.
        certificate: CertificateSpec,
        /// The request's name.
        name: String,
    },
    /// Put an issued certificate in place beside its key.
    InstallCertificate {
        /// What for.
        certificate: CertificateSpec,
        /// The certificate chain, PEM.
        pem: Vec<u8>,
        /// The file it goes to.
        path: PathBuf,
        /// The symlink that makes it current, where there is one.
        link: Option<PathBuf>,
    },
    /// Create the Node object, and the CSINode that belongs to it.
    CreateNode(Box<Node>),
}

impl Step {
    /// What the keys of [`Step::DiscoverCa`] begin with.
    pub const DISCOVER_CA: &str = "discover CA at ";

    /// What it is and to what: the key of its attempts, and what logs and the timeline show.
    pub fn key(&self) -> String {
        match self {
            Self::WriteFile(file) => format!("write {}", file.path.display()),
            Self::MakeDirectory { path, .. } => format!("make {}", path.display()),
            Self::RemoveFile(path) => format!("remove {}", path.display()),
            Self::DiscoverCa { server, .. } => format!("{}{server}", Self::DISCOVER_CA),
            Self::EnableUnits(units) => format!("enable {}", units.join(" ")),
            Self::ReloadSystemd => "reload systemd".to_owned(),
            Self::RetireUnit(unit) => format!("retire {unit}"),
            Self::AwaitUnit(unit) => format!("await {unit}"),
            Self::StartUnit(unit) => format!("start {unit}"),
            Self::RestartUnit { unit, .. } => format!("restart {unit}"),
            Self::MakeKey { path, .. } => format!("make key {}", path.display()),
            Self::KeepToken => "keep the token".to_owned(),
            Self::SubmitRequest { name, .. } => format!("submit CSR {name}"),
            Self::InstallCertificate { path, .. } => format!("install {}", path.display()),
            Self::CreateNode(node) => {
                format!("create Node {}", node.metadata.name.as_deref().unwrap_or_default())
            }
        }
    }

    /// Whether the step interrupts what runs.
    pub fn interrupts(&self) -> bool {
        matches!(self, Self::RestartUnit { .. })
    }
}
