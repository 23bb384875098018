//! `kn-agent timeline`: how the time from the start to Ready was spent.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;

use super::{Error, output, status::published};
use crate::ports::root::Root;
use crate::status::svg;
use crate::status::timeline::Timeline;

/// Show how the time from the daemon's start to Ready was spent.
///
/// Each step with its begin, how long it took and a bar on a common axis. Only the way to the first Ready after the
/// daemon's start is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent timeline
  kn-agent timeline -o svg > timeline.svg   a picture, for a browser or a report")]
pub(super) struct Args {
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a person
    Text,
    /// A document, for a program
    Json,
    /// A picture, for a browser
    Svg,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let nothing = || Error::new(5, "there is no timeline: the daemon has not run since boot");
    let timeline = Timeline::of(&published(&Root::new("/")).ok_or_else(nothing)?);
    let text = match args.output {
        Format::Text => timeline.text(),
        Format::Json => output::json(&timeline)?,
        Format::Svg => svg::render(&timeline),
    };
    out.write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
