//! docker, asked over its socket: it may be active and dead.

use super::Fact;
use crate::desired::paths;
use crate::ports::root::Root;
use crate::ports::{Failure, http};
use crate::reason::Reason;

/// What docker says.
#[derive(Debug, Clone)]
pub struct Docker {
    /// Its cgroup driver; an error while it does not answer.
    pub cgroup_driver: Fact<String>,
    /// Its version.
    pub version: String,
    /// Whether the sandbox image is on the node.
    pub has_sandbox_image: bool,
    /// Whether cri-dockerd's socket exists.
    pub has_cri_socket: bool,
}

impl Default for Docker {
    fn default() -> Self {
        Self {
            cgroup_driver: Err(Failure::new(Reason::UnitStarting, "docker.service is not active")),
            version: String::new(),
            has_sandbox_image: false,
            has_cri_socket: false,
        }
    }
}

/// Asks docker once.
pub async fn ask(root: &Root, sandbox_image: &str) -> Docker {
    let socket = root.path(paths::docker_socket());
    let silent = |why: String| Failure::new(Reason::RuntimeUnresponsive, format!("docker: {why}"));
    let info = match http::get_unix(&socket, "/info").await {
        Ok(answer) if answer.status == 200 => {
            serde_json::from_slice::<serde_json::Value>(&answer.body).map_err(|e| silent(e.to_string()))
        }
        Ok(answer) => Err(silent(format!("/info answered {}", answer.status))),
        Err(why) => Err(silent(why)),
    };
    let image = http::get_unix(&socket, &format!("/images/{sandbox_image}/json")).await;
    Docker {
        version: info.as_ref().ok().and_then(|i| i["ServerVersion"].as_str()).unwrap_or_default().to_owned(),
        cgroup_driver: info.map(|i| i["CgroupDriver"].as_str().unwrap_or_default().to_owned()),
        has_sandbox_image: image.is_ok_and(|answer| answer.status == 200),
        has_cri_socket: root.exists(paths::cri_socket()),
    }
}
