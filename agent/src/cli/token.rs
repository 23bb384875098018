//! `kn-agent token`: what lets a machine ask to join.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::output::{self, OutputArgs};
use crate::cluster::client::Cluster;
use crate::cluster::print::{self, Join};
use crate::cluster::token::{self, Approval, Created, For, Listed, State, TokenId, Tokens, Usage, Use};
use crate::names::{ApiServerUrl, NodeName};
use crate::status::text::{duration, seconds};

/// Make, show and end the tokens machines join with, with an administrator's kubeconfig.
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
    List(ListArgs),
    Delete(DeleteArgs),
}

/// Make a bootstrap token and print what a machine needs to join with it.
///
/// A token is good for one node and one key: the approver approves nothing else for it. It can ask for a certificate
/// and nothing else, and ends by itself. What is printed is a secret.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent token create --node worker-1 --print shell        a command to paste into root's shell on the machine
  kn-agent token create --node worker-1 --print config       all of /etc/kn-agent/config.yaml
  kn-agent token create --node worker-1 --print cloud-init   user-data for a machine that is made
  kn-agent token create --node worker-1 --ttl 30m            the token alone")]
#[command(group(clap::ArgGroup::new("who").required(true)))]
struct CreateArgs {
    /// The node it is for: nothing else can join with it
    #[arg(long, value_name = "NAME", group = "who")]
    node: Option<NodeName>,
    /// Make a token that any machine can join with, as any node; weaker
    #[arg(long, group = "who")]
    any_node: bool,
    /// Have what is asked for with it approved unseen; fails where the cluster is not set up so
    ///
    /// Needs `kn-agent cluster init --auto-approve=any-token`. Without this, what is asked for with a token for any node
    /// waits for a person: kubectl certificate approve NAME.
    #[arg(long, requires = "any_node", conflicts_with = "node")]
    auto_approve: bool,
    /// Have it sign the cluster's public information too, for machines that find the CA by `cluster.ca.pins`
    ///
    /// Needs a cluster of kubeadm's, or the ConfigMap kube-public/cluster-info as kubeadm makes it, and the controllers
    /// bootstrapsigner and tokencleaner. Whoever reads that ConfigMap, which everybody may, can try secrets against the
    /// signature at leisure: with 16 random characters that is hopeless.
    #[arg(long)]
    signing: bool,
    /// How long the token lives: 30m, 1h, 2d; at most 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = token::parse_ttl)]
    ttl: Duration,
    /// What to print
    #[arg(long, value_name = "WHAT", default_value = "token")]
    print: Print,
    /// The API server as the machine reaches it [default: the kubeconfig's]
    #[arg(long, value_name = "URL")]
    server: Option<ApiServerUrl>,
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
    /// User-data for cloud-init that writes the configuration and starts kn-agent
    CloudInit,
    /// One command for root's shell that writes the configuration and starts kn-agent
    Shell,
}

/// Show the tokens there are, with the node each is for, when it ends and whether it was used.
///
/// Tokens of others, of kubeadm for example, are counted and not shown. A token's secret is never shown: what is lost is
/// deleted and made anew.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// End a token before its time.
///
/// Certificates that were issued with it stay. That there is no such token is no error. The API server may take a deleted
/// token for some seconds more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent token delete abc123")]
struct DeleteArgs {
    /// Its id, as `token list` shows; or the whole token
    // Text as yet: what clap cannot parse it repeats, and this may be a whole token.
    #[arg(value_name = "ID|TOKEN")]
    id: String,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/token-list/v1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    tokens: &'a Tokens,
}

/// Runs the command.
///
/// # Errors
/// Where the cluster cannot be reached or refuses, or the answer cannot be written.
pub async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    match &args.command {
        Command::Create(args) => create(args, out).await?,
        Command::List(args) => {
            let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
            let now = Timestamp::now();
            let tokens = token::list(&cluster, now).await?;
            let document = Document { schema: SCHEMA, tokens: &tokens };
            output::print(args.output.output, &document, |document| table(document.tokens, now), out)?;
        }
        Command::Delete(args) => {
            let id: TokenId = args.id.parse().map_err(JoinError::Id)?;
            let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
            let text = if token::delete(&cluster, &id).await? {
                format!("token {id} deleted: Secret kube-system/bootstrap-token-{id}\n")
            } else {
                format!("no token {id}: nothing to delete\n")
            };
            out.write_all(text.as_bytes()).context("cannot write the answer")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: &CreateArgs, out: &mut dyn Write) -> Result<(), anyhow::Error> {
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    // What is needed for printing is made sure of first: a token that nobody saw helps nobody.
    let join = match args.print {
        Print::Token => None,
        _ => Some(join(&cluster, args.server.as_ref()).await?),
    };
    let who = match &args.node {
        Some(node) => For::Node(node.clone()),
        None => For::AnyNode { auto_approve: args.auto_approve },
    };
    let usage = if args.signing { Usage::AndSigning } else { Usage::Authentication };
    let created = token::create(&cluster, args.ttl, &who, usage).await?;
    if args.signing {
        tracing::warn!(
            "its signature is in the ConfigMap kube-public/cluster-info, for everybody to read, until it ends; a machine \
             that has the CA (--print config) needs none"
        );
    }
    tell(&created);
    let text = match &join {
        None => format!("{}\n", created.token.expose()).into(),
        Some(join) => {
            let config = print::config(join, &created).context("cannot write the configuration as YAML")?;
            match args.print {
                Print::Shell => print::shell(&config),
                Print::CloudInit => print::cloud_init(&config),
                Print::Config | Print::Token => config,
            }
        }
    };
    out.write_all(text.expose_secret().as_bytes()).context("cannot write the answer")
}

/// What the operator gave is no use: a kubeconfig that does not tell a machine enough, or what is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    #[error(transparent)]
    Id(crate::names::Invalid),
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
    let node = created.node.as_ref().map_or("any", |node| node.as_str());
    tracing::info!(token = created.token.shown(), expires = %created.expires, node, "token created");
    match created.approval {
        Approval::Approver => {}
        Approval::Unseen => tracing::warn!(
            "whoever holds this token can become any node of the cluster, unseen; --node NAME makes one for a node alone"
        ),
        Approval::Person => tracing::warn!(
            "weaker than a token for one node (--node NAME): whoever holds this one can ask to be any node, and a person \
             has to tell who it is: kubectl certificate approve NAME"
        ),
    }
    if !created.usable {
        tracing::warn!(
            "this cluster lets no holder of this token ask for a certificate yet: kn-agent cluster init"
        );
    }
}

