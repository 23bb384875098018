//! Jobs: what systemd was asked to do, and how each ended.

use std::time::Duration;

use futures::StreamExt;
use tokio::sync::OnceCell;
use tokio::sync::broadcast::{self, error::RecvError};
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

/// `JobRemoved` can be lost when a job ends during a reload (systemd before 239): state is read again this often.
const RESYNC: Duration = Duration::from_secs(2);

/// Ends that may wait to be read: more than our units, since a boot's come, too. Who is behind looks whether its job is left.
const BACKLOG: usize = 64;

/// A job and its result: `done`, `failed`, `dependency`, `timeout`, `canceled` …
type End = (OwnedObjectPath, String);

/// The ends of jobs, listened to from the first one on at the latest: each start would otherwise ask the bus for them first.
#[derive(Debug, Default)]
pub(super) struct Jobs(OnceCell<broadcast::Sender<End>>);

impl Jobs {
    /// Has the bus send the ends of jobs.
    pub(super) async fn listen(&self, connection: &Connection) -> zbus::Result<()> {
        self.0.get_or_try_init(|| listen(connection)).await.map(drop)
    }

    /// The result of the job that `begin` begins, once it has ended; `lost` where nobody has heard of its end.
    pub(super) async fn finished(
        &self,
        connection: &Connection,
        begin: impl Future<Output = zbus::Result<OwnedObjectPath>>,
    ) -> zbus::Result<String> {
        let mut ends = self.0.get_or_try_init(|| listen(connection)).await?.subscribe();
        let job = begin.await?;
        loop {
            match tokio::time::timeout(RESYNC, ends.recv()).await {
                Ok(Ok((ended, result))) if ended == job => return Ok(result),
                Ok(Err(RecvError::Closed)) => return Ok("lost".to_owned()),
                Err(_) if !exists(connection, &job).await => return Ok("lost".to_owned()),
                Ok(Ok(_) | Err(RecvError::Lagged(_))) | Err(_) => {}
            }
        }
    }
}

/// Hands on every job's end for as long as the connection lasts.
async fn listen(connection: &Connection) -> zbus::Result<broadcast::Sender<End>> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.systemd1")
        .interface("org.freedesktop.systemd1.Manager")
        .member("JobRemoved")
        .build()?;
    let mut signals = MessageStream::for_match_rule(rule, connection, None).await?;
    let (ends, _) = broadcast::channel(BACKLOG);
    let told = ends.clone();
    tokio::spawn(async move {
        while let Some(Ok(signal)) = signals.next().await {
            if let Ok((_, job, _, result)) =
                signal.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
            {
                // Nobody may be waiting for one.
                let _ = told.send((job, result));
            }
        }
    });
    Ok(ends)
}

async fn exists(connection: &Connection, job: &OwnedObjectPath) -> bool {
    let properties = zbus::fdo::PropertiesProxy::builder(connection)
        .destination("org.freedesktop.systemd1")
        .path(job.clone())
        .build()
        .await;
    let Ok(properties) = properties else { return false };
    let Ok(interface) = zbus::names::InterfaceName::try_from("org.freedesktop.systemd1.Job") else {
        return false;
    };
    properties.get(interface, "Id").await.is_ok()
}
