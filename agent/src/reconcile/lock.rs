//! One daemon a machine: it holds a lock while it runs.
//!
//! Two, since whoever may open a file may lock it (flock(2)): the one that counts is root's alone, the other is for
//! everybody's `kn-agent status`, and who holds that one keeps no daemon from starting.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};

use crate::desired::paths;
use crate::ports::Failure;
use crate::ports::root::Root;
use crate::reason::Reason;

/// The locks of a daemon that runs, for as long as they live.
#[derive(Debug)]
pub struct Lock {
    _own: File,
    _told: File,
}

/// Whether the daemon runs. Root is told for sure; others by a lock that one of them may hold instead.
pub fn daemon_runs(root: &Root) -> bool {
    let is_held = |path: &Path| {
        let file = File::open(root.path(path))?;
        Ok::<_, std::io::Error>(flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    };
    is_held(paths::lock()).or_else(|_| is_held(paths::told_lock())).unwrap_or(false)
}

/// Takes the lock. `None`: another daemon holds it.
///
/// # Errors
/// A file of it can't be made.
pub fn take_lock(root: &Root) -> Result<Option<Lock>, Failure> {
    root.make_dir(paths::lock().parent().unwrap_or(Path::new("/run")), 0o755)?;
    let own = made(root, paths::lock(), 0o600)?;
    while flock(&own, FlockOperation::NonBlockingLockExclusive).is_err() {
        // A daemon shares it with nobody; what looks whether there is one has it for some microseconds.
        if flock(&own, FlockOperation::NonBlockingLockShared).is_err() {
            return Ok(None);
        }
        let _ = flock(&own, FlockOperation::Unlock);
        std::thread::yield_now();
    }
    let told = made(root, paths::told_lock(), 0o644)?;
    // Held by somebody else it says the same: that there is a daemon.
    let _ = flock(&told, FlockOperation::NonBlockingLockExclusive);
    Ok(Some(Lock { _own: own, _told: told }))
}

/// The file with this mode, whatever the umask, and whatever an earlier version gave it.
fn made(root: &Root, path: &Path, mode: u32) -> Result<File, Failure> {
    let opened = File::create(root.path(path))
        .and_then(|file| fchmod(&file, Mode::from_raw_mode(mode)).map(|()| file).map_err(Into::into));
    opened.map_err(|error| {
        Failure::new(Reason::FileTrouble, format!("cannot lock `{}`: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn there_is_one_daemon_and_nobody_else_keeps_it_from_starting() {
        let machine = tempfile::tempdir().unwrap();
        let root = Root::new(machine.path());
        assert!(!daemon_runs(&root), "without a file");
        let first = take_lock(&root).unwrap().unwrap();
        assert!(daemon_runs(&root));
        assert!(take_lock(&root).unwrap().is_none(), "two daemons");
        let mode = |path| root.path(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(paths::lock()), mode(paths::told_lock())), (0o600, 0o644));
        drop(first);
        assert!(!daemon_runs(&root), "its end");

        // What everybody may do, with what everybody may open.
        let anybody = File::open(root.path(paths::told_lock())).unwrap();
        flock(&anybody, FlockOperation::NonBlockingLockShared).unwrap();
        let second = take_lock(&root).unwrap();
        assert!(second.is_some() && daemon_runs(&root));
    }
}
