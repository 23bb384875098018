//! Trust: whom the node believes, configured or found by pins.

use super::{Step, Verdict, View, host, later};
use crate::config::CaSource;
use crate::desired::{FileSpec, paths};
use crate::observe::certificates;
use crate::ports::Failure;
use crate::reason::Reason;

/// The bundles are on disk, as configured or as found and proven.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let pem = match &view.observed.configured_ca {
        Ok(pem) => pem,
        Err(failure) => return discover(view, failure),
    };
    let name = match certificates::parse(pem) {
        Ok(certificate) => certificate.common_name,
        Err(why) => return Verdict::unmet(Reason::CaUnusable, format!("cluster.ca: {why}")),
    };
    let mut specs = vec![FileSpec::new(paths::ca(), pem.clone(), 0o644)];
    if view.config.cluster.client_ca.is_some() {
        match &view.observed.client_ca {
            Ok(pem) => specs.push(FileSpec::new(paths::client_ca(), pem.clone(), 0o644)),
            Err(failure) => return Verdict::from_failure(failure, None),
        }
    }
    let mut steps = Vec::new();
    for spec in &specs {
        match host::write(view, spec) {
            Ok(step) => steps.extend(step),
            Err(verdict) => return verdict,
        }
    }
    if steps.is_empty() { Verdict::Satisfied(format!("CA {name}")) } else { Verdict::Act(steps) }
}

/// Without a bundle that may be believed: a configured one has to be corrected, one that is known by its pins is asked
/// for, which takes a token. A file system that does not answer is no reason to ask.
fn discover(view: View<'_>, failure: &Failure) -> Verdict {
    let CaSource::Pins(pins) = &view.config.cluster.ca else { return Verdict::from_failure(failure, None) };
    if !matches!(failure.reason, Reason::CaUndiscovered | Reason::CaPinMismatch | Reason::CaUnusable) {
        return Verdict::from_failure(failure, Some(later(view.now)));
    }
    if view.config.identity.token.is_some() {
        let server = view.config.cluster.server.clone();
        return Verdict::Act(vec![Step::DiscoverCa { server, pins: pins.clone() }]);
    }
    let reason = match failure.reason {
        Reason::CaUndiscovered => Reason::TokenMissing,
        other => other,
    };
    Verdict::unmet(
        reason,
        format!("{}; to find it anew takes a token, and identity.token is not set", failure.message),
    )
}