fn table(tokens: &Tokens, now: Timestamp) -> String {
    let mut text = String::new();
    if !tokens.tokens.is_empty() {
        let head = ["ID", "STATE", "NODE", "ENDS", "USED"].map(str::to_owned);
        let rows = tokens.tokens.iter().map(|token| cells(token, now));
        text += &output::columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    let _ = match (tokens.tokens.len(), tokens.foreign) {
        (0, 0) => writeln!(text, "no bootstrap token"),
        (0, foreign) => writeln!(text, "no bootstrap token of kn-agent; {foreign} of others"),
        (_, 0) => Ok(()),
        (_, foreign) => writeln!(text, "and {foreign} of others"),
    };
    text
}

fn cells(token: &Listed, now: Timestamp) -> [String; 5] {
    let state = match token.state {
        State::Alive => "alive",
        State::Used => "used",
        State::Expired => "expired",
    };
    let node = match (&token.node, token.bound, token.auto_approve) {
        (Some(node), ..) => node.clone(),
        (None, true, _) => "(one that is not known)".to_owned(),
        (None, false, true) => "(any, approved unseen)".to_owned(),
        (None, false, false) => "(any)".to_owned(),
    };
    let ends = match token.expires {
        Some(expires) if expires > now => format!("in {}", duration(seconds(now, expires))),
        Some(expires) => format!("{} ago", duration(seconds(expires, now))),
        None => "never".to_owned(),
    };
    let used = match &token.used {
        // Enough of the hash to tell keys apart; the document has all of it.
        Some(Use { key, at }) => {
            let short: String = key.chars().filter(|c| !c.is_control()).take(19).collect();
            let when = at.map(|at| format!("{} ago, ", duration(seconds(at, now)))).unwrap_or_default();
            format!("{when}{short}…")
        }
        None => "-".to_owned(),
    };
    [token.id.clone(), state.to_owned(), node, ends, used]
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
        let command = Program::try_parse_from([&["token", "create"], words].concat())?.args.command;
        let Command::Create(args) = command else { panic!("no `create`") };
        Ok(args)
    }

    #[test]
    fn flags_have_the_defaults_the_help_tells() {
        let args = create(&["--node", "worker-1"]).unwrap();
        assert_eq!((args.ttl, args.print), (Duration::from_hours(1), Print::Token));
        assert_eq!(args.node.unwrap().as_str(), "worker-1");
        assert!(create(&["--any-node"]).unwrap().any_node);
        assert!(create(&["--any-node", "--auto-approve"]).unwrap().auto_approve);
        assert!(!args_signing(&["--any-node"]) && args_signing(&["--any-node", "--signing"]));
        assert_eq!(Print::value_variants().len(), 4);
    }

    fn args_signing(words: &[&str]) -> bool {
        create(words).unwrap().signing
    }

    #[test]
    fn who_it_is_for_has_to_be_said() {
        let error = create(&[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("--node <NAME>") && text.contains("--any-node"), "{text}");
        for words in [
            &["--node", "a", "--any-node"][..],
            &["--auto-approve"],
            &["--node", "a", "--auto-approve"],
            &["--node", "Not_A_Node"],
        ] {
            assert_eq!(create(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn bad_input_ends_with_code_2() {
        for words in
            [["--ttl", "0s"], ["--ttl", "8d"], ["--server", "http://10.0.0.1:6443"], ["--print", "yaml"]]
        {
            let error = create(&[&["--any-node"][..], &words].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_token_is_not_repeated() {
        for id in ["abc", "abc123.canary"] {
            let args = Program::try_parse_from(["token", "delete", id]).unwrap().args;
            let error = super::super::Error::from(run(&args, &mut Vec::new()).await.unwrap_err());
            let text = format!("{error:?}");
            assert!(error.code == 2 && text.contains("token list") && !text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn tokens_are_a_table_with_a_row_each() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let token = |id: &str, state, node: Option<&str>, expires: &str, used| Listed {
            id: id.to_owned(),
            state,
            node: node.map(str::to_owned),
            bound: node.is_some(),
            auto_approve: false,
            expires: expires.parse().ok(),
            used,
        };
        let key = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let used = Use { key, at: "2026-01-01T11:59:00Z".parse().ok() };
        let tokens = Tokens {
            tokens: vec![
                token("aaaaaa", State::Alive, None, "2026-01-01T12:30:00Z", None),
                token("bbbbbb", State::Used, Some("worker-1"), "2026-01-01T12:00:30Z", Some(used)),
            ],
            foreign: 1,
        };
        let text = table(&tokens, now);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("aaaaaa  alive  (any)") && lines[1].ends_with('-'), "{text}");
        assert!(lines[2].contains("worker-1") && lines[2].contains("sha256:0123456789ab…"), "{text}");
        assert_eq!(lines[3], "and 1 of others");
        assert_eq!(table(&Tokens::default(), now), "no bootstrap token\n");
    }
}
