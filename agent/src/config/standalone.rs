//! A configuration that is one text, of another machine or yet to be written.

use std::path::Path;

use super::check::file_layer;
use super::merge::defaults;
use super::problem::Findings;
use super::sources::resolved;
use super::{ConfigErrors, HostFacts};

/// Whether `text` is a whole configuration. The files it names are not looked at: they are on another machine, or yet to
/// come.
///
/// # Errors
/// Everything that is wrong, under `name` and with its line.
pub(crate) fn verify(name: &Path, text: &str) -> Result<(), ConfigErrors> {
    let mut findings = Findings::default();
    let layer = file_layer(name, text, &mut findings);
    let host = HostFacts { hostname: "node".to_owned(), ..HostFacts::default() };
    resolved(vec![defaults(&host), layer], &mut findings);
    if findings.problems.is_empty() {
        return Ok(());
    }
    Err(ConfigErrors { problems: findings.problems, not_configured: false })
}
