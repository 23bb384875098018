//! The lab's command line: `cargo run -p kn-agent-tests --bin lab -- COMMAND`.

use std::process::ExitCode;

use clap::Parser as _;
use lab::{cli, say};

fn main() -> ExitCode {
    lab::watch_signals();
    match cli::run(&cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if lab::interrupted() => ExitCode::from(130),
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
