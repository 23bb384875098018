//! The container runtime interface, as far as a runtime is asked what it is: four calls of `runtime.v1`.
//!
//! The messages hold the fields that are looked at (kubernetes/cri-api, pkg/apis/runtime/v1/api.proto); what else is
//! in them is passed over.

use std::collections::BTreeMap;
use std::path::Path;

use prost::{Enumeration, Message};

use super::grpc::{Connection, Refusal};

/// The interface's versions. They differ in nothing that is asked here.
pub const V1: &str = "runtime.v1";
/// What kubelets before 1.23 speak; containerd 2 does not.
pub const V1ALPHA2: &str = "runtime.v1alpha2";

#[derive(Clone, PartialEq, Message)]
struct VersionRequest {
    #[prost(string, tag = "1")]
    version: String,
}

/// What a runtime says that it is.
#[derive(Clone, PartialEq, Message)]
pub struct Version {
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "3")]
    pub version: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeCondition {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    is_met: bool,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    info: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeConfigRequest {}

#[derive(Clone, PartialEq, Message)]
struct RuntimeConfigResponse {
    #[prost(message, optional, tag = "1")]
    linux: Option<LinuxRuntimeConfiguration>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxRuntimeConfiguration {
    #[prost(enumeration = "CgroupDriver", tag = "1")]
    cgroup_driver: i32,
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum CgroupDriver {
    /// systemd.
    Systemd = 0,
    /// The runtime itself.
    Cgroupfs = 1,
}

#[derive(Clone, PartialEq, Message)]
struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(string, tag = "1")]
    id: String,
}

/// A runtime that is connected to.
#[derive(Debug)]
pub struct Cri(Connection);

impl Cri {
    /// Connects to a runtime's socket.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn open(socket: &Path) -> Result<Self, Refusal> {
        Connection::open(socket).await.map(Self)
    }

    /// What it is, asked in a version of the interface.
    ///
    /// # Errors
    /// It does not answer, or does not know this version.
    pub async fn version(&self, api: &str) -> Result<Version, Refusal> {
        let question = VersionRequest { version: api.to_owned() };
        self.0.call(&format!("/{api}.RuntimeService/Version"), &question).await
    }

    /// Who makes the cgroups of its containers; `None` where it does not say.
    ///
    /// # Errors
    /// It does not answer, or does not know the question.
    pub async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>, Refusal> {
        let answer: RuntimeConfigResponse =
            self.0.call("/runtime.v1.RuntimeService/RuntimeConfig", &RuntimeConfigRequest {}).await?;
        // systemd is the zero that an absent field reads as: only what is there counts.
        Ok(answer.linux.map(|linux| linux.cgroup_driver()))
    }

    /// What keeps it from running containers, in its own words; `None` where it runs them. That it has no network yet is
    /// not among it.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn trouble(&self) -> Result<Option<String>, Refusal> {
        let question = StatusRequest { verbose: false };
        let answer: StatusResponse = self.0.call("/runtime.v1.RuntimeService/Status", &question).await?;
        let conditions = answer.status.unwrap_or_default().conditions;
        let unmet = conditions.into_iter().find(|of| of.name == "RuntimeReady" && !of.is_met);
        Ok(unmet.map(|of| format!("{}: {}", of.reason, of.message)))
    }

    /// What it says of its inner state, each a JSON text.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn inner_state(&self) -> Result<BTreeMap<String, String>, Refusal> {
        let question = StatusRequest { verbose: true };
        let answer: StatusResponse = self.0.call("/runtime.v1.RuntimeService/Status", &question).await?;
        Ok(answer.info)
    }

    /// Whether it has the image.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn has_image(&self, name: &str) -> Result<bool, Refusal> {
        let question = ImageStatusRequest { image: Some(ImageSpec { image: name.to_owned() }) };
        let answer: ImageStatusResponse =
            self.0.call("/runtime.v1.ImageService/ImageStatus", &question).await?;
        Ok(answer.image.is_some())
    }
}
