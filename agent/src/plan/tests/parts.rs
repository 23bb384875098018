//! What worlds are made of.

use crate::config::RuntimeKind;
use crate::desired::cni::Network;
use crate::observe::cni::Conf;
use crate::observe::runtime::{self, Engine};

/// A configuration of the pod network, whose programs are there.
pub(super) fn conf(file: &str, text: impl AsRef<[u8]>) -> Conf {
    Conf { file: file.to_owned(), network: Network::read(file, text.as_ref()), missing: Vec::new() }
}

/// An engine that runs, with nothing on it.
pub(super) fn engine_with(cgroup_driver: &str) -> Engine {
    let info = runtime::Info {
        version: "26.1.5".to_owned(),
        cgroup_driver: cgroup_driver.to_owned(),
        speaks_v1alpha2: false,
    };
    Engine { answers: Ok(()), info: Ok(info), ..runtime::inactive(RuntimeKind::Docker) }
}
