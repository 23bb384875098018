//! `kn-agent check`: the checks before joining, a line each.

use std::io::Write;
use std::process::ExitCode;

use jiff::Timestamp;

use super::output::{self, OutputArgs};
use super::{Error, looking};
use crate::config::Sources;
use crate::plan::{View, preflight};
use crate::status::checks::Checks;

/// Check whether this machine can be a node, and say what is missing.
///
/// A line a check: what was found, and what helps where it failed. Changes nothing and needs no running daemon. The
/// daemon makes the same checks before it joins; the names in `preflight.ignore` are reported only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 every check passed; 4 one failed")]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &Args, sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let mut reconciler = looking(sources).await?;
    let (observed, _, document) = reconciler.look_once().await;
    let view =
        View { config: reconciler.config(), desired: None, observed: &observed, now: Timestamp::now() };
    let checks = Checks::of(&document.node, &preflight::checks(view));
    output::print(args.output.output, &checks, Checks::text, out)?;
    Ok(ExitCode::from(if checks.passed { 0 } else { 4 }))
}
