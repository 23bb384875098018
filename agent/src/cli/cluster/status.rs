//! `kn-agent cluster status`.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::output::{self, OutputArgs};
use crate::cluster::approver::printable;
use crate::cluster::client::Cluster;
use crate::cluster::status::{self, Approver, ObjectState, Pending, Runs, Status};
use crate::status::text::{duration, seconds};

/// Show what of the cluster's side is in place, whether an approver seems to run, and which nodes are not Ready.
///
/// Compares each object with what `kn-agent cluster init` would apply, asking the server, and changes nothing. Requests
/// that nobody has decided are told by their signer, with why the approver leaves them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all is in place; 1 the cluster cannot be asked; 4 something is missing"
)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/cluster-status/v1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    status: &'a Status,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let now = Timestamp::now();
    let status = Box::pin(status::look(&cluster, now)).await?;
    let document = Document { schema: SCHEMA, status: &status };
    output::print(args.output.output, &document, |document| text(document.status, now), out)?;
    Ok(if status.complete { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

fn text(status: &Status, now: Timestamp) -> String {
    let (wrong, right): (Vec<_>, Vec<_>) =
        status.objects.iter().partition(|object| object.state != ObjectState::Right);
    let mut text = format!("{}\n", status.server);
    let mut row = |sign: char, what: &str, words: &str| {
        let _ = writeln!(text, "  {sign} {what:10} {}", printable(words));
    };
    let sign = if wrong.is_empty() { '✓' } else { '✗' };
    row(sign, "objects", &format!("{} of {} as they should be", right.len(), status.objects.len()));
    for object in &wrong {
        let state = match object.state {
            ObjectState::Missing => "is missing".to_owned(),
            ObjectState::LeftOver => "is of no more use".to_owned(),
            _ => format!("differs ({})", object.fields.join(", ")),
        };
        row(' ', "", &format!("{} {} {state}", object.kind, object.name));
    }
    let (sign, words) = approver(&status.approver, now);
    row(sign, "approver", &words);
    if status.requests.is_empty() {
        row('✓', "requests", "none waits for a decision");
    }
    for pending in &status.requests {
        row('◐', "requests", &requests(pending, now));
    }
    let counts = &status.tokens;
    let others = if counts.foreign > 0 { format!("; {} of others", counts.foreign) } else { String::new() };
    let words = format!("{} alive, {} used, {} expired{others}", counts.alive, counts.used, counts.expired);
    row('·', "tokens", &words);
    let sign = if status.nodes.not_ready.is_empty() { '✓' } else { '✗' };
    row(sign, "nodes", &format!("{}, {} not Ready", status.nodes.total, status.nodes.not_ready.len()));
    for node in &status.nodes.not_ready {
        let agent = node.agent.as_ref().map(|said| format!("; kn-agent: {said}")).unwrap_or_default();
        row(' ', "", &format!("{}: {}: {}{agent}", node.name, node.reason, node.message));
    }
    for warning in &status.warnings {
        let _ = writeln!(text, "warning: {}", printable(warning));
    }
    if !wrong.is_empty() {
        text.push_str("→ kn-agent cluster init (--dry-run shows what it would change)\n");
    }
    text
}

fn approver(approver: &Approver, now: Timestamp) -> (char, String) {
    let (sign, mut text) = match approver.runs {
        Runs::Yes => ('✓', "runs".to_owned()),
        Runs::No => (
            '✗',
            "does not seem to run: a request of a node waits without a word; for now: kn-agent approver, until the \
             node is Ready; for good: kn-agent cluster init --approver unit"
                .to_owned(),
        ),
        Runs::Unknown => ('·', "nothing tells whether one runs".to_owned()),
    };
    if let Some(deployment) = &approver.deployment {
        let _ = write!(text, "; Deployment: {} of {} available", deployment.available, deployment.replicas);
    }
    if let Some(last) = &approver.last_decision {
        let ago = duration(seconds(last.at, now));
        let _ = write!(text, "; {ago} ago {} {} ({})", last.request, last.verdict, last.reason);
    }
    (sign, text)
}

fn requests(pending: &Pending, now: Timestamp) -> String {
    let age = duration(seconds(pending.oldest, now));
    let mut text = format!("{} wait for {}, the oldest for {age}", pending.count, pending.signer);
    for held in &pending.held {
        let _ = write!(text, "; {}: {} ({})", held.reason, held.message, held.count);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::status::{Decision, DeploymentState, Held, Nodes, NotReady, Object, TokenCounts};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn object(name: &str, state: ObjectState, fields: &[&str]) -> Object {
        Object {
            kind: "ClusterRole".to_owned(),
            name: name.to_owned(),
            state,
            fields: fields.iter().map(|&field| field.to_owned()).collect(),
            diff: String::new(),
        }
    }

    fn status() -> Status {
        Status {
            server: "https://10.0.0.10:6443".to_owned(),
            complete: false,
            objects: vec![
                object("a", ObjectState::Right, &[]),
                object("b", ObjectState::Differs, &["rules"]),
                object("c", ObjectState::Missing, &[]),
            ],
            warnings: vec!["beware".to_owned()],
            approver: Approver {
                runs: Runs::Yes,
                deployment: Some(DeploymentState { image: "i".to_owned(), replicas: 2, available: 1 }),
                last_decision: Some(Decision {
                    request: "csr-1".to_owned(),
                    verdict: "Denied".to_owned(),
                    reason: "TokenUsed".to_owned(),
                    at: at("2026-01-01T11:59:30Z"),
                }),
            },
            requests: vec![Pending {
                signer: "kubernetes.io/kubelet-serving".to_owned(),
                count: 2,
                oldest: at("2026-01-01T11:50:00Z"),
                held: vec![Held {
                    reason: "NodeMissing".to_owned(),
                    count: 2,
                    message: "no Node".to_owned(),
                }],
            }],
            tokens: TokenCounts { alive: 2, used: 1, expired: 0, foreign: 1 },
            nodes: Nodes {
                total: 3,
                not_ready: vec![NotReady {
                    name: "worker-2".to_owned(),
                    reason: "KubeletNotReady".to_owned(),
                    message: "no\nnetwork".to_owned(),
                    agent: Some("CniMissing: x".to_owned()),
                }],
            },
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_helps() {
        let expected = "\
https://10.0.0.10:6443
  ✗ objects    1 of 3 as they should be
               ClusterRole b differs (rules)
               ClusterRole c is missing
  ✓ approver   runs; Deployment: 1 of 2 available; 30.0 s ago csr-1 Denied (TokenUsed)
  ◐ requests   2 wait for kubernetes.io/kubelet-serving, the oldest for 10 min; NodeMissing: no Node (2)
  · tokens     2 alive, 1 used, 0 expired; 1 of others
  ✗ nodes      3, 1 not Ready
               worker-2: KubeletNotReady: no\\nnetwork; kn-agent: CniMissing: x
warning: beware
→ kn-agent cluster init (--dry-run shows what it would change)
";
        assert_eq!(text(&status(), at("2026-01-01T12:00:00Z")), expected);
    }

    #[test]
    fn document_has_its_schema() {
        let document = serde_json::to_value(Document { schema: SCHEMA, status: &status() }).unwrap();
        assert_eq!(document["schema"], "kn-agent.io/cluster-status/v1");
        assert_eq!(document["objects"][2]["state"], "missing");
        assert_eq!(document["approver"]["lastDecision"]["reason"], "TokenUsed");
    }
}
