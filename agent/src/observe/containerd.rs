//! containerd, asked over the container runtime interface.

use serde_json::Value;

use super::Fact;
use super::runtime::Info;
use crate::desired::paths;
use crate::ports::Failure;
use crate::ports::cri::{self, CgroupDriver, Cri};
use crate::ports::grpc::Refusal;
use crate::ports::root::Root;
use crate::reason::Reason;

fn failure(refusal: &Refusal) -> Failure {
    if refusal.is_unimplemented() {
        let message = format!("containerd answers without its CRI plugin: {}", refusal.message);
        return Failure::new(Reason::CriMissing, message);
    }
    Failure::new(Reason::RuntimeUnresponsive, format!("containerd: {}", refusal.message))
}

/// Whether containerd answers, and has the sandbox image.
pub(super) async fn ask(root: &Root, sandbox_image: &str) -> (Fact<()>, bool) {
    let asked = async {
        let cri = Cri::open(&root.path(paths::containerd_socket())).await?;
        let (trouble, image) = futures::join!(cri.trouble(), cri.has_image(sandbox_image));
        Ok((trouble?, image))
    };
    let (answers, image) = match asked.await {
        Ok((None, image)) => (Ok(()), image),
        Ok((Some(why), image)) => {
            let message = format!("containerd says that it is not ready: {why}");
            (Err(Failure::new(Reason::RuntimeUnresponsive, message)), image)
        }
        Err(refusal) => (Err(failure(&refusal)), Err(refusal)),
    };
    // Only its own word counts: one that is slow has not lost an image.
    (answers, image.unwrap_or(true))
}

/// Asks containerd what it is.
pub(super) async fn info(root: &Root) -> Fact<Info> {
    let asked = async {
        let cri = Cri::open(&root.path(paths::containerd_socket())).await?;
        let found = cri.version(cri::V1).await?;
        let speaks_v1alpha2 = match cri.version(cri::V1ALPHA2).await {
            Err(refusal) if !refusal.is_unimplemented() => return Err(refusal),
            spoken => spoken.is_ok(),
        };
        Ok(Info { version: found.version, cgroup_driver: cgroup_driver(&cri).await?, speaks_v1alpha2 })
    };
    asked.await.map_err(|refusal| failure(&refusal))
}

/// Who makes cgroups: said by containerd 2; before that it stands in the configuration that it tells.
async fn cgroup_driver(cri: &Cri) -> Result<String, Refusal> {
    let driver = match cri.cgroup_driver().await {
        Ok(driver) => driver,
        Err(refusal) if refusal.is_unimplemented() => None,
        Err(refusal) => return Err(refusal),
    };
    let systemd = match driver {
        Some(driver) => driver == CgroupDriver::Systemd,
        None => cri.inner_state().await?.get("config").is_some_and(|text| is_systemds(text)),
    };
    Ok(if systemd { "systemd" } else { "cgroupfs" }.to_owned())
}

/// What the configuration in use says of the runtime that pods get where they name none.
fn is_systemds(config: &str) -> bool {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let containerd = &config["containerd"];
    let name = containerd["defaultRuntimeName"].as_str().unwrap_or("runc");
    containerd["runtimes"][name]["options"]["SystemdCgroup"].as_bool() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::is_systemds;

    #[test]
    fn the_driver_is_that_of_the_runtime_in_use() {
        let with = |name: &str, other: bool| {
            format!(
                r#"{{"containerd": {{"defaultRuntimeName": "{name}", "runtimes": {{
                    "runc": {{"options": {{"SystemdCgroup": {other}}}}},
                    "nvidia": {{"options": {{"SystemdCgroup": true}}}}}}}}}}"#
            )
        };
        assert!(is_systemds(&with("nvidia", false)) && is_systemds(&with("runc", true)));
        assert!(!is_systemds(&with("runc", false)) && !is_systemds(&with("none", true)) && !is_systemds("?"));
    }
}
