//! `kn-agent check`: the checks before joining, a line each.

use std::io::Write;
use std::process::ExitCode;

use jiff::Timestamp;

use super::output::{self, OutputArgs};
use super::{Error, looking};
use crate::config::{HostFacts, Sources, load};
use crate::desired::Version;
use crate::desired::versions::check::{self, Versions};
use crate::plan::{View, preflight};
use crate::status::checks::Checks;
use crate::status::settings::Settings;

/// Check whether this machine can be a node, and say what is missing.
///
/// A line a check: what was found, and what helps where it failed. Changes nothing and needs no running daemon. The
/// daemon makes the same checks before it joins; the names in `preflight.ignore` are reported only.
///
/// With --for, the configuration alone is held against another version of kubelet and kube-proxy, which need not be here:
/// which fields of kubelet.config and proxy.config and which flags of extraArgs it does not know, or not any more, and what
/// takes their place; and what the kubelet needs beside the container runtime. What kn-agent writes itself fits each
/// version.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 every check passed; 4 one failed")]
pub(super) struct Args {
    /// Say what becomes of this configuration on another version, e.g. 1.36, and look at nothing else
    #[arg(long = "for", value_name = "VERSION", value_parser = Version::supported)]
    version: Option<Version>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &Args, sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    if let Some(version) = args.version {
        return ahead(args, version, sources, out);
    }
    let mut reconciler = looking(sources).await?;
    let (observed, _, document) = reconciler.look_once().await;
    let view =
        View { config: reconciler.config(), desired: None, observed: &observed, now: Timestamp::now() };
    let checks = Checks::of(&document.node, &preflight::checks(view));
    output::print(args.output.output, &checks, Checks::text, out)?;
    Ok(ExitCode::from(if checks.passed { 0 } else { 4 }))
}

/// What becomes of the configuration on `version`.
fn ahead(args: &Args, version: Version, sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let loaded = load(sources, &HostFacts::of_host())?;
    let mut findings = check::all(&loaded.config, Versions { kubelet: version, proxy: version });
    findings.extend(check::runtime(&loaded.config, version));
    let settings = Settings::of(version, findings, |path| loaded.provenance.origin(path));
    output::print(args.output.output, &settings, Settings::text, out)?;
    Ok(ExitCode::from(if settings.passed { 0 } else { 4 }))
}
