//! Jobs: what systemd was asked to do, and how each ended.

use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};
use zbus::{Connection, MatchRule, OwnedObjectPath};

use super::{property, stream};

/// `JobRemoved` can be lost when a job ends during a reload (systemd before 239): whether the job is still there is looked
/// at this often.
const RESYNC: Duration = Duration::from_secs(2);

/// Ends that may wait to be read: more than our units, since those of a boot come, too.
const BACKLOG: usize = 64;

/// A job and its result: `done`, `failed`, `dependency`, `timeout`, `canceled` …
type End = (OwnedObjectPath, String);

/// The result of a job whose end nobody heard of.
const LOST: &str = "lost";

/// What stands for a job where there is none (org.freedesktop.systemd1(5), `Job`).
const NO_JOB: &str = "/";

/// The ends of jobs, listened to from the first start on at the latest: each would otherwise ask the bus for them anew.
#[derive(Debug, Default)]
pub(super) struct Jobs(OnceCell<Listener>);

/// Hears of ends until it is dropped; it holds no sender, so that the end of the connection is the end of the channel.
#[derive(Debug)]
struct Listener {
    ends: broadcast::Receiver<End>,
    _task: JoinSet<()>,
}

impl Jobs {
    /// Has the bus send the ends of jobs.
    pub(super) async fn listen(&self, connection: &Connection) -> zbus::Result<()> {
        self.listener(connection).await.map(drop)
    }

    async fn listener(&self, connection: &Connection) -> zbus::Result<&Listener> {
        self.0.get_or_try_init(|| listen(connection)).await
    }

    /// The result of the job that `begin` begins or finds, once it has ended; `lost` where nobody has heard of its end, and
    /// where it finds none.
    pub(super) async fn finished(
        &self,
        connection: &Connection,
        begin: impl Future<Output = zbus::Result<OwnedObjectPath>>,
    ) -> zbus::Result<String> {
        let ends = self.listener(connection).await?.ends.resubscribe();
        let job = begin.await?;
        if job.as_str() == NO_JOB {
            return Ok(LOST.to_owned());
        }
        let exists =
            || async { property(connection, &job, "org.freedesktop.systemd1.Job", "Id").await.is_ok() };
        Ok(result_of(&job, ends, exists).await.unwrap_or_else(|| LOST.to_owned()))
    }
}

/// The result of `job`, heard of or not any more to be heard of.
async fn result_of<Looked: Future<Output = bool>>(
    job: &OwnedObjectPath,
    mut ends: broadcast::Receiver<End>,
    exists: impl Fn() -> Looked,
) -> Option<String> {
    let mut resync = interval_at(Instant::now() + RESYNC, RESYNC);
    loop {
        tokio::select! {
            end = ends.recv() => match end {
                Ok((ended, result)) if ended == *job => return Some(result),
                Ok(_) => {}
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => resync.reset_immediately(),
            },
            _ = resync.tick() => if !exists().await { return None },
        }
    }
}

/// Hands on every job's end for as long as the connection lasts.
async fn listen(connection: &Connection) -> zbus::Result<Listener> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.systemd1")
        .interface("org.freedesktop.systemd1.Manager")
        .member("JobRemoved")
        .build()?;
    let (sender, ends) = broadcast::channel(BACKLOG);
    let task = stream::drain(connection, rule, move |signal| {
        if let Ok((_, job, _, result)) = signal.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
        {
            // Nobody may be waiting for one.
            let _ = sender.send((job, result));
        }
    });
    Ok(Listener { ends, _task: task.await? })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn job(number: u32) -> OwnedObjectPath {
        format!("/org/freedesktop/systemd1/job/{number}").try_into().unwrap()
    }

    fn end(number: u32) -> End {
        (job(number), format!("result {number}"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_jobs_end_is_heard_and_one_that_is_not_is_not_waited_for_in_vain() {
        let (sender, ends) = broadcast::channel(2);
        let asked = Cell::new(0);
        let exists = || {
            asked.set(asked.get() + 1);
            std::future::ready(asked.get() < 3)
        };
        // Of before it was begun: a job of the same name, which nobody hears of.
        sender.send(end(6)).unwrap();
        sender.send(end(7)).unwrap();
        assert_eq!(result_of(&job(7), ends.resubscribe(), &exists).await, None);
        assert_eq!(asked.get(), 3, "whoever hears of nothing looks every two seconds");
        // It comes before the answer that names the job.
        let waiting = sender.subscribe();
        sender.send(end(7)).unwrap();
        assert_eq!(result_of(&job(7), waiting, &exists).await.as_deref(), Some("result 7"));
        // Too many others ended meanwhile: it is looked at once.
        let (behind, begun) = (sender.subscribe(), Instant::now());
        for other in [7, 8, 9, 10] {
            sender.send(end(other)).unwrap();
        }
        assert_eq!(result_of(&job(7), behind, &exists).await, None);
        assert!(begun.elapsed() < RESYNC);
        // The bus has gone.
        let last = sender.subscribe();
        drop(sender);
        assert_eq!(result_of(&job(7), last, &exists).await, None);
        assert!(begun.elapsed() < RESYNC);
    }
}
