//! `lab demo`.
use anyhow::Result;

use crate::Artefacts;

/// Shows the agent's main job.
pub fn demo(_artefacts: &Artefacts) -> Result<()> {
    anyhow::bail!("not yet")
}
