//! Files below a root directory (`/` on a node, a temporary directory in tests), read and written like a database.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::Failure;
use crate::reason::Reason;

/// No file the agent reads is larger; a larger one is an error instead of memory.
const READ_LIMIT: u64 = 4 << 20;

/// A directory all paths are taken below.
#[derive(Debug, Clone)]
pub struct Root {
    dir: PathBuf,
}

/// A regular file as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOnDisk {
    /// What it holds.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last written, microseconds since 1970.
    pub mtime_usec: i64,
}

fn failure(path: &Path, verb: &str, error: &std::io::Error) -> Failure {
    let reason = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Reason::DiskFull,
        _ => Reason::FileTrouble,
    };
    Failure::new(reason, format!("cannot {verb} `{}`: {error}", path.display()))
}

impl Root {
    /// All paths below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where `path` really is.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.dir.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The file at `path`; `None` where nothing is. A symlink in its last part is refused.
    ///
    /// # Errors
    /// Anything but absence: permissions, a directory, a symlink, more than 4 MiB.
    pub fn read(&self, path: &Path) -> Result<Option<FileOnDisk>, Failure> {
        self.open(path, OFlags::NOFOLLOW)
    }

    /// As [`Root::read`], through a symlink: for `kubelet-client-current.pem` and the operator's own files.
    ///
    /// # Errors
    /// As [`Root::read`].
    pub fn read_following(&self, path: &Path) -> Result<Option<FileOnDisk>, Failure> {
        self.open(path, OFlags::empty())
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<Option<FileOnDisk>, Failure> {
        let bits = (flags | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(bits).open(self.path(path)) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failure(path, "read", &error)),
        };
        let read = || -> std::io::Result<FileOnDisk> {
            let meta = file.metadata()?;
            let mut content = Vec::new();
            (&file).take(READ_LIMIT + 1).read_to_end(&mut content)?;
            if content.len() as u64 > READ_LIMIT {
                return Err(std::io::Error::other("it is larger than 4 MiB"));
            }
            let mtime_usec = meta.mtime() * 1_000_000 + meta.mtime_nsec() / 1000;
            Ok(FileOnDisk { content, mode: meta.mode() & 0o7777, mtime_usec })
        };
        read().map(Some).map_err(|error| failure(path, "read", &error))
    }

    /// Whether anything is at `path`.
    pub fn exists(&self, path: &Path) -> bool {
        self.path(path).exists()
    }

    /// Names in the directory `path`, sorted; empty where it does not exist.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn list(&self, path: &Path) -> Result<Vec<String>, Failure> {
        let entries = match fs::read_dir(self.path(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failure(path, "list", &error)),
        };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Makes the directory `path` and its parents; `mode` is for those that did not exist.
    ///
    /// # Errors
    /// A part of the path is no directory, or can't be made.
    pub fn make_dir(&self, path: &Path, mode: u32) -> Result<(), Failure> {
        let real = self.path(path);
        if real.is_dir() {
            return Ok(());
        }
        let missing: Vec<&Path> = real.ancestors().take_while(|directory| !directory.is_dir()).collect();
        let make = |directory: &Path| {
            fs::DirBuilder::new().mode(mode).create(directory)?;
            // The umask may have taken bits away; those that were asked for are meant.
            fs::set_permissions(directory, fs::Permissions::from_mode(mode))?;
            directory.parent().map_or(Ok(()), sync_dir)
        };
        missing.into_iter().rev().try_for_each(make).map_err(|error| failure(path, "make", &error))
    }

