//! The command line: one file a command.

mod agent;
pub mod approver;
pub mod cluster;
pub mod config;
mod look;
mod status;
pub mod token;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigErrors, HostFacts, Sources, load};

/// Makes this machine a Kubernetes node, keeps it one, and says what is in the way.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Read this file instead of /etc/kn-agent/config.yaml and its drop-ins
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, or the node is Ready; 1 failed; 2 wrong usage or configuration; \
3 not Ready yet, on its way; 4 blocked, somebody must act; 5 the daemon is not running";

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: what kn-agent.service starts
    Run,
    /// Where the node stands
    Status(status::Args),
    /// What a pass would do now, changing nothing
    Plan,
    /// The checks before joining, a line each
    Check,
    /// How the time from the start to Ready was spent
    Timeline(status::OutputArgs),
    /// The journal of the kubelet, kube-proxy, the runtime or the agent
    Logs(look::LogsArgs),
    /// The configuration: shown, checked, described
    Config(config::Args),
    /// The cluster's side of joining (with an admin kubeconfig)
    Cluster(cluster::Args),
    /// Tokens for joining (with an admin kubeconfig)
    Token(token::Args),
    /// Approves signing requests that pass strict checks (with an admin kubeconfig, or its own)
    Approver(approver::Args),
}

/// What went wrong, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    code: u8,
}

impl Error {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<ConfigErrors>() {
            Ok(errors) => errors.into(),
            Err(error) => Self::new(1, format!("{error:#}")),
        }
    }
}

/// The configuration in use.
fn configuration(sources: &Sources) -> Result<Config, Error> {
    Ok(load(sources, &HostFacts::of_host())?.config)
}

impl From<ConfigErrors> for Error {
    fn from(error: ConfigErrors) -> Self {
        Self::new(2, error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        // Whoever reads our output may leave early (`| head`): that is no failure.
        let code = u8::from(error.kind() != std::io::ErrorKind::BrokenPipe);
        Self::new(code, error.to_string())
    }
}

impl Cli {
    /// Runs the command; answers go to `out`, what went wrong to `err`.
    pub async fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
        let sources = Sources::of_host(self.config);
        let result = match self.command {
            Command::Run => Box::pin(agent::run(&sources)).await,
            Command::Status(args) => status::run(&args, &sources, out).await,
            Command::Timeline(args) => status::timeline(&args, out),
            Command::Plan => look::plan(&sources, out).await,
            Command::Check => look::check(&sources, out).await,
            Command::Logs(args) => look::logs(&args),
            Command::Config(args) => {
                config::run(&args, sources, &HostFacts::of_host(), out).map_err(Error::from)
            }
            Command::Cluster(args) => Box::pin(cluster::run(&args, out)).await.map_err(Error::from),
            Command::Token(args) => Box::pin(token::run(&args, out)).await.map_err(Error::from),
            Command::Approver(args) => Box::pin(approver::run(&args, out)).await.map_err(Error::from),
        };
        match result {
            Ok(code) => code,
            Err(error) => {
                if error.code != 0 {
                    // Nothing is left to tell it to when this fails.
                    let _ = writeln!(err, "{}", error.message);
                }
                ExitCode::from(error.code)
            }
        }
    }
}
