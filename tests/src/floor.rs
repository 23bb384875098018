//! `lab floor`.
use anyhow::Result;

use crate::Artefacts;

/// Proves the lab.
pub fn floor(_artefacts: &Artefacts) -> Result<()> {
    anyhow::bail!("not yet")
}
