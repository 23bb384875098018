//! `run`: the daemon.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::{Error, configuration};
use crate::config::Sources;
use crate::ports::changes::Changes;
use crate::ports::root::Root;
use crate::reconcile::{End, Reconciler, take_lock};

pub(super) async fn run(sources: &Sources) -> Result<ExitCode, Error> {
    let started_at = Timestamp::now();
    let root = Root::new("/");
    let mut config = configuration(sources)?;
    let lock = take_lock(&root).map_err(|failure| Error::new(1, failure.message))?;
    let Some(_lock) = lock else {
        return Err(Error::new(1, "kn-agent runs already: see `systemctl status kn-agent`"));
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let mut changes = changes(sources)?;
        let mut reconciler = Reconciler::new(Arc::new(config.clone()), root.clone(), None, started_at).await;
        let stop = async {
            tokio::select! { _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
        };
        let reload = reloaded(sources, &config, &mut changes, &mut hangup);
        match Box::pin(reconciler.run(stop, reload)).await {
            End::Stopped => return Ok(ExitCode::SUCCESS),
            End::ConfigChanged => {
                tracing::info!("the configuration changed");
                config = configuration(sources).unwrap_or(config);
            }
        }
    }
}

/// Changes of what the configuration is read from: directories themselves, and those that hold its files.
fn changes(sources: &Sources) -> std::io::Result<Changes> {
    let holder = |path: PathBuf| match path.parent() {
        Some(parent) if !path.is_dir() => parent.to_owned(),
        _ => path,
    };
    let directories: BTreeSet<PathBuf> = sources.watched().into_iter().map(holder).collect();
    Changes::of(&directories.iter().map(PathBuf::as_path).collect::<Vec<_>>())
}

/// Ends when the configuration on disk is valid and another one. A broken one is told, and the one in use stays.
async fn reloaded(
    sources: &Sources,
    current: &crate::config::Config,
    changes: &mut Changes,
    hangup: &mut tokio::signal::unix::Signal,
) {
    // An editor writes several files in a row; the last of them counts.
    const SETTLE: Duration = Duration::from_millis(200);
    loop {
        tokio::select! { _ = changes.next() => {}, _ = hangup.recv() => {} }
        tokio::time::sleep(SETTLE).await;
        match configuration(sources) {
            Ok(new) if new != *current => return,
            Ok(_) => {}
            Err(error) => {
                tracing::error!(
                    "the configuration in use stays, the one on disk is wrong:\n{}",
                    error.message
                );
            }
        }
    }
}
