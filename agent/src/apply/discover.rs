//! The cluster's CA, found by its pins.

use super::{Target, on_disk, token};
use crate::desired::cluster_info::{ClusterInfo, note};
use crate::desired::paths;
use crate::names::{ApiServerUrl, CaPin};
use crate::ports::{Failure, discovery};

/// Reads the cluster's public information, checks it, and reads it again from a server that the CA in it vouches for;
/// only then is anything written. The token stays here: it checks a signature.
pub(super) async fn discover(target: &Target, server: &ApiServerUrl, pins: &[CaPin]) -> Result<(), Failure> {
    let token = token(target)?;
    let info = ClusterInfo::read(&discovery::from_anybody(server).await?, &token, pins)?;
    info.is_confirmed_by(&discovery::from_proven(server, &info.ca).await?)?;
    if info.server.as_deref().is_some_and(|other| other.trim_end_matches('/') != server.as_str()) {
        let other = info.server.as_deref().unwrap_or_default();
        tracing::info!("the cluster calls its API server `{other}`; cluster.server stays `{server}`");
    }
    let root = target.root.clone();
    // The note first: a bundle without one is asked for again, a note without its bundle says nothing.
    on_disk(move || {
        root.write(paths::discovered_ca(), note(&info.ca).as_bytes(), 0o600)?;
        root.write(paths::ca(), &info.ca, 0o644)
    })
    .await
}
