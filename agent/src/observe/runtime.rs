//! docker, asked over its socket: it may be active and dead.

use super::Fact;
use crate::desired::paths;
use crate::ports::root::Root;
use crate::ports::{Failure, http};
use crate::reason::Reason;

/// What docker says.
#[derive(Debug, Clone)]
pub struct Docker {
    /// Whether it answers at all.
    pub answers: Fact<()>,
    /// What it is; an error until it has said so since its last start.
    pub info: Fact<Info>,
    /// Whether the sandbox image is on the node.
    pub has_sandbox_image: bool,
    /// Whether cri-dockerd's socket exists.
    pub has_cri_socket: bool,
}

/// What docker is. It stays as it is until docker starts anew, and asking costs docker three programs that it executes
/// (`runc --version` and its like), so it is asked once a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its version.
    pub version: String,
    /// Its cgroup driver.
    pub cgroup_driver: String,
}

fn silent(why: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::RuntimeUnresponsive, format!("docker: {why}"))
}

/// What is known of docker while it is not active.
pub fn inactive() -> Docker {
    let inactive = Failure::new(Reason::UnitStarting, "docker.service is not active");
    Docker {
        answers: Err(inactive.clone()),
        info: Err(inactive),
        has_sandbox_image: false,
        has_cri_socket: false,
    }
}

/// Asks docker what is cheap to ask; `info` is what it said of itself since it started.
pub async fn ask(root: &Root, sandbox_image: &str, info: Option<&Fact<Info>>) -> Docker {
    let socket = root.path(paths::docker_socket());
    let image = format!("/images/{sandbox_image}/json");
    let (ping, image) = futures::join!(http::get_unix(&socket, "/_ping"), http::get_unix(&socket, &image));
    Docker {
        answers: match ping {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(silent(format!("/_ping answered {}", answer.status))),
            Err(why) => Err(silent(why)),
        },
        info: info.cloned().unwrap_or_else(|| {
            Err(Failure::new(Reason::Unobservable, "asking docker for its version and cgroup driver"))
        }),
        // Only docker's own word counts: one that is slow has not lost an image.
        has_sandbox_image: !image.is_ok_and(|answer| answer.status == 404),
        has_cri_socket: root.exists(paths::cri_socket()),
    }
}

/// Asks docker what it is.
///
/// # Errors
/// It does not answer, or not as it should.
pub async fn info(root: &Root) -> Fact<Info> {
    let answer = http::get_unix(&root.path(paths::docker_socket()), "/info").await.map_err(silent)?;
    if answer.status != 200 {
        return Err(silent(format!("/info answered {}", answer.status)));
    }
    let fields: serde_json::Value = serde_json::from_slice(&answer.body).map_err(silent)?;
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    Ok(Info { version: text("ServerVersion"), cgroup_driver: text("CgroupDriver") })
}
