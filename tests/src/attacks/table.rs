//! Single requests: all of them sent at once, then looked at.

use std::collections::HashMap;

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;

use super::{
    rows::{self, Place, Requester, Row},
    stage::{KUBEADM_TOKEN, PATIENCE, Permission, Stage, line},
    verdict::{Line, Observed, Outcome},
};

const CONCURRENCY: usize = 16;

/// What became of sending a request.
#[derive(Debug)]
enum Sent {
    Created(String),
    Refused(u16),
}

/// Sends every row and waits for what comes of it.
pub(super) async fn run(stage: &Stage<'_>) -> Result<Vec<Line>> {
    let rows = rows::all(Place { api_server: stage.control_plane.run().host_address() })?;
    let clients = clients(stage, &rows).await?;
    let minor = stage.control_plane.minor();
    let sent: Vec<Sent> = stream::iter(rows.iter().enumerate())
        .map(|(index, row)| send(stage, &clients[&row.by], row, index))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let mut lines = Vec::new();
    // Those that nothing is written to come last: by then all others are judged, and a request sent after them.
    let (last, first): (Vec<usize>, Vec<usize>) =
        (0..rows.len()).partition(|&index| rows[index].expected.on(minor) == Outcome::Untouched);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for (index, is_last) in first.into_iter().map(|i| (i, false)).chain(last.into_iter().map(|i| (i, true))) {
        if is_last && !lines.iter().any(|(_, line): &(usize, Line)| line.expected == "untouched") {
            stage.fence("fence-table").await?;
        }
        let (row, expected) = (&rows[index], rows[index].expected.on(minor));
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let observed = match &sent[index] {
            Sent::Refused(code) => Observed::Refused(*code),
            Sent::Created(uid) if expected == Outcome::Untouched => {
                stage.history.fate(uid).map_or(Observed::Untouched, |fate| Observed::of(&fate))
            }
            Sent::Created(uid) => stage.observe(uid, expected, left).await,
        };
        lines.push((index, line(row.class, row.what, &row.by.to_string(), expected, &observed)));
    }
    lines.sort_by_key(|(index, _)| *index);
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

async fn send(stage: &Stage<'_>, client: &Client, row: &Row, index: usize) -> Result<Sent> {
    let name = format!("row-{index:03}");
    let minor = stage.control_plane.minor();
    let legacy = row.envelope.signer == rows::LEGACY && minor == crate::Minor::V1_20;
    let answer = if legacy {
        row.envelope.send_v1beta1(client, &name).await
    } else {
        row.envelope.send(client, &name).await
    };
    match answer {
        Ok(uid) => {
            let may = row.expected.on(minor).allows_approval();
            stage.permit(&uid, if may { Permission::May } else { Permission::Never });
            Ok(Sent::Created(uid))
        }
        Err(kube::Error::Api(status)) => Ok(Sent::Refused(status.code)),
        Err(error) => Err(error.into()),
    }
}

/// A client for each requester.
async fn clients(stage: &Stage<'_>, rows: &[Row]) -> Result<HashMap<Requester, Client>> {
    let mut clients = HashMap::new();
    let requesters = &stage.requesters;
    for row in rows {
        if clients.contains_key(&row.by) {
            continue;
        }
        let client = match row.by {
            Requester::Node(name) => requesters.node(name).await?,
            Requester::Token(node, _) => requesters.token(&["--node", node]).await?,
            Requester::LooseToken => requesters.token(&["--any-node"]).await?,
            Requester::KubeadmToken => requesters.holder(KUBEADM_TOKEN)?,
            Requester::User => requesters.user("eve", "eve", &[]).await?,
            Requester::NamelessNode => requesters.user("nameless", "nameless", &["system:nodes"]).await?,
            Requester::Admin => stage.admin.clone(),
        };
        clients.insert(row.by, client);
    }
    Ok(clients)
}

/// Looks at every request the cluster ever saw: which were approved, and which of these must not have been.
pub(super) fn sweep(stage: &Stage<'_>) -> Vec<Line> {
    let all = stage.history.all();
    let approved: Vec<_> = all.iter().filter(|(_, fate)| fate.approved.is_some()).collect();
    let mut wrong = Vec::new();
    let mut groups: HashMap<String, usize> = HashMap::new();
    for (uid, fate) in &approved {
        match stage.permission(uid) {
            Permission::May => {}
            Permission::Never => {
                wrong.push(format!("{} of {} for {}", fate.name, fate.requester, fate.signer));
            }
            Permission::OneOf(group) => *groups.entry(group).or_default() += 1,
        }
    }
    wrong.extend(
        groups.iter().filter(|(_, count)| **count > 1).map(|(group, count)| format!("{count} of {group}")),
    );
    let twice: Vec<&str> = all
        .iter()
        .filter(|(_, fate)| fate.condition("Approved").is_some() && fate.condition("Denied").is_some())
        .map(|(_, fate)| fate.name.as_str())
        .collect();
    let count = |observed: String, what: &str, expected: &str, ok| Line {
        class: "sweep",
        what: what.to_owned(),
        by: "everybody".to_owned(),
        expected: expected.to_owned(),
        observed,
        ok,
    };
    let observed = if wrong.is_empty() {
        format!("{} requests, {} approved, 0 wrongly", all.len(), approved.len())
    } else {
        format!("approved wrongly: {}", wrong.join(", "))
    };
    vec![
        count(observed, "what was approved and must not be", "0 wrong approvals", wrong.is_empty()),
        count(
            format!("{} requests", twice.len()),
            "both approved and denied",
            "0 requests",
            twice.is_empty(),
        ),
    ]
}
