//! The bundles of those whom the node believes: as configured, or found by pins and kept.

use std::path::Path;

use super::Fact;
use crate::config::{CaSource, ClientCaSource, Config};
use crate::desired::cluster_info::{listed, note, sort};
use crate::desired::paths;
use crate::names::CaPin;
use crate::ports::Failure;
use crate::ports::root::Root;
use crate::reason::Reason;

/// Those whom the API server's certificate must come from, PEM.
///
/// # Errors
/// It can't be read; or it was to be found by pins and is not there, or is not the one that was found.
pub fn bundle(root: &Root, config: &Config) -> Fact<Vec<u8>> {
    match &config.cluster.ca {
        CaSource::Pem(pem) => Ok(pem.clone().into_bytes()),
        CaSource::File(path) => file(root, path, "cluster.ca.file"),
        CaSource::Pins(pins) => found(root, pins),
    }
}

/// Those whom the node's own certificate must come from, PEM: by default those of the API server.
///
/// # Errors
/// As [`bundle`].
pub fn client_bundle(root: &Root, config: &Config) -> Fact<Vec<u8>> {
    match &config.cluster.client_ca {
        None => bundle(root, config),
        Some(ClientCaSource::Pem(pem)) => Ok(pem.clone().into_bytes()),
        Some(ClientCaSource::File(path)) => file(root, path, "cluster.clientCA.file"),
    }
}

fn file(root: &Root, path: &Path, key: &str) -> Fact<Vec<u8>> {
    let unusable = |why: String| Failure::new(Reason::CaUnusable, why);
    match root.read_following(path) {
        Ok(Some(file)) => Ok(file.content),
        Ok(None) => Err(unusable(format!("{key} `{}` does not exist", path.display()))),
        Err(failure) => Err(unusable(failure.message)),
    }
}

/// The bundle that was found before, if it still is what was found.
fn found(root: &Root, pins: &[CaPin]) -> Fact<Vec<u8>> {
    let Some(bundle) = root.read(paths::ca())? else {
        let why = format!("`{}` is not there; it is found by cluster.ca.pins", paths::ca().display());
        return Err(Failure::new(Reason::CaUndiscovered, why));
    };
    let kept = root.read(paths::discovered_ca())?.map(|file| file.content);
    keeps_to(pins, &bundle.content, kept.as_deref(), paths::ca())?;
    Ok(bundle.content)
}

/// Whether `bundle` may be believed: the operator pinned each certificate in it, or one, and it is what was found and
/// proven then (`kept`).
fn keeps_to(pins: &[CaPin], bundle: &[u8], kept: Option<&[u8]>, path: &Path) -> Result<(), Failure> {
    let (pinned, other) = sort(pins, bundle)?;
    let mismatch = |why: String| Failure::new(Reason::CaPinMismatch, format!("`{}` {why}", path.display()));
    if pinned == 0 {
        return Err(mismatch(format!("has {}, expected {}", listed(&other), listed(pins))));
    }
    if other.is_empty() || kept == Some(note(bundle).as_bytes()) {
        return Ok(());
    }
    Err(mismatch(format!(
        "is not the bundle that was found by cluster.ca.pins; it also has {}",
        listed(&other)
    )))
}
