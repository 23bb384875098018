//! Requests that must not pass, many of them and first in order: none may keep a good one waiting.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Extent,
    stage::{PATIENCE, Permission, Stage},
    verdict::{Line, Outcome},
};
use crate::requests::{Envelope, pkcs10::Pkcs10};

const CLASS: &str = "flood";

const CONCURRENCY: usize = 32;

pub(super) async fn run(stage: &mut Stage<'_>, extent: Extent) -> Result<Vec<Line>> {
    let count = extent.flood;
    let line = |what: &str, took| line(what, took, extent.patience);
    let mut lines = Vec::new();
    let bad = bad()?;
    // While it comes: the good one is sent in its middle.
    let (sent, amid) = tokio::join!(pour(stage, "aa", &bad, count), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        good(stage, "zz-amid").await
    });
    sent?;
    lines.push(line(&format!("a good request while {count} come that are denied"), amid?));
    // All at once: they wait when the approver starts.
    stage.approver.stop();
    pour(stage, "ab", &bad, count).await?;
    stage.approver.restart()?;
    lines.push(line(
        &format!("a good request while the approver starts with {count} waiting that it denies"),
        good(stage, "zz-start").await?,
    ));
    // All held: nothing becomes of them, and they stay.
    lines.push(line(
        &format!("a good request after {} that were denied", 2 * count),
        good(stage, "zz-after").await?,
    ));
    Ok(lines)
}

/// Requests of the holder of one token: half of them malformed, half for another node.
fn bad() -> Result<[Envelope; 2]> {
    let whole = Pkcs10::node("flood").pem()?;
    Ok([
        Envelope::kubelet_client(format!("{whole}{whole}")),
        Envelope::kubelet_client(Pkcs10::node("n1").pem()?),
    ])
}

async fn pour(stage: &Stage<'_>, prefix: &str, bad: &[Envelope; 2], count: usize) -> Result<()> {
    let client = stage.requesters.token(&["--node", "flood"]).await?;
    stream::iter(0..count)
        .map(|number| {
            let client = &client;
            async move {
                let name = format!("{prefix}-{number:05}");
                stage.send(client, &name, &bad[number % 2], Permission::Never).await
            }
        })
        .buffer_unordered(CONCURRENCY)
        .try_for_each(|_| async { Ok(()) })
        .await
}

/// How long a good request takes from the moment it is sent; `None` if it was not approved at all.
async fn good(stage: &Stage<'_>, name: &str) -> Result<Option<Duration>> {
    let node = stage.requesters.node("n2").await?;
    let envelope = Envelope::kubelet_serving(Pkcs10::node("n2").dns("n2").pem()?);
    let begin = Instant::now();
    let uid = stage.send(&node, name, &envelope, Permission::May).await?;
    stage.observe(&uid, Outcome::Approved, PATIENCE).await;
    let fate = stage.history.fate(&uid);
    Ok(fate.and_then(|fate| fate.approved).map(|approved| approved.duration_since(begin)))
}

fn line(what: &str, took: Option<Duration>, limit: Duration) -> Line {
    Line {
        class: CLASS,
        what: what.to_owned(),
        by: "node n2".to_owned(),
        expected: format!("approved within {} s", limit.as_secs()),
        observed: took.map_or_else(
            || "not approved".to_owned(),
            |took| format!("approved after {:.2} s", took.as_secs_f64()),
        ),
        ok: took.is_some_and(|took| took <= limit),
    }
}
