//! `kn-agent status`: what the daemon published, or a fresh look where it is dead.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;

use super::output::{self, Output, OutputArgs};
use super::{Error, duration, looking};
use crate::config::{HostFacts, Sources, load};
use crate::desired::paths;
use crate::ports::changes::Changes;
use crate::ports::root::Root;
use crate::reconcile::daemon_runs;
use crate::status::{Document, text};

/// Show where the node stands: each phase, what it waits for, and what helps.
///
/// Prints what the daemon last published, in milliseconds. Where the daemon does not run, says so, looks for itself and
/// ends with code 5.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent status --wait --timeout 5m     until the node is Ready, at most 5 minutes
  kn-agent status -o json                 the document, with reason codes for scripts

Exit codes: 0 Ready; 3 on its way; 4 somebody must act; 5 the daemon is not running")]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    /// Print what changes, until interrupted
    #[arg(long)]
    watch: bool,
    /// Print what changes until the node is Ready; exit code 0 then
    #[arg(long, conflicts_with = "watch")]
    wait: bool,
    /// How long --wait waits: 90s, 10m, 1h; a number alone is seconds
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse, requires = "wait")]
    timeout: Duration,
}

/// What the daemon last said.
pub(super) fn published(root: &Root) -> Option<Document> {
    serde_json::from_slice(&root.read(paths::status()).ok()??.content).ok()
}

fn print(document: &Document, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    output::print(output, document, |document| text::render(document, Timestamp::now()), out)
}

pub(super) async fn run(args: &Args, sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let root = Root::new("/");
    if !args.watch && !args.wait {
        return match published(&root).filter(|_| daemon_runs(&root)) {
            Some(document) => {
                print(&document, args.output.output, out)?;
                Ok(ExitCode::from(document.exit_code()))
            }
            None => Box::pin(fresh(args.output.output, sources, &root, out)).await,
        };
    }
    let follow = follow(args, sources, &root, out);
    if !args.wait {
        return follow.await;
    }
    match tokio::time::timeout(args.timeout, follow).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(
            published(&root).filter(|_| daemon_runs(&root)).map_or(5, |d| d.exit_code().max(3)),
            format!(
                "not Ready after {}{}",
                text::duration(args.timeout.as_secs_f64()),
                absence(&root, sources).map_or_else(String::new, |why| format!(": {why}"))
            ),
        )),
    }
}

/// Why the daemon says nothing; `None` where it runs.
fn absence(root: &Root, sources: &Sources) -> Option<String> {
    if daemon_runs(root) {
        return None;
    }
    Some(match load(sources, &HostFacts::of_host()) {
        Err(errors) if errors.not_configured => {
            "there is no configuration: the daemon starts when /etc/kn-agent/config.yaml appears".to_owned()
        }
        _ => "the daemon is not running: systemctl status kn-agent".to_owned(),
    })
}

/// Seconds without a change after which it is told what is waited for, and what helps.
const STUCK: u32 = 3;

async fn follow(args: &Args, sources: &Sources, root: &Root, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let directory = root.path(paths::status().parent().unwrap_or(Path::new("/run")));
    let mut last: Option<Document> = None;
    let mut absent: Option<String> = None;
    let mut quiet = 0;
    loop {
        // Watch before reading, so that no change falls between; the directory may not exist before the daemon does.
        let watched = if directory.is_dir() { directory.as_path() } else { Path::new("/run") };
        let mut changes = Changes::of(&[watched])?;
        let why = absence(root, sources);
        // systemd may be about to start it.
        if quiet > 0 && why != absent {
            if let Some(why) = &why {
                tracing::warn!("{why}");
            }
            absent.clone_from(&why);
        }
        if let Some(document) = published(root).filter(|_| why.is_none()) {
            match (&last, args.output.output) {
                (Some(before), Output::Text) => {
                    let mut new = text::render_changes(before, &document);
                    if new.is_empty() && quiet == STUCK {
                        new = text::render_waits(&document, Timestamp::now());
                    }
                    out.write_all(new.as_bytes())?;
                }
                (Some(before), _) if *before == document => {}
                (_, output) => {
                    if output == Output::Yaml {
                        out.write_all(b"---\n")?;
                    }
                    print(&document, output, out)?;
                }
            }
            if args.wait && document.ready {
                return Ok(ExitCode::SUCCESS);
            }
            last = Some(document);
        }
        // The daemon's lock gives no signal: look again after a second at the latest.
        let woken = tokio::time::timeout(Duration::from_secs(1), changes.next()).await;
        quiet = if woken.is_ok() { 0 } else { quiet + 1 };
    }
}

async fn fresh(
    output: Output,
    sources: &Sources,
    root: &Root,
    out: &mut dyn Write,
) -> Result<ExitCode, Error> {
    let runs = daemon_runs(root);
    if runs {
        tracing::warn!("the daemon has just started and has said nothing yet");
    } else if let Some(old) = published(root) {
        let age = text::duration(text::seconds(old.published_at, Timestamp::now()));
        tracing::warn!("the daemon is not running; it last said {age} ago: {}", old.headline());
    } else {
        tracing::warn!("the daemon is not running: systemctl start kn-agent");
    }
    let (_, _, document) = looking(sources).await?.look_once().await;
    output::print(output, &document, |document| text::render_look(document, runs), out)?;
    Ok(ExitCode::from(if runs { document.exit_code().max(3) } else { 5 }))
}
