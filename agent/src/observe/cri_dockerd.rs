//! cri-dockerd, asked as the kubelet asks it: it may be active and dead, like the docker behind it.

use super::Fact;
use crate::desired::paths;
use crate::ports::Failure;
use crate::ports::cri::Cri;
use crate::ports::root::Root;
use crate::reason::Reason;

fn silent(why: &str) -> Failure {
    Failure::new(Reason::RuntimeUnresponsive, format!("cri-dockerd {why}"))
}

/// What is known of it while its unit is not active.
pub(super) fn inactive() -> Failure {
    silent("is not active")
}

/// Whether it answers. It is asked for an image, since what else it can be asked has docker execute three programs; that
/// docker does not answer it is docker's to be told of.
pub(super) async fn ask(root: &Root, sandbox_image: &str) -> Fact<()> {
    if !root.exists(paths::cri_socket()) {
        return Err(silent("has not made its socket yet"));
    }
    let asked = async { Cri::open(&root.path(paths::cri_socket())).await?.has_image(sandbox_image).await };
    match asked.await {
        Err(refusal) if refusal.code.is_none() => {
            Err(silent(&format!("gives no answer: {}", refusal.message)))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
