//! The lab's command line: `cargo run -p kn-agent-tests --bin lab -- COMMAND`.
#![allow(clippy::disallowed_methods, reason = "tests are all about files, programs and time")]

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use lab::{Artefacts, Minor, bench, demo, floor, say, up};

#[derive(Debug, Parser)]
#[command(about = "Real control planes and nodes on this host, to test kn-agent against")]
struct Arguments {
    /// Kubernetes' minor version
    #[arg(long, global = true, default_value = "1.36")]
    kubernetes: Minor,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build and fetch everything that runs need
    Prepare,
    /// Prove the lab without the agent: a node made Ready by hand, with the seconds it took
    Floor,
    /// Keep a control plane and nodes up until interrupted
    Up {
        /// The run's name
        #[arg(long, default_value = "up")]
        name: String,
        /// A node's name; may be given more than once
        #[arg(long = "node", default_value = "worker-1")]
        nodes: Vec<String>,
    },
    /// Measure the agent against the least a node could take, and write what was found
    Bench {
        /// Where to write it
        #[arg(long, default_value = "docs/evidence/bench.md")]
        output: PathBuf,
        /// Versions, one after the other
        #[arg(long, default_values = ["1.36", "1.20"])]
        versions: Vec<Minor>,
        #[command(flatten)]
        rounds: bench::Rounds,
    },
    /// Show the agent's main job: a fresh machine becomes a Ready node and serves a pod
    Demo,
}

fn main() -> ExitCode {
    lab::watch_signals();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if lab::interrupted() => ExitCode::from(130),
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Action::Bench { output, versions, rounds } = &arguments.command {
        return bench::run(versions, *rounds, output);
    }
    let artefacts = Artefacts::ensure(arguments.kubernetes)?;
    match &arguments.command {
        Action::Prepare => say(format_args!("ready: {}", artefacts.kubernetes().version()?)),
        Action::Floor => floor::floor(&artefacts)?,
        Action::Up { name, nodes } => up::up(&artefacts, &up::Options { name, nodes })?,
        Action::Demo => demo::demo(&artefacts)?,
        Action::Bench { .. } => {}
    }
    Ok(())
}
