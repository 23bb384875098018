//! `kn-agent token`: what lets a machine ask to join.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;

use crate::cluster::client::Cluster;
use crate::cluster::print::{self, Join};
use crate::cluster::token::{self, AutoApprove, Created};
use crate::names::ApiServerUrl;

/// Make the tokens machines join with, with an administrator's kubeconfig.
///
/// A token lets its holder ask for the certificate of a node, for a limited time. It is needed once: certificates renew
/// themselves.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(CreateArgs),
}

/// Make a bootstrap token and print what a machine needs to join with it.
///
/// The token can ask for a certificate and nothing else, and ends by itself. What is printed is a secret.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent token create --print shell     a command to paste into root's shell on the machine
  kn-agent token create --print config    all of /etc/kn-agent/config.yaml
  kn-agent token create --ttl 30m         the token alone")]
struct CreateArgs {
    /// How long the token lives: 30m, 1h, 2d; at most 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = token::parse_ttl)]
    ttl: Duration,
    /// What to print
    #[arg(long, value_name = "WHAT", default_value = "token")]
    print: Print,
    /// The API server as the machine reaches it [default: the kubeconfig's]
    #[arg(long, value_name = "URL")]
    server: Option<ApiServerUrl>,
    /// Whether the machine's first certificate is approved unseen
    #[arg(long, value_name = "WHEN", default_value = "auto", num_args = 0..=1, default_missing_value = "require",
          require_equals = true)]
    auto_approve: AutoApprove,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Print {
    /// The token alone
    Token,
    /// A complete /etc/kn-agent/config.yaml
    Config,
    /// One command for root's shell that writes the configuration and starts kn-agent
    Shell,
}

/// Runs the command.
///
/// # Errors
/// Where the cluster cannot be reached or refuses, or the answer cannot be written.
pub async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    let Command::Create(args) = &args.command;
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    // What is needed for printing is made sure of first: a token that nobody saw helps nobody.
    let join = match args.print {
        Print::Token => None,
        Print::Config | Print::Shell => Some(join(&cluster, args.server.as_ref()).await?),
    };
    let created = token::create(&cluster, args.ttl, args.auto_approve).await?;
    tell(&created);
    let text = match &join {
        None => format!("{}\n", created.token.expose()).into(),
        Some(join) => {
            let config = print::config(join, &created).context("cannot write the configuration as YAML")?;
            if args.print == Print::Shell { print::shell(&config) } else { config }
        }
    };
    out.write_all(text.expose_secret().as_bytes()).context("cannot write the answer")?;
    Ok(ExitCode::SUCCESS)
}

/// Why the kubeconfig does not tell a machine enough.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    #[error("the kubeconfig's server is not for a machine: {0}; give one: --server https://HOST:PORT")]
    Server(#[from] crate::names::Invalid),
    #[error(
        "kubeconfig {0} has no certificate-authority, which a machine needs to know its API server by; use one that \
         has, as /etc/kubernetes/admin.conf does"
    )]
    NoCa(String),
}

async fn join(cluster: &Cluster, server: Option<&ApiServerUrl>) -> Result<Join, JoinError> {
    let server = match server {
        Some(server) => server.clone(),
        None => cluster.server().parse()?,
    };
    let Some(ca_pem) = cluster.ca_pem() else {
        return Err(JoinError::NoCa(cluster.source().to_owned()));
    };
    if is_local(server.host()) {
        tracing::warn!(%server, "no other machine reaches this address; give the right one: --server https://HOST:PORT");
    }
    Ok(Join { server, ca_pem: ca_pem.to_owned(), network: print::observe_network(cluster).await })
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn tell(created: &Created) {
    tracing::info!(
        token = created.token.shown(),
        expires = %created.expires,
        auto_approved = created.auto_approved,
        "token created"
    );
    if !created.usable {
        tracing::warn!(
            "this cluster lets no holder of this token ask for a certificate yet: kn-agent cluster init"
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn create(words: &[&str]) -> Result<CreateArgs, clap::Error> {
        let Command::Create(args) =
            Program::try_parse_from([&["token", "create"], words].concat())?.args.command;
        Ok(args)
    }

    #[test]
    fn flags_have_the_defaults_the_help_tells() {
        let args = create(&[]).unwrap();
        assert_eq!(
            (args.ttl, args.print, args.auto_approve),
            (Duration::from_hours(1), Print::Token, AutoApprove::Auto)
        );
        assert_eq!(create(&["--auto-approve"]).unwrap().auto_approve, AutoApprove::Require);
        assert_eq!(create(&["--auto-approve=never"]).unwrap().auto_approve, AutoApprove::Never);
        assert_eq!(Print::value_variants().len(), 3);
    }

    #[test]
    fn bad_input_ends_with_code_2() {
        for words in
            [["--ttl", "0s"], ["--ttl", "8d"], ["--server", "http://10.0.0.1:6443"], ["--print", "yaml"]]
        {
            assert_eq!(create(&words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
