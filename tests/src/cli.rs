//! The lab's commands.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    Artefacts, Engine, Minor, approver_bench, attacks, bench, cells, crash, demo, floor, rotation, say, up,
};

/// What the lab is asked to do.
#[derive(Debug, Parser)]
#[command(about = "Real control planes and nodes on this host, to test kn-agent against", long_about = None)]
pub struct Arguments {
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
    /// Attack the approver, one version after the other, and write what came of it
    Attacks {
        /// Where to write it
        #[arg(long, default_value = "docs/evidence/attacks.md")]
        output: PathBuf,
        /// Versions, one after the other
        #[arg(long, default_values = ["1.36", "1.20"])]
        versions: Vec<Minor>,
        /// As short as among the tests
        #[arg(long)]
        short: bool,
    },
    /// Measure the approver, one version after the other, and write what was found
    ApproverBench {
        /// Where to write it
        #[arg(long, default_value = "docs/evidence/approver.md")]
        output: PathBuf,
        /// Versions, one after the other
        #[arg(long, default_values = ["1.36", "1.20"])]
        versions: Vec<Minor>,
    },
    /// Renew certificates that live for minutes, many times, on all versions at once, and write what was seen
    Rotation {
        /// Where to write it
        #[arg(long, default_value = "docs/evidence/rotation.md")]
        output: PathBuf,
        /// Versions, at once
        #[arg(long, default_values = ["1.36", "1.20"])]
        versions: Vec<Minor>,
        /// As short as among the tests
        #[arg(long)]
        short: bool,
    },
    /// Make every supported node Ready: runtimes × releases of Debian × kube-proxy's modes, and write what came of it
    Matrix {
        /// Only cells whose name holds this
        #[arg(long, default_value = "")]
        only: String,
        /// Only cells that the record does not show yet
        #[arg(long)]
        missing: bool,
        /// The record
        #[arg(long, default_value = "docs/evidence/matrix.md")]
        evidence: PathBuf,
    },
    /// Show the agent's main job: a fresh machine becomes a Ready node and serves a pod
    Demo {
        /// What runs containers
        #[arg(long, value_enum, default_value_t)]
        runtime: Engine,
    },
    /// Kill the agent before, within and after each step of a join: it must get there every time
    Crash {
        /// Only steps that hold this text
        #[arg(long)]
        only: Option<String>,
        /// Write the table to this file
        #[arg(long)]
        evidence: Option<PathBuf>,
    },
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Action::Bench { output, versions, rounds } = &arguments.command {
        return bench::run(versions, *rounds, output);
    }
    if let Action::Attacks { output, versions, short } = &arguments.command {
        let extent = if *short { attacks::Extent::SHORT } else { attacks::Extent::FULL };
        return attacks::run(versions, extent, output);
    }
    if let Action::ApproverBench { output, versions } = &arguments.command {
        return approver_bench::run(versions, approver_bench::Extent::FULL, output);
    }
    if let Action::Rotation { output, versions, short } = &arguments.command {
        return rotation::run(versions, *short, output);
    }
    if let Action::Matrix { only, missing, evidence } = &arguments.command {
        let selection = cells::Selection { only: only.clone(), missing: *missing };
        return cells::run(&selection, evidence);
    }
    let engine = match &arguments.command {
        Action::Demo { runtime } => *runtime,
        _ => Engine::default(),
    };
    let artefacts = Artefacts::ensure_for(arguments.kubernetes, engine)?;
    match &arguments.command {
        Action::Prepare => {
            artefacts.kubernetes().programs()?.iter().for_each(|program| say(program.display()));
            say(format_args!("ready: {}", artefacts.kubernetes().version()?));
        }
        Action::Floor => floor::floor(&artefacts)?,
        Action::Up { name, nodes } => up::up(&artefacts, &up::Options { name, nodes })?,
        Action::Demo { .. } => demo::demo(&artefacts)?,
        Action::Crash { only, evidence } => {
            let selection = only.clone().map_or(crash::Selection::All, crash::Selection::Holding);
            crash::crash(&artefacts, &selection, evidence.as_deref())?;
        }
        Action::Bench { .. }
        | Action::Attacks { .. }
        | Action::ApproverBench { .. }
        | Action::Matrix { .. }
        | Action::Rotation { .. } => {}
    }
    Ok(())
}
