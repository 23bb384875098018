//! `kn-agent approver`: decide certificate signing requests.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cluster::approver::{Approver, Decision, Row, printable};
use crate::cluster::client::Cluster;
use crate::cluster::policy::Policy;

/// Approve the certificate signing requests of nodes that pass every check, and leave all others alone.
///
/// Three signers are served: kubelet client certificates (renewals only), kubelet serving certificates (for the
/// addresses in the Node's own status) and kube-proxy's client certificate. Requests are never denied. A machine's
/// first certificate is not decided here: approve it with `kubectl certificate approve`, or let the cluster do so with
/// `kn-agent cluster init --auto-approve=any-token`.
///
/// Runs until SIGTERM, on a control-plane host or in a pod. Its rights come from `kn-agent cluster init`: the user
/// kn-agent:approver or the service account kube-system/kn-agent-approver.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent approver --once --dry-run     what would be approved now
  kn-agent approver --once               approve it, then end
  kn-agent approver --kubeconfig /etc/kn-agent/approver.kubeconfig")]
pub struct Args {
    /// Decide what waits now, print a table and end
    #[arg(long)]
    pub once: bool,
    /// Say what would be approved, approve nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config, a pod's service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Runs the command. With `--once` the exit code is 1 where a request could not be decided.
///
/// # Errors
/// Where the cluster cannot be reached, or the answer cannot be written.
pub async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let approver = Approver::new(cluster, Policy::default(), args.dry_run);
    if !args.once {
        approver.run().await.context("cannot listen for signals")?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = approver.judge_all().await?;
    write_table(&rows, out).context("cannot write the answer")?;
    Ok(if rows.iter().all(|row| row.outcome.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_table(rows: &[Row], out: &mut dyn Write) -> std::io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "no certificate signing request waits for a decision");
    }
    let mut lines = vec![["NAME", "SIGNER", "REQUESTER", "VERDICT", "WHY"].map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [0, 1, 2, 3].map(width);
    for [name, signer, requester, verdict, why] in &lines {
        let [a, b, c, d] = widths;
        writeln!(out, "{name:a$}  {signer:b$}  {requester:c$}  {verdict:d$}  {why}")?;
    }
    Ok(())
}

fn cells(row: &Row) -> [String; 5] {
    let (verdict, why) = match &row.outcome {
        Ok(decision @ Decision::AlreadyDecided) => {
            (decision.word(), "meanwhile, by somebody else".to_owned())
        }
        Ok(decision) => (decision.word(), decision.to_string()),
        Err(error) => ("failed", error.to_string()),
    };
    [row.name.clone(), printable(&row.signer), printable(&row.requester), verdict.to_owned(), printable(&why)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::policy::{Code, Refusal};

    #[test]
    fn table_has_aligned_columns_and_no_control_characters() {
        let refusal = Refusal { code: Code::SignerNotOurs, message: "its signer is `a\n`".to_owned() };
        let rows = [Row {
            name: "csr-1".to_owned(),
            signer: "example.com/x\u{1b}[31m".to_owned(),
            requester: "eve".to_owned(),
            outcome: Ok(Decision::Ignored(refusal)),
        }];
        let mut out = Vec::new();
        write_table(&rows, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0].find("VERDICT"), lines[1].find("ignored"), "{text}");
        assert!(
            lines[1].ends_with("SignerNotOurs: its signer is `a\\n`") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
