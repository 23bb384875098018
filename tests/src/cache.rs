//! What is built once and kept: `${KN_AGENT_LAB_CACHE}`, else `${XDG_CACHE_HOME:-~/.cache}/kn-agent-lab`.

use std::{
    env,
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

use crate::{interrupt, say};

/// The cache's directory, made if missing.
pub(crate) fn directory() -> Result<PathBuf> {
    let path = match (env::var_os("KN_AGENT_LAB_CACHE"), env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(path), _, _) => PathBuf::from(path),
        (None, Some(cache), _) => PathBuf::from(cache).join("kn-agent-lab"),
        (None, None, home) => PathBuf::from(home.context("HOME is not set")?).join(".cache/kn-agent-lab"),
    };
    fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
    Ok(path)
}

/// What takes minutes on two processors, once.
const SLOW: [(&str, u32); 7] = [
    ("kubernetes-1.36", 20),
    ("kubernetes-1.20", 14),
    ("cri-dockerd", 6),
    ("containerd-2", 4),
    ("kubelet-", 8),
    ("settings-", 3),
    ("flannel-0", 4),
];

/// How long a build may take, for whoever waits; nothing where it is soon over.
fn expectation(key: &str) -> String {
    let slow = SLOW.iter().find(|(name, _)| key.starts_with(name));
    slow.map_or_else(String::new, |(_, minutes)| format!(", some {minutes} minutes"))
}

/// The directory `key`, built by `build` where it is missing: into a temporary one, renamed when complete. Two
/// processes that want the same build it once.
pub(crate) fn entry(key: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = directory()?;
    let path = cache.join(key);
    if path.is_dir() {
        return Ok(path);
    }
    let _lock = lock(&cache.join(format!(".{key}.lock")))?;
    if path.is_dir() {
        return Ok(path);
    }
    interrupt::check()?;
    say(format_args!("building {key}{} …", expectation(key)));
    let start = Instant::now();
    let prefix = format!("{key}.partial-");
    remove_partial(&cache, &prefix)?;
    let partial = tempfile::Builder::new().prefix(&prefix).tempdir_in(&cache)?;
    told(key, || build(partial.path())).with_context(|| format!("cannot build {key}"))?;
    interrupt::check()?;
    fs::set_permissions(partial.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(partial.keep(), &path)?;
    say(format_args!("built {key} in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(path)
}

/// Runs `build`, saying each minute that it still runs.
fn told<T>(key: &str, build: impl FnOnce() -> T) -> T {
    let (done, waits) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut minutes = 0;
            while waits.recv_timeout(Duration::from_mins(1)) == Err(RecvTimeoutError::Timeout) {
                minutes += 1;
                say(format_args!("  {key}: {minutes} min"));
            }
        });
        let outcome = build();
        drop(done);
        outcome
    })
}

/// Removes what builds left that were killed. The caller holds the entry's lock, so none is running.
fn remove_partial(cache: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// An exclusive lock, held until dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// An exclusive lock, unless somebody holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = File::create(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Eight hex digits that change with `content`, for keys.
pub(crate) fn digest(content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:08x}", hasher.finish() >> 32)
}
