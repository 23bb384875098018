//! One daemon a machine: it holds a lock while it runs.

use std::path::Path;

use crate::desired::paths;
use crate::ports::root::Root;

/// Whether the daemon runs: it holds a lock while it does.
pub fn daemon_runs(root: &Root) -> bool {
    match std::fs::File::open(root.path(paths::lock())) {
        Ok(file) => rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Takes the lock, for as long as the file lives. `None`: another daemon holds it.
///
/// # Errors
/// The file can't be made.
pub fn take_lock(root: &Root) -> Result<Option<std::fs::File>, crate::ports::Failure> {
    let failure = |error: std::io::Error| {
        crate::ports::Failure::new(
            crate::reason::Reason::FileTrouble,
            format!("cannot lock `{}`: {error}", paths::lock().display()),
        )
    };
    root.make_dir(paths::lock().parent().unwrap_or(Path::new("/run")), 0o755)?;
    let file = std::fs::File::create(root.path(paths::lock())).map_err(failure)?;
    // The umask of the unit takes it away from everybody else, and `kn-agent status` is for everybody.
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o644))
        .map_err(|error| failure(error.into()))?;
    Ok(rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok().then_some(file))
}
