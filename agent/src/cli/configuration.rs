//! `config`: the configuration shown, checked, described.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::Error;
use crate::config::fragment::Fragment;
use crate::config::sources::{self, Sources};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration, or one file; exit code 2 with every problem
    Validate {
        /// The file, instead of the configuration in use
        file: Option<PathBuf>,
    },
    /// The JSON Schema of a configuration file
    Schema,
}

pub(super) fn run(args: &Args, sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    match &args.command {
        Command::Validate { file } => {
            let sources = Sources { only: file.clone().or_else(|| sources.only.clone()), ..sources.clone() };
            sources::load(&sources)?;
            let files: Vec<String> = sources.files().iter().map(|f| f.display().to_string()).collect();
            writeln!(out, "valid: {}", files.join(", "))?;
        }
        Command::Schema => {
            let schema = schemars::schema_for!(Fragment);
            writeln!(out, "{}", serde_json::to_string_pretty(&schema).unwrap_or_default())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
