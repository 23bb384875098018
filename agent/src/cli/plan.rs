//! `kn-agent plan`: what a pass would do now, changing nothing.

use std::io::Write;
use std::process::ExitCode;

use jiff::Timestamp;

use super::output::{self, OutputArgs};
use super::{Error, looking};
use crate::config::Sources;
use crate::desired;
use crate::plan::View;
use crate::status::preview::Preview;

/// Show what the agent would change on this machine now, and change nothing.
///
/// Each step of each phase; for a file the difference to what is on disk; then which units restart for it, and whether
/// pods are hit. A phase that waits or is blocked says on what. Values that look like a secret are not shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent plan                           with the configuration in use
  kn-agent --config new.yaml plan         what another configuration would change")]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &Args, sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let mut reconciler = looking(sources).await?;
    let (observed, plan, _) = reconciler.look_once().await;
    let config = reconciler.config();
    let desired = desired::desired(config, &observed.facts);
    let view = View { config, desired: desired.as_ref(), observed: &observed, now: Timestamp::now() };
    output::print(args.output.output, &Preview::of(view, &plan), Preview::text, out)?;
    Ok(ExitCode::SUCCESS)
}
