//! An API server that fails, and requests that change while they are judged: never an approval of what was not looked
//! at, never a denial because something could not be found out, and a verdict soon after all is well again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{Api, Client, api::DeleteParams};

use super::{
    proxy::{Mode, Proxy},
    stage::{PATIENCE, Permission, Stage, line},
    verdict::{Line, Observed, Outcome},
};
use crate::requests::{Envelope, pkcs10::Pkcs10};

const CLASS: &str = "failing server";

/// How soon after the end of a failure there must be a verdict.
const HEALED: Duration = Duration::from_secs(10);

/// What fails, whether already when the approver starts, and how.
const OUTAGES: &[(&str, bool, Mode)] = &[
    ("everything answers 500", false, Mode::Fail),
    ("nothing answers", false, Mode::Blackhole),
    ("everything answers 500, from the approver's start on", true, Mode::Fail),
    ("Nodes answer 500, from the approver's start on", true, Mode::FailPath("/nodes")),
    ("Leases answer 500", false, Mode::FailPath("/leases")),
    (
        "the API server's own address answers 500, from the approver's start on",
        true,
        Mode::FailPath("/namespaces/default/"),
    ),
];

pub(super) async fn run(stage: &mut Stage<'_>, outage: Duration) -> Result<Vec<Line>> {
    let proxy = Proxy::start(stage.approver_client().await?).await?;
    let kubeconfig = proxy.write_kubeconfig(stage.control_plane.run().directory())?;
    stage.approver.restart_with(&kubeconfig)?;
    let mut lines = vec![];
    for (number, (what, from_start, mode)) in OUTAGES.iter().enumerate() {
        stage.fence(&format!("fence-outage-{number}")).await?;
        if *from_start {
            stage.approver.stop();
        }
        proxy.set(*mode);
        if *from_start {
            stage.approver.restart_with(&kubeconfig)?;
        }
        lines.extend(fail(stage, &proxy, number, what, outage).await?);
    }
    stage.fence("fence-swap").await?;
    lines.extend(swap(stage, &proxy).await?);
    stage.approver.restart()?;
    Ok(lines)
}

/// Good requests during a failure: nothing wrong while it lasts, approved soon after.
async fn fail(
    stage: &Stage<'_>,
    proxy: &Proxy,
    number: usize,
    what: &str,
    outage: Duration,
) -> Result<Vec<Line>> {
    let node = format!("o{number}");
    let holder = stage.requesters.token(&["--node", &node]).await?;
    let first = Envelope::kubelet_client(Pkcs10::node(&node).pem()?);
    let serving = Envelope::kubelet_serving(Pkcs10::node("n2").dns("n2").pem()?);
    let n2 = stage.requesters.node("n2").await?;
    let other = Envelope::kubelet_client(Pkcs10::node("n1").pem()?);
    let sent = [
        (
            "a first certificate",
            stage.send(&holder, &format!("outage-{number}-a"), &first, Permission::May).await?,
        ),
        (
            "a serving certificate",
            stage.send(&n2, &format!("outage-{number}-b"), &serving, Permission::May).await?,
        ),
    ];
    let bad = stage.send(&holder, &format!("outage-{number}-c"), &other, Permission::Never).await?;
    tokio::time::sleep(outage).await;
    let before: Vec<_> = sent.iter().map(|(_, uid)| stage.history.fate(uid)).collect();
    proxy.set(Mode::Pass);
    let healed = Instant::now();
    let mut lines = Vec::new();
    for ((of, uid), before) in sent.iter().zip(before) {
        let observed = stage.observe(uid, Outcome::Issued, HEALED).await;
        let denied = before.is_some_and(|fate| fate.condition("Denied").is_some());
        let took = stage
            .history
            .fate(uid)
            .and_then(|fate| fate.approved)
            .map(|at| at.saturating_duration_since(healed));
        lines.push(Line {
            class: CLASS,
            what: format!("{of} while {what}"),
            by: if *of == "a first certificate" { format!("token of {node}") } else { "node n2".to_owned() },
            expected: format!("not denied, approved within {} s of its end", HEALED.as_secs()),
            observed: took.map_or_else(
                || observed.to_string(),
                |took| format!("approved {:.1} s after its end", took.as_secs_f64()),
            ),
            ok: !denied && Outcome::Issued.matches(&observed),
        });
    }
    let expected = Outcome::Denied("TokenNodeMismatch");
    let observed = stage.observe(&bad, expected, HEALED).await;
    lines.push(line(
        CLASS,
        &format!("another node's certificate while {what}"),
        &format!("token of {node}"),
        expected,
        &observed,
    ));
    Ok(lines)
}

/// What is tried, a request, what it is replaced by, and what must come of what is there in the end.
type Swap<'a> = (&'a str, &'a Client, Envelope, Option<(&'a Client, Envelope)>, Outcome);

/// Requests deleted and made anew, with another content, between the look and the verdict.
async fn swap(stage: &Stage<'_>, proxy: &Proxy) -> Result<Vec<Line>> {
    const CLASS: &str = "replaced request";
    let f2 = stage.requesters.node("f2").await?;
    let serving =
        |name: &str| Ok::<_, anyhow::Error>(Envelope::kubelet_serving(Pkcs10::node("f2").dns(name).pem()?));
    let (w1, w2) =
        (stage.requesters.token(&["--node", "w1"]).await?, stage.requesters.token(&["--node", "w2"]).await?);
    let first = Envelope::kubelet_client(Pkcs10::node("w1").pem()?);
    let eve = stage.requesters.user("eve", "eve", &[]).await?;
    let cases: [Swap<'_>; 5] = [
        ("by nothing: it is only looked at later", &f2, serving("f2")?, None, Outcome::Issued),
        (
            "by one for another node's name",
            &f2,
            serving("f2")?,
            Some((&f2, serving("victim")?)),
            Outcome::Held("NameNotOfNode"),
        ),
        (
            "by a first certificate for the same node, with another node's token",
            &w1,
            first.clone(),
            Some((&w2, first.clone())),
            Outcome::Denied("TokenNodeMismatch"),
        ),
        ("by a user's", &f2, serving("f2")?, Some((&eve, serving("f2")?)), Outcome::Untouched),
        ("by another good one", &f2, serving("f2")?, Some((&f2, serving("f2")?)), Outcome::Issued),
    ];
    let mut lines = Vec::new();
    for (number, (what, client, before, after, expected)) in cases.into_iter().enumerate() {
        let name = format!("swap-{number}");
        let path = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}/approval");
        let (reached, open) = proxy.stop_at(path);
        let mut uid = stage.send(client, &name, &before, Permission::May).await?;
        tokio::time::timeout(PATIENCE, reached.notified()).await.context("the approver approved nothing")?;
        if let Some((client, envelope)) = after {
            let api: Api<CertificateSigningRequest> = Api::all(stage.admin.clone());
            api.delete(&name, &DeleteParams::default()).await?;
            let may = if expected.allows_approval() { Permission::May } else { Permission::Never };
            uid = stage.send(client, &name, &envelope, may).await?;
        }
        open.notify_one();
        let observed = if expected == Outcome::Untouched {
            stage.fence(&format!("fence-{name}")).await?;
            stage.history.fate(&uid).map_or(Observed::Untouched, |fate| Observed::of(&fate))
        } else {
            stage.observe(&uid, expected, PATIENCE).await
        };
        lines.push(line(CLASS, what, "whoever sent it", expected, &observed));
    }
    Ok(lines)
}
