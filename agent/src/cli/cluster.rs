//! `kn-agent cluster`: what an administrator does once for a whole cluster.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use crate::cluster::client::Cluster;
use crate::cluster::init::{self, Applied, Options, Outcome};

/// Prepare a cluster for machines that run kn-agent, with an administrator's kubeconfig.
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
    /// How to print what was done
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AutoApprove {
    /// Of the holder of any token that `kn-agent token create` makes from now on
    AnyToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person
    Text,
    /// For a program
    Json,
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
    match args.output {
        Format::Text => write_text(&outcome, out),
        Format::Json => write_json(&outcome, out),
    }
    .context("cannot write the answer")?;
    Ok(ExitCode::SUCCESS)
}

fn write_text(outcome: &Outcome, out: &mut dyn Write) -> std::io::Result<()> {
    for Applied { kind, name, result, fields } in &outcome.objects {
        let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
        let dry = if outcome.dry_run { " (dry run)" } else { "" };
        writeln!(out, "{kind} {name}: {result}{fields}{dry}")?;
    }
    for warning in &outcome.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

fn write_json(outcome: &Outcome, out: &mut dyn Write) -> std::io::Result<()> {
    let mut document = json!({"apiVersion": "kn-agent.io/v1alpha1", "kind": "ClusterInit"});
    if let (Some(document), Ok(serde_json::Value::Object(fields))) =
        (document.as_object_mut(), serde_json::to_value(outcome))
    {
        document.extend(fields);
    }
    writeln!(out, "{document:#}")
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
        let mut out = Vec::new();
        write_text(&outcome, &mut out).unwrap();
        let expected =
            "ClusterRoleBinding a: created\nClusterRoleBinding b: changed (subjects)\nwarning: beware\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);

        let mut out = Vec::new();
        write_json(&outcome, &mut out).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["kind"], "ClusterInit");
        assert_eq!(document["objects"][1]["result"], "changed");
    }
}
