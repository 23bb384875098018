//! `kn-agent cluster`: what an administrator does once for a whole cluster, and asks of it later.

mod init;
mod status;

use std::io::Write;
use std::process::ExitCode;

pub use init::SCHEMA as INIT_SCHEMA;
pub use status::SCHEMA as STATUS_SCHEMA;

/// Prepare a cluster for machines that run kn-agent, and see whether it is, with an administrator's kubeconfig.
///
/// Once a cluster: `kn-agent cluster init`. Then, for each machine, `kn-agent token create` makes what it joins with, and
/// `kn-agent approver` approves the certificates that nodes ask for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(Box<init::Args>),
    Status(status::Args),
}

/// Runs the command.
///
/// # Errors
/// Where the cluster cannot be reached or refuses, or the answer cannot be written.
pub async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    match &args.command {
        Command::Init(args) => Box::pin(init::run(args, out)).await,
        Command::Status(args) => Box::pin(status::run(args, out)).await,
    }
}
