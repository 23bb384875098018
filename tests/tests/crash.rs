//! kill -9 within the steps of a join; `make crash` does it before, within and after each.
#![allow(clippy::disallowed_methods, reason = "tests are all about files, programs and time")]

use anyhow::Result;
use lab::{Artefacts, Minor, crash};

#[test]
fn a_daemon_killed_within_a_step_gets_there_all_the_same() -> Result<()> {
    crash::crash(&Artefacts::ensure(Minor::V1_36)?, &crash::Selection::Spread, None)
}
