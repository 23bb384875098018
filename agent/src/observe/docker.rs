//! docker, asked over its own API.

use super::Fact;
use super::runtime::Info;
use crate::desired::paths;
use crate::ports::root::Root;
use crate::ports::{Failure, http};
use crate::reason::Reason;

fn silent(why: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::RuntimeUnresponsive, format!("docker: {why}"))
}

/// Whether docker answers, and has the sandbox image.
pub(super) async fn ask(root: &Root, sandbox_image: &str) -> (Fact<()>, bool) {
    let socket = root.path(paths::docker_socket());
    let image = format!("/images/{sandbox_image}/json");
    let (ping, image) = futures::join!(http::get_unix(&socket, "/_ping"), http::get_unix(&socket, &image));
    let answers = match ping {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(silent(format!("/_ping answered {}", answer.status))),
        Err(why) => Err(silent(why)),
    };
    // Only docker's own word counts: one that is slow has not lost an image.
    (answers, !image.is_ok_and(|answer| answer.status == 404))
}

/// Asks docker what it is.
pub(super) async fn info(root: &Root) -> Fact<Info> {
    let answer = http::get_unix(&root.path(paths::docker_socket()), "/info").await.map_err(silent)?;
    if answer.status != 200 {
        return Err(silent(format!("/info answered {}", answer.status)));
    }
    let fields: serde_json::Value = serde_json::from_slice(&answer.body).map_err(silent)?;
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    Ok(Info { version: text("ServerVersion"), cgroup_driver: text("CgroupDriver"), speaks_v1alpha2: false })
}