    /// Puts `content` at `path` so that after a crash there is the old file or the new one, whole and durable.
    ///
    /// The temporary name is fixed, so that a crash leaves at most one and the next write takes it away.
    ///
    /// # Errors
    /// No space ([`Reason::DiskFull`]), permissions, a read-only mount.
    pub fn write(&self, path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
        self.replace(path, |temporary| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
            // The umask may have taken bits away; those that were asked for are meant.
            rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))?;
            file.write_all(content)?;
            file.sync_all()
        })
    }

    /// Makes `path` a symlink to `target`, replacing what is there without a moment of absence.
    ///
    /// # Errors
    /// As [`Root::write`].
    pub fn link(&self, path: &Path, target: &str) -> Result<(), Failure> {
        self.replace(path, |temporary| std::os::unix::fs::symlink(target, temporary))
    }

    fn replace(&self, path: &Path, make: impl Fn(&Path) -> std::io::Result<()>) -> Result<(), Failure> {
        let real = self.path(path);
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(Failure::new(Reason::FileTrouble, format!("`{}` names no file", path.display())));
        };
        if let Some(logical) = path.parent() {
            self.make_dir(logical, 0o755)?;
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".kn-agent-new");
        let temporary = parent.join(hidden);
        let done = remove_if_there(&temporary)
            .and_then(|()| make(&temporary))
            .and_then(|()| fs::rename(&temporary, &real))
            .and_then(|()| sync_dir(parent));
        done.map_err(|error| {
            // Best effort: the failure that is told is the first one.
            let _ = remove_if_there(&temporary);
            failure(path, "write", &error)
        })
    }

    /// Takes the file away; its absence is success.
    ///
    /// # Errors
    /// It is there and can't be removed.
    pub fn remove(&self, path: &Path) -> Result<(), Failure> {
        let real = self.path(path);
        remove_if_there(&real)
            .and_then(|()| real.parent().filter(|p| p.is_dir()).map_or(Ok(()), sync_dir))
            .map_err(|error| failure(path, "remove", &error))
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_replaces_whole_files_with_the_mode_asked_for_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let path = Path::new("/etc/deep/secret");
        fs::create_dir_all(dir.path().join("etc/deep")).unwrap();
        fs::write(dir.path().join("etc/deep/.secret.kn-agent-new"), "left by a crash").unwrap();
        root.write(path, b"one", 0o600).unwrap();
        root.write(path, b"two", 0o644).unwrap();
        let found = root.read(path).unwrap().unwrap();
        assert_eq!((found.content.as_slice(), found.mode), (b"two".as_slice(), 0o644));
        assert_eq!(root.list(Path::new("/etc/deep")).unwrap(), ["secret"]);
    }

    /// Puts something at the first path; the second is a file it may lead to.
    type Plant = fn(&Path, &Path) -> std::io::Result<()>;

    /// What somebody else could have put where a file of ours goes.
    const PLANTED: [(&str, Plant); 5] = [
        ("symlink", |at, victim| std::os::unix::fs::symlink(victim, at)),
        ("hard link", |at, victim| fs::hard_link(victim, at)),
        ("FIFO", |at, _| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            Ok(rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0)?)
        }),
        ("socket", |at, _| std::os::unix::net::UnixListener::bind(at).map(drop)),
        ("directory", |at, _| fs::create_dir(at)),
    ];

    #[test]
    fn what_stands_in_the_way_is_replaced_or_refused_and_never_written_through() {
        for (what, plant) in PLANTED {
            for name in ["file", ".file.kn-agent-new"] {
                let dir = tempfile::tempdir().unwrap();
                let (at, victim) = (dir.path().join(name), dir.path().join("victim"));
                fs::write(&victim, "untouched").unwrap();
                fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
                plant(&at, &victim).unwrap();
                let root = Root::new(dir.path());
                let written = root.write(Path::new("/file"), b"secret", 0o600);
                assert_eq!(written.is_err(), what == "directory", "{what} as {name}: {written:?}");
                if written.is_ok() {
                    let found = root.read(Path::new("/file")).unwrap().unwrap();
                    assert_eq!((found.content.as_slice(), found.mode), (b"secret".as_slice(), 0o600));
                    assert_eq!(root.list(Path::new("/")).unwrap(), ["file", "victim"], "{what} as {name}");
                }
                let mode = fs::metadata(&victim).unwrap().mode() & 0o7777;
                assert_eq!((fs::read(&victim).unwrap().as_slice(), mode), (b"untouched".as_slice(), 0o644));
            }
        }
    }

    #[test]
    fn read_refuses_a_symlink_and_tells_absence_from_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        root.write(Path::new("/real"), b"x", 0o600).unwrap();
        root.link(Path::new("/link"), "real").unwrap();
        assert!(root.read(Path::new("/link")).is_err());
        assert_eq!(root.read_following(Path::new("/link")).unwrap().unwrap().content, b"x");
        assert_eq!(root.read(Path::new("/absent")).unwrap(), None);
        assert!(root.read(Path::new("/")).is_err());
    }

    #[test]
    fn no_space_and_no_quota_have_a_reason_of_their_own_and_the_path() {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            let found = failure(Path::new("/etc/x"), "write", &errno.into());
            assert_eq!(found.reason, Reason::DiskFull, "{errno}");
            assert!(found.message.starts_with("cannot write `/etc/x`: "), "{}", found.message);
        }
        let control = failure(Path::new("/etc/x"), "write", &rustix::io::Errno::ROFS.into());
        assert_eq!(control.reason, Reason::FileTrouble);
    }
}
