//! The container engine, asked over its socket: it may be active and dead.

use super::{Fact, containerd, cri_dockerd, docker};
use crate::config::{Runtime, RuntimeKind};
use crate::desired::engine;
use crate::ports::Failure;
use crate::ports::root::Root;
use crate::reason::Reason;

/// What the engine says.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Whether it answers at all.
    pub answers: Fact<()>,
    /// What it is; an error until it has said so since its last start.
    pub info: Fact<Info>,
    /// Whether the sandbox image is on the node.
    pub has_sandbox_image: bool,
    /// Whether cri-dockerd answers, which stands between docker and the kubelet.
    pub shim: Fact<()>,
}

/// What the engine is. It stays as it is until it starts anew, and asking costs docker three programs that it executes
/// (`runc --version` and its like), so it is asked once a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its version.
    pub version: String,
    /// Its cgroup driver.
    pub cgroup_driver: String,
    /// Whether it also speaks what kubelets before 1.23 do; docker does not by itself.
    pub speaks_v1alpha2: bool,
}

/// What is known of the engine while it is not active.
pub fn inactive(kind: RuntimeKind) -> Engine {
    let inactive = Failure::new(Reason::UnitStarting, format!("{} is not active", engine::unit(kind)));
    Engine {
        answers: Err(inactive.clone()),
        info: Err(inactive),
        has_sandbox_image: false,
        shim: Err(cri_dockerd::inactive()),
    }
}

impl Engine {
    /// Whether all of it is as it should be.
    pub fn is_well(&self) -> bool {
        self.answers.is_ok() && self.has_sandbox_image
    }
}

/// Asks the engine what is cheap to ask, unless it answered `lately`; `info` is what it said of itself since it started.
pub async fn ask(root: &Root, runtime: &Runtime, info: Option<&Fact<Info>>, lately: bool) -> Engine {
    let info = info.cloned().unwrap_or_else(|| {
        let asking = format!("asking {} for its version and cgroup driver", engine::name(runtime.kind));
        Err(Failure::new(Reason::Unobservable, asking))
    });
    let (answers, has_sandbox_image) = match runtime.kind {
        _ if lately => (Ok(()), true),
        RuntimeKind::Docker => docker::ask(root, &runtime.sandbox_image).await,
        RuntimeKind::Containerd => containerd::ask(root, &runtime.sandbox_image).await,
    };
    Engine { answers, info, has_sandbox_image, shim: Err(cri_dockerd::inactive()) }
}

/// Asks the engine what it is.
///
/// # Errors
/// It does not answer, or not as it should.
pub async fn info(root: &Root, kind: RuntimeKind) -> Fact<Info> {
    match kind {
        RuntimeKind::Docker => docker::info(root).await,
        RuntimeKind::Containerd => containerd::info(root).await,
    }
}
