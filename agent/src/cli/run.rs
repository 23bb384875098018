//! `run`: the daemon.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::{Error, configuration};
use crate::config::{Config, Sources};
use crate::desired::paths;
use crate::ports::changes::Changes;
use crate::ports::root::Root;
use crate::reconcile::{End, Reconciler, take_lock};

pub(super) async fn run(sources: &Sources) -> Result<ExitCode, Error> {
    let started_at = Timestamp::now();
    let root = Root::new("/");
    let (mut config, mut changes) = first(sources).await?;
    let lock = take_lock(&root).map_err(|failure| Error::new(1, failure.message))?;
    let Some(_lock) = lock else {
        return Err(Error::new(1, "kn-agent runs already: see `systemctl status kn-agent`"));
    };
    // What an earlier daemon said is not what this one says.
    root.remove(paths::status()).map_err(|failure| Error::new(1, failure.message))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let mut reconciler = Reconciler::new(Arc::new(config.clone()), root.clone(), None, started_at).await;
        let stop = async {
            tokio::select! { _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
        };
        let reload = reloaded(sources, &config, &mut changes, &mut hangup);
        match Box::pin(reconciler.run(stop, reload)).await {
            End::Stopped => return Ok(ExitCode::SUCCESS),
            End::ConfigChanged => {
                tracing::info!("the configuration changed");
                // A directory that was not there is watched from now on.
                changes = self::changes(sources)?;
                config = configuration(sources).unwrap_or(config);
            }
        }
    }
}

/// An editor writes several files in a row, and a shell empties a file before the program runs that fills it: what was
/// written within this may not be all of it.
const SETTLE: Duration = Duration::from_millis(200);

/// Waits until nothing was written for [`SETTLE`].
async fn settled(sources: &Sources) {
    let rest = || {
        // A time in the future says that the clock was set back.
        let age = Timestamp::now().duration_since(Timestamp::try_from(sources.written_at()?).ok()?);
        SETTLE.checked_sub(Duration::try_from(age).ok()?).filter(|rest| !rest.is_zero())
    };
    while let Some(rest) = rest() {
        tokio::time::sleep(rest).await;
    }
}

/// The configuration to begin with. Whoever writes it may not have written all of it: one that is wrong is read again
/// with each change that follows shortly, since what systemd sees while we end does not start us again.
///
/// With it comes what has been watching since before it was read: to end an inotify instance takes the kernel 12 ms, a fifth of
/// the way to READY=1.
async fn first(sources: &Sources) -> Result<(Config, Changes), Error> {
    const SHORTLY: Duration = Duration::from_secs(1);
    let mut changes = changes(sources)?;
    loop {
        settled(sources).await;
        let wrong = match configuration(sources) {
            Ok(config) => return Ok((config, changes)),
            Err(error) => error,
        };
        match tokio::time::timeout(SHORTLY, changes.next()).await {
            Ok(Ok(())) => tracing::debug!("the configuration was wrong, and changed: {}", wrong.message),
            Ok(Err(_)) | Err(_) => return Err(wrong),
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
    Changes::and_links_of(&directories.iter().map(PathBuf::as_path).collect::<Vec<_>>())
}

/// Ends when the configuration on disk is valid and another one. A broken one is told, and the one in use stays.
async fn reloaded(
    sources: &Sources,
    current: &Config,
    changes: &mut Changes,
    hangup: &mut tokio::signal::unix::Signal,
) {
    loop {
        tokio::select! { _ = changes.next() => {}, _ = hangup.recv() => {} }
        // A file that is put in place may be old.
        tokio::time::sleep(SETTLE).await;
        settled(sources).await;
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const CONFIG: &str = "apiVersion: kn-agent.io/v1alpha1\nkind: NodeConfig\ncluster: {server: 'https://10.0.0.10:6443', ca: \
                          {pins: ['sha256:0000000000000000000000000000000000000000000000000000000000000000']}}\nidentity: \
                          {token: {value: abcdef.0123456789abcdef}}\nnode: {name: n1}\n";

    #[tokio::test]
    async fn a_configuration_that_is_written_bit_by_bit_is_taken_whole_and_a_wrong_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path().join("etc/kn-agent");
        fs::create_dir_all(etc.join("config.d")).unwrap();
        fs::write(etc.join("config.d/20-network.yaml"), "network: {plugin: bridge}\n").unwrap();
        let sources = Sources { root: directory.path().to_owned(), only: None, env: Vec::new() };
        let refused = first(&sources).await.map(|_| ()).unwrap_err();
        assert!(refused.code == 2 && refused.message.contains("server"), "{}", refused.message);

        let (found, ()) = tokio::join!(first(&sources), async {
            tokio::task::yield_now().await;
            // As an editor does it.
            fs::write(etc.join("config.new"), CONFIG).unwrap();
            fs::set_permissions(etc.join("config.new"), fs::Permissions::from_mode(0o600)).unwrap();
            fs::rename(etc.join("config.new"), etc.join("config.yaml")).unwrap();
        });
        assert_eq!(found.map_err(|error| error.message).unwrap().0.node.name.as_str(), "n1");

        // As a shell does it: `echo … > file` is an empty file first.
        let drop_in = etc.join("config.d/30-node.yaml");
        fs::write(&drop_in, "").unwrap();
        let (found, ()) = tokio::join!(first(&sources), async {
            tokio::time::sleep(SETTLE / 4).await;
            fs::write(&drop_in, "node: {name: n2}\n").unwrap();
        });
        assert_eq!(found.map_err(|error| error.message).unwrap().0.node.name.as_str(), "n2");
    }
}
