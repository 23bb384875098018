//! `kn-agent approver`: decide certificate signing requests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::cluster::approver::{Approver, Decision, OfflineError, Row, explain, printable};
use crate::cluster::client::Cluster;
use crate::cluster::policy::{self, Policy, Refusal, Verdict};

/// Approve the certificate signing requests of nodes that pass every check, and say of all others why not.
///
/// Three signers are served: kubelet client certificates (a machine's first one, with a token that is bound to its name,
/// and renewals), kubelet serving certificates (for the addresses in the Node's own status) and kube-proxy's client
/// certificate. Denied is what can never become right; what may still come right stays pending and gets a condition
/// that says why. There is no way to approve everything.
///
/// Runs until SIGTERM, on a control-plane host (kn-agent-approver.service) or in a pod. Its rights come from
/// `kn-agent cluster init`: the service account kn-agent/kn-agent-approver. Several may run at once.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  kn-agent approver                      decide what comes, until Ctrl-C
  kn-agent approver --once --dry-run     what would be decided now
  kn-agent approver --once               decide it, then end
  kn-agent approver --kubeconfig /etc/kn-agent/approver.kubeconfig
  kubectl get csr NAME -o yaml | kn-agent approver check -")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Decide what waits now, print a table and end
    #[arg(long)]
    once: bool,
    /// Say what would be decided, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Bounds of your own (kind: ApproverPolicy) [default: what fits a cluster made by kubeadm]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config, a pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(CheckArgs),
}

/// Explain the verdict on requests in a file, without a cluster.
///
/// The file holds CertificateSigningRequests as `kubectl get csr -o yaml` prints them, and the Nodes that matter, as
/// `kubectl get nodes -o yaml` does: without its Node a serving certificate is never approved. What only the cluster
/// knows is not looked at: whether a token was used before, and what the API server's addresses are.
///
/// Exit code 0: all would be approved; 3: some would wait; 4: some would be denied, or are not ours.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kubectl get csr NAME -o yaml | kn-agent approver check -
  (kubectl get csr -o yaml; echo ---; kubectl get nodes -o yaml) >state.yaml; kn-agent approver check state.yaml")]
struct CheckArgs {
    /// YAML or JSON; - for standard input
    file: PathBuf,
    /// Bounds of your own (kind: ApproverPolicy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// Why a command about verdicts could not start. All of it is the operator's input: exit code 2.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error(transparent)]
    Policy(#[from] policy::PolicyError),
    #[error("cannot read `{file}`: {why}")]
    Unreadable { file: String, why: std::io::Error },
    #[error("`{file}`: {why}")]
    NoRequests { file: String, why: OfflineError },
}

/// Runs the command. With `--once` the exit code is 1 where a request could not be decided.
///
/// # Errors
/// Where the cluster cannot be reached, a file can't be used, or the answer cannot be written.
pub async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    if let Some(Command::Check(args)) = &args.command {
        return check(args, out);
    }
    let policy = policy_in(args.policy.as_deref())?;
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let (approver, drive) = Approver::new(cluster, policy, args.dry_run);
    if !args.once {
        Box::pin(approver.run(drive)).await.context("cannot listen for signals")?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = Box::pin(approver.judge_all(drive)).await?;
    let lines: Vec<_> = rows.iter().map(|row| cells(row, args.dry_run)).collect();
    write_table(["NAME", "SIGNER", "REQUESTER", "VERDICT", "WHY"], &lines, out)
        .context("cannot write the answer")?;
    Ok(if rows.iter().all(|row| row.outcome.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn policy_in(file: Option<&Path>) -> Result<Policy, InputError> {
    Ok(file.map(policy::read).transpose()?.unwrap_or_default())
}

fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    let policy = policy_in(args.policy.as_deref())?;
    let file = args.file.display().to_string();
    let text = read(&args.file).map_err(|why| InputError::Unreadable { file: file.clone(), why })?;
    let told = explain(&text, &policy, jiff::Timestamp::now())
        .map_err(|why| InputError::NoRequests { file, why })?;
    let lines: Vec<_> = told.iter().map(|(name, verdict)| explained(name, verdict)).collect();
    write_table(["NAME", "VERDICT", "WHY"], &lines, out).context("cannot write the answer")?;
    let code = told.iter().map(|(_, verdict)| match verdict {
        Verdict::Approve(_) => 0,
        Verdict::Hold(_) => 3,
        Verdict::Deny(_) | Verdict::NotOurs(_) => 4,
    });
    Ok(ExitCode::from(code.max().unwrap_or(0)))
}

#[expect(clippy::disallowed_methods, reason = "the command's own input")]
fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    }
}

fn explained(name: &str, verdict: &Verdict) -> [String; 3] {
    let refused = |refusal: &Refusal| format!("{}: {}", refusal.code.as_str(), printable(&refusal.message));
    let (word, why) = match verdict {
        Verdict::Approve(approval) => {
            let unused =
                approval.claim.as_ref().map_or("", |_| ", if it was not used for another key before");
            ("approve", format!("{}{unused}", printable(&approval.message)))
        }
        Verdict::Deny(refusal) => ("deny", refused(refusal)),
        Verdict::Hold(hold) => ("hold", refused(&hold.refusal)),
        Verdict::NotOurs(refusal) => ("not ours", refused(refusal)),
    };
    [printable(name), word.to_owned(), why]
}

/// A table whose last column is as wide as it likes.
fn write_table<const N: usize>(
    head: [&str; N],
    rows: &[[String; N]],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "no certificate signing request waits for a decision");
    }
    let head = head.map(str::to_owned);
    let lines = || std::iter::once(&head).chain(rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines().map(|line| line[column].chars().count()).max().unwrap_or_default()
    });
    for line in lines() {
        let padded: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

fn cells(row: &Row, dry_run: bool) -> [String; 5] {
    let (verdict, why) = match &row.outcome {
        Ok(decision @ Decision::AlreadyDecided) => {
            (decision.word().to_owned(), "meanwhile, by somebody else".to_owned())
        }
        Ok(decision @ (Decision::Approved(_) | Decision::Denied(_) | Decision::Held(_))) if dry_run => {
            (format!("{} (dry run)", decision.word()), decision.to_string())
        }
        Ok(decision) => (decision.word().to_owned(), decision.to_string()),
        Err(error) => ("failed".to_owned(), error.to_string()),
    };
    [row.name.clone(), printable(&row.signer), printable(&row.requester), verdict, printable(&why)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::policy::Code;

    #[test]
    fn table_has_aligned_columns_and_no_control_characters() {
        let refusal = Refusal { code: Code::SignerNotOurs, message: "its signer is `a\n`".to_owned() };
        let row = Row {
            name: "csr-1".to_owned(),
            signer: "example.com/x\u{1b}[31m".to_owned(),
            requester: "eve".to_owned(),
            outcome: Ok(Decision::NotOurs(refusal)),
        };
        let mut out = Vec::new();
        let head = ["NAME", "SIGNER", "REQUESTER", "VERDICT", "WHY"];
        write_table(head, &[cells(&row, true)], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0].find("VERDICT"), lines[1].find("not ours"), "{text}");
        assert!(
            lines[1].ends_with("SignerNotOurs: its signer is `a\\n`") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
