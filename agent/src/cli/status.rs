//! `status` and `timeline`: what the daemon published, or a fresh look where it is dead.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;

use super::{Error, configuration};
use crate::config::Sources;
use crate::desired::paths;
use crate::ports::changes::Changes;
use crate::ports::root::Root;
use crate::reconcile::{Reconciler, daemon_runs};
use crate::status::{Document, text};

#[derive(Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    /// Print again at every change, until interrupted
    #[arg(long)]
    watch: bool,
    /// Print at every change until the node is Ready; exit code 0 then
    #[arg(long, conflicts_with = "watch")]
    wait: bool,
    /// How long --wait waits, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For a person
    Text,
    /// The document itself
    Json,
}

fn published(root: &Root) -> Option<Document> {
    serde_json::from_slice(&root.read(paths::status()).ok()??.content).ok()
}

fn print(document: &Document, output: Output, out: &mut dyn Write) -> Result<(), Error> {
    match output {
        Output::Text => write!(out, "{}", text::render(document, Timestamp::now()))?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(document).unwrap_or_default())?,
    }
    out.flush()?;
    Ok(())
}

pub(super) async fn run(args: &Args, sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let root = Root::new("/");
    if !args.watch && !args.wait {
        return match published(&root).filter(|_| daemon_runs(&root)) {
            Some(document) => {
                print(&document, args.output.output, out)?;
                Ok(ExitCode::from(document.exit_code()))
            }
            None => fresh(args.output.output, sources, &root, out).await,
        };
    }
    let follow = follow(args, &root, out);
    if !args.wait {
        return follow.await;
    }
    match tokio::time::timeout(Duration::from_secs(args.timeout), follow).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(
            published(&root).map_or(5, |d| d.exit_code().max(3)),
            format!("not Ready after {} s", args.timeout),
        )),
    }
}

async fn follow(args: &Args, root: &Root, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let directory = root.path(paths::status().parent().unwrap_or(Path::new("/run")));
    let mut last = String::new();
    loop {
        // Watch before reading, so that no change falls between; the directory may not exist before the daemon does.
        let watched = if directory.is_dir() { directory.as_path() } else { Path::new("/run") };
        let mut changes = Changes::of(&[watched])?;
        if let Some(document) = published(root).filter(|_| daemon_runs(root)) {
            let shown = text::render(&document, document.published_at);
            if shown != last {
                print(&document, args.output.output, out)?;
                last = shown;
            }
            if args.wait && document.ready {
                return Ok(ExitCode::SUCCESS);
            }
        }
        // The daemon's lock gives no signal: look again after a second at the latest.
        let _ = tokio::time::timeout(Duration::from_secs(1), changes.next()).await;
    }
}

async fn fresh(
    output: Output,
    sources: &Sources,
    root: &Root,
    out: &mut dyn Write,
) -> Result<ExitCode, Error> {
    if let Some(old) = published(root) {
        let age = text::duration(text::seconds(old.published_at, Timestamp::now()));
        tracing::warn!("the daemon is not running; it last said {age} ago: {}", old.headline());
    } else {
        tracing::warn!("the daemon is not running: systemctl start kn-agent");
    }
    let config = configuration(sources)?;
    let mut reconciler = Reconciler::new(Arc::new(config), root.clone(), None, Timestamp::now()).await;
    let (_, _, document) = reconciler.look_once().await;
    print(&document, output, out)?;
    Ok(ExitCode::from(5))
}

pub(super) fn timeline(args: &OutputArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let nothing = || Error::new(5, "there is no timeline: the daemon has not run since boot");
    let document = published(&Root::new("/")).ok_or_else(nothing)?;
    match args.output {
        Output::Text => write!(out, "{}", text::timeline(&document))?,
        Output::Json => {
            writeln!(out, "{}", serde_json::to_string_pretty(&document.timeline).unwrap_or_default())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
