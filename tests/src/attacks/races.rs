//! A token is for one key: used twice one after the other, and twice at once.

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rcgen::KeyPair;

use super::{
    stage::{Attempt, PATIENCE, Permission, Stage},
    verdict::{Line, Observed, Outcome},
};
use crate::requests::{Envelope, Fate, pkcs10::Pkcs10};

const CLASS: &str = "token reuse";
const USED: Outcome = Outcome::Denied("TokenUsed");

/// How many tokens are raced for at the same time.
const CONCURRENCY: usize = 8;

fn ask(node: &str, key: &KeyPair) -> Result<Envelope> {
    Ok(Envelope::kubelet_client(Pkcs10::node(node).pem_with(key)?))
}

/// One after the other, then at once.
pub(super) async fn run(stage: &Stage<'_>, repeats: usize) -> Result<Vec<Line>> {
    let mut lines = in_turn(stage).await?;
    lines.push(spoilt(stage).await?);
    lines.push(same_key(stage).await?);
    lines.push(at_once(stage, "one", "two keys at once", repeats).await?);
    Ok(lines)
}

/// The same with two approvers at work.
pub(super) async fn two_approvers(stage: &Stage<'_>, repeats: usize) -> Result<Vec<Line>> {
    Ok(vec![at_once(stage, "two", "two keys at once, two approvers", repeats).await?])
}

async fn in_turn(stage: &Stage<'_>) -> Result<Vec<Line>> {
    let node = "u1";
    let client = stage.requesters.token(&["--node", node]).await?;
    let (first, second) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut lines = Vec::new();
    for (name, what, key, expected) in [
        ("reuse-1", "for the first time", &first, Outcome::Issued),
        ("reuse-2", "again with another key", &second, USED),
        ("reuse-3", "again with the same key", &first, Outcome::Issued),
        ("reuse-4", "once more with another key", &second, USED),
    ] {
        let envelope = ask(node, key)?;
        let by = "token of u1";
        let attempt =
            Attempt { class: CLASS, what, by, client: &client, name, envelope: &envelope, expected };
        lines.push(stage.attempt(attempt).await?);
    }
    Ok(lines)
}

/// What is denied for its form does not use the token up.
async fn spoilt(stage: &Stage<'_>) -> Result<Line> {
    let node = "u2";
    let client = stage.requesters.token(&["--node", node]).await?;
    let bad = Envelope::kubelet_client(Pkcs10::node(node).dns(node).pem()?);
    let uid = stage.send(&client, "spoilt-1", &bad, Permission::Never).await?;
    stage.observe(&uid, Outcome::Denied("NamesMismatch"), PATIENCE).await;
    let envelope = ask(node, &KeyPair::generate()?)?;
    let attempt = Attempt {
        class: CLASS,
        what: "with another key, after a request that was denied",
        by: "token of u2",
        client: &client,
        name: "spoilt-2",
        envelope: &envelope,
        expected: Outcome::Issued,
    };
    stage.attempt(attempt).await
}

async fn same_key(stage: &Stage<'_>) -> Result<Line> {
    let node = "u3";
    let client = stage.requesters.token(&["--node", node]).await?;
    let envelope = ask(node, &KeyPair::generate()?)?;
    let (one, other) = tokio::try_join!(
        stage.send(&client, "same-1", &envelope, Permission::May),
        stage.send(&client, "same-2", &envelope, Permission::May)
    )?;
    let one = stage.observe(&one, Outcome::Approved, PATIENCE).await;
    let other = stage.observe(&other, Outcome::Approved, PATIENCE).await;
    Ok(Line {
        class: CLASS,
        what: "one key, twice at once".to_owned(),
        by: "token of u3".to_owned(),
        expected: "both approved".to_owned(),
        ok: Outcome::Approved.matches(&one) && Outcome::Approved.matches(&other),
        observed: if one == other { format!("both {one}") } else { format!("{one} and {other}") },
    })
}

/// Two keys at once for each of `repeats` tokens: exactly one of each pair is approved, the other one denied.
async fn at_once(stage: &Stage<'_>, kind: &str, what: &str, repeats: usize) -> Result<Line> {
    let outcomes: Vec<(Observed, Observed)> = stream::iter(0..repeats)
        .map(|number| pair(stage, format!("race-{kind}-{number}")))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    let approved = |observed: &Observed| Outcome::Approved.matches(observed);
    let right = |(one, other): &&(Observed, Observed)| {
        (approved(one) && USED.matches(other)) || (approved(other) && USED.matches(one))
    };
    let count = outcomes.iter().filter(right).count();
    let odd = outcomes.iter().find(|outcome| !right(outcome));
    let odd = odd.map(|(one, other)| format!(", for example {one} and {other}")).unwrap_or_default();
    Ok(Line {
        class: CLASS,
        what: what.to_owned(),
        by: format!("{repeats} tokens"),
        expected: format!("one approved, one denied TokenUsed: {repeats} of {repeats}"),
        observed: format!("one approved, one denied TokenUsed: {count} of {repeats}{odd}"),
        ok: count == repeats,
    })
}

async fn pair(stage: &Stage<'_>, node: String) -> Result<(Observed, Observed)> {
    let client = stage.requesters.token(&["--node", &node]).await?;
    let (one, other) = (ask(&node, &KeyPair::generate()?)?, ask(&node, &KeyPair::generate()?)?);
    let group = Permission::OneOf(node.clone());
    let (name_one, name_other) = (format!("{node}-a"), format!("{node}-b"));
    let (one, other) = tokio::try_join!(
        stage.send(&client, &name_one, &one, group.clone()),
        stage.send(&client, &name_other, &other, group)
    )?;
    let decided = |uid: String| async move { stage.wait(&uid, PATIENCE, Fate::is_decided).await };
    Ok((decided(one).await, decided(other).await))
}
