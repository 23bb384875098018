//! One daemon a machine: it holds a lock while it runs.
//!
//! Two, since whoever may open a file may lock it (flock(2)): the one that counts is root's alone, the other is for
//! everybody's `kn-agent status`, and who holds that one keeps no daemon from starting.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};

use crate::desired::paths;
use crate::ports::Failure;
use crate::ports::root::Root;
use crate::reason::Reason;

/// The locks of a daemon that runs, for as long as they live.
#[derive(Debug)]
pub struct Lock([File; 2]);

impl Drop for Lock {
    /// A program that is just being started has copies of the files until it is executed: closing ours is not enough.
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

/// How often it is tried again while somebody only looks whether it is held, which takes microseconds.
const LOOKS: u32 = 10_000;

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
    let own = open(root, paths::lock(), 0o600)?;
    let mut looks = 0;
    while flock(&own, FlockOperation::NonBlockingLockExclusive).is_err() {
        // A daemon shares it with nobody.
        if flock(&own, FlockOperation::NonBlockingLockShared).is_err() {
            return Ok(None);
        }
        let _ = flock(&own, FlockOperation::Unlock);
        if looks == LOOKS {
            return Err(failure(paths::lock(), "something that is no daemon holds it"));
        }
        looks += 1;
        std::thread::yield_now();
    }
    let told = open(root, paths::told_lock(), 0o644)?;
    // Held by somebody else it says the same: that there is a daemon.
    let _ = flock(&told, FlockOperation::NonBlockingLockExclusive);
    Ok(Some(Lock([own, told])))
}

/// The file, never open to more than `mode`, and with just that whatever the umask.
fn open(root: &Root, path: &Path, mode: u32) -> Result<File, Failure> {
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).mode(mode).open(root.path(path));
    opened
        .and_then(|file| fchmod(&file, Mode::from_raw_mode(mode)).map(|()| file).map_err(Into::into))
        .map_err(|error| failure(path, &error.to_string()))
}

fn failure(path: &Path, why: &str) -> Failure {
    Failure::new(Reason::FileTrouble, format!("cannot lock `{}`: {why}", path.display()))
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
        drop(second);

        // Root's alone can be shared by root alone; that is said, and not waited for without end.
        let _held = File::open(root.path(paths::lock()))
            .inspect(|file| flock(file, FlockOperation::NonBlockingLockShared).unwrap());
        let why = take_lock(&root).unwrap_err().message;
        assert!(why.ends_with("instance.lock`: something that is no daemon holds it"), "{why}");
    }
}
