//! The command line: one file a command.

pub mod approver;
mod certs;
mod check;
pub mod cluster;
pub mod config;
mod duration;
pub mod generate;
mod logs;
mod output;
mod plan;
mod run;
mod status;
mod timeline;
pub mod token;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::cluster::client::ConnectError;
use crate::cluster::init::{InitError, Unusable};
use crate::config::{Config, ConfigErrors, HostFacts, Sources, load};
use crate::ports::root::Root;
use crate::reconcile::Reconciler;

/// Makes this machine a Kubernetes node, keeps it one, and says what is in the way.
///
/// The daemon (`kn-agent run`, started by systemd as soon as there is a configuration) does the work; the other commands
/// say what it does and change nothing on the machine. `cluster`, `token` and `approver` are the cluster's side of
/// joining and need an administrator's kubeconfig.
#[derive(Debug, Parser)]
#[command(name = "kn-agent", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Read this file instead of /etc/kn-agent/config.yaml and its drop-ins
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done, or the node is Ready
  1  failed
  2  wrong usage or configuration
  3  not Ready yet, on its way
  4  blocked: somebody must act
  5  the daemon is not running";

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: what kn-agent.service starts
    ///
    /// Makes the machine a node and keeps it one, until SIGTERM. A changed configuration is taken up by itself, SIGHUP
    /// asks for it; one that is wrong is told in the journal, and the one in use stays. Only one runs at a time.
    Run,
    Status(status::Args),
    Plan(plan::Args),
    Check(check::Args),
    Timeline(timeline::Args),
    Logs(logs::Args),
    Certs(certs::Args),
    Config(config::Args),
    Cluster(cluster::Args),
    Token(token::Args),
    Approver(approver::Args),
    #[command(hide = true)]
    Generate(generate::Args),
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

/// What the operator gave us is told apart from what failed.
impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        let is_input = error.is::<ConfigErrors>()
            || error.is::<ConnectError>()
            || error.is::<token::JoinError>()
            || error.is::<approver::InputError>()
            || error.is::<Unusable>()
            || matches!(error.downcast_ref(), Some(InitError::Unusable(_)));
        let is_broken_pipe = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|error| error.kind() == ErrorKind::BrokenPipe);
        let code = match (is_broken_pipe, is_input) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        Self::new(code, format!("{error:#}"))
    }
}

impl From<ConfigErrors> for Error {
    fn from(error: ConfigErrors) -> Self {
        Self::new(2, error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        // Whoever reads our output may leave early (`| head`): that is no failure.
        let code = u8::from(error.kind() != ErrorKind::BrokenPipe);
        Self::new(code, error.to_string())
    }
}

/// The configuration in use.
fn configuration(sources: &Sources) -> Result<Config, Error> {
    Ok(load(sources, &HostFacts::of_host())?.config)
}

/// For a look at this machine that changes nothing.
async fn looking(sources: &Sources) -> Result<Reconciler, Error> {
    let config = configuration(sources)?;
    Ok(Reconciler::new(Arc::new(config), Root::new("/"), None, Timestamp::now()).await)
}

impl Cli {
    /// Runs the command; answers go to `out`, what went wrong to `err`.
    pub async fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
        let sources = Sources::of_host(self.config);
        let result = match self.command {
            Command::Run => Box::pin(run::run(&sources)).await,
            Command::Status(args) => Box::pin(status::run(&args, &sources, out)).await,
            Command::Plan(args) => plan::run(&args, &sources, out).await,
            Command::Check(args) => check::run(&args, &sources, out).await,
            Command::Timeline(args) => timeline::run(&args, out),
            Command::Logs(args) => logs::run(&args),
            Command::Certs(args) => certs::run(&args, &sources, out).await,
            Command::Config(args) => {
                let facts = &HostFacts::of_host();
                let installed = config::installed(&args, &sources, facts).await;
                config::run(&args, sources, &config::Host { facts, installed }, out, err).map_err(Error::from)
            }
            Command::Cluster(args) => Box::pin(cluster::run(&args, out)).await.map_err(Error::from),
            Command::Token(args) => Box::pin(token::run(&args, out)).await.map_err(Error::from),
            Command::Approver(args) => Box::pin(approver::run(&args, out)).await.map_err(Error::from),
            Command::Generate(args) => generate::run(&args).map_err(Error::from),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn code(error: impl Into<anyhow::Error>) -> u8 {
        Error::from(error.into()).code
    }

    #[test]
    fn what_the_operator_gave_ends_with_code_2_and_the_rest_with_1() {
        assert_eq!(code(ConfigErrors { problems: Vec::new(), not_configured: true }), 2);
        assert_eq!(code(ConnectError::NoKubeconfig { tried: "/x".to_owned() }), 2);
        assert_eq!(code(InitError::Unusable(Unusable::NoImage)), 2);
        assert_eq!(code(std::io::Error::other("x")), 1);
        let gone = anyhow::Error::from(std::io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!(code(gone.context("cannot write the answer")), 0);
    }

    #[test]
    fn every_command_explains_itself() {
        fn walk(command: &clap::Command, told: &mut usize) {
            let name = command.get_name();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.ends_with('.'), "`{name}`: `{about}`");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "`{name}`: `{}` has no help", argument.get_id());
            }
            assert!(command.get_long_about().is_some(), "`{name}` has no paragraph");
            *told += 1;
            command
                .get_subcommands()
                .filter(|below| !below.is_hide_set())
                .for_each(|below| walk(below, told));
        }
        let mut told = 0;
        walk(&Cli::command(), &mut told);
        assert!(told > 15, "{told}");
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_of_the_timeout_are_read() {
        let parse =
            |timeout: &str| Cli::try_parse_from(["kn-agent", "status", "--wait", "--timeout", timeout]);
        assert!(parse("10m").is_ok());
        let error = parse("soon").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`soon` is no duration; expected e.g. 90s, 10m or 1h"), "{error}");
        assert!(Cli::try_parse_from(["kn-agent", "status", "--timeout", "1s"]).is_err());
    }
}
