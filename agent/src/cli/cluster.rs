//! `kn-agent cluster`: what an administrator does once for a whole cluster.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{self, OutputArgs};
use crate::cluster::client::Cluster;
use crate::cluster::init::{self, Applied, Options, Outcome};

/// Prepare a cluster for machines that run kn-agent, with an administrator's kubeconfig.
///
/// Once a cluster: `kn-agent cluster init`. Then, for each machine, `kn-agent token create` makes what it joins with, and
/// `kn-agent approver` approves the certificates it asks for later.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(InitArgs),
}

/// Create the role bindings that joining needs. Running it again changes nothing.
///
/// Tokens of `kn-agent token create` may then ask for certificates, nodes may renew their own, and the approver has
/// just the rights it needs. Each object is printed with what became of it: created, unchanged or changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent cluster init --dry-run        what would change; changes nothing
  kn-agent cluster init
  kn-agent cluster init --kubeconfig /etc/kubernetes/admin.conf")]
struct InitArgs {
    /// Ask the server what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Have the first certificate of token holders approved unseen, by the controller-manager
    ///
    /// Whoever holds such a token can become any node of the cluster. Without this, approve each machine's first
    /// certificate by hand: kubectl certificate approve NAME.
    #[arg(long, value_name = "WHOSE")]
    auto_approve: Option<AutoApprove>,
    /// Let this user of the API server's static token file ask for certificates too
    #[arg(long, value_name = "USER", num_args = 0..=1, default_missing_value = "kubelet-bootstrap",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    static_user: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AutoApprove {
    /// Of the holder of any token that `kn-agent token create` makes from now on
    AnyToken,
}

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/cluster-init/v1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// Runs the command.
///
/// # Errors
/// Where the cluster cannot be reached or refuses, or the answer cannot be written.
pub async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    let Command::Init(args) = &args.command;
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let options = Options {
        auto_approve: args.auto_approve == Some(AutoApprove::AnyToken),
        static_user: args.static_user.clone(),
        dry_run: args.dry_run,
    };
    let outcome = init::init(&cluster, &options).await?;
    let document = Document { schema: SCHEMA, outcome: &outcome };
    output::print(args.output.output, &document, |document| text(document.outcome), out)?;
    Ok(ExitCode::SUCCESS)
}

fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for Applied { kind, name, result, fields } in &outcome.objects {
        let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
        let dry = if outcome.dry_run { " (dry run)" } else { "" };
        let _ = writeln!(text, "{kind} {name}: {result}{fields}{dry}");
    }
    for warning in &outcome.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::init::Change;

    #[test]
    fn each_object_is_a_line_and_warnings_come_last() {
        let object = |name: &str, result, fields: &[&str]| Applied {
            kind: "ClusterRoleBinding".to_owned(),
            name: name.to_owned(),
            result,
            fields: fields.iter().map(|&f| f.to_owned()).collect(),
        };
        let outcome = Outcome {
            dry_run: false,
            objects: vec![object("a", Change::Created, &[]), object("b", Change::Changed, &["subjects"])],
            warnings: vec!["beware".to_owned()],
        };
        assert_eq!(
            text(&outcome),
            "ClusterRoleBinding a: created\nClusterRoleBinding b: changed (subjects)\nwarning: beware\n"
        );

        let document = Document { schema: SCHEMA, outcome: &outcome };
        let document = serde_json::to_value(document).unwrap();
        assert_eq!(document["schema"], "kn-agent.io/cluster-init/v1");
        assert_eq!(document["objects"][1]["result"], "changed");
    }
}
