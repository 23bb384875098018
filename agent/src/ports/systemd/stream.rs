//! Signals are taken off the bus as they come.

use futures::StreamExt;
use tokio::task::JoinSet;
use zbus::{Connection, MatchRule, Message, MessageStream};

/// Calls `each` with every signal that fits `rule`, for as long as the connection lasts and the result is kept; drops
/// `each` at its end.
///
/// A task of its own does, and `each` must not wait: a stream of the bus that is not read holds up every answer after 64
/// messages. A connection that was made beside a start of many units waited for the answer to its `Subscribe` behind
/// them, for ever.
pub(super) async fn drain(
    connection: &Connection,
    rule: MatchRule<'_>,
    each: impl Fn(&Message) + Send + 'static,
) -> zbus::Result<JoinSet<()>> {
    let mut signals = MessageStream::for_match_rule(rule, connection, None).await?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Some(Ok(signal)) = signals.next().await {
            each(&signal);
        }
    });
    Ok(task)
}
