//! Images that lie on the node as files, for machines without a registry: a unit of ours loads them into the engine.
//!
//! docker would take them over its socket; containerd's way in is its own client, `ctr`, and the agent executes no such
//! program: systemd does, for both.

use std::fmt::Write;

use super::{Facts, FileSpec, engine, paths, units};
use crate::config::{Config, RuntimeKind};

/// The program that loads images.
pub const fn loader(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Docker => "docker",
        RuntimeKind::Containerd => "ctr",
    }
}

/// The unit; `None` where there is nothing to load, or nothing to load it with.
pub(super) fn unit(config: &Config, facts: &Facts) -> Option<FileSpec> {
    let directory = config.runtime.images.as_ref()?;
    let program = units::word(&facts.image_loader.as_ref()?.display().to_string());
    let how = match config.runtime.kind {
        RuntimeKind::Docker => "load --input",
        // Where the kubelet looks for them.
        RuntimeKind::Containerd => "--namespace=k8s.io images import",
    };
    let mut text = format!(
        "# Written by kn-agent; changes are put back. What is loaded is what lies in the directory.\n\
         [Unit]\n\
         Description=Container images of {}\n\
         Wants={engine}\n\
         After={engine}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n",
        units::path(directory),
        engine = engine::unit(config.runtime.kind),
    );
    for (tar, _) in &facts.image_tars {
        let _ = writeln!(text, "ExecStart={program} {how} {}", units::word(&tar.display().to_string()));
    }
    (!facts.image_tars.is_empty()).then(|| FileSpec::new(&paths::units().join(units::IMAGES), text, 0o644))
}
