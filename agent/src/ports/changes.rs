//! Changes in a directory, by inotify.

use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

const CHANGES: WatchFlags = WatchFlags::MOVED_TO
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE);

/// Waits for files that are put into one of the directories, changed there or taken away.
#[derive(Debug)]
pub struct Changes {
    queue: AsyncFd<rustix::fd::OwnedFd>,
}

impl Changes {
    /// Watches those of `directories` that exist.
    ///
    /// # Errors
    /// inotify is exhausted (`fs.inotify.max_user_instances`).
    pub fn of(directories: &[&Path]) -> std::io::Result<Self> {
        Self::watch(directories, CHANGES)
    }

    /// As [`Changes::of`], and returns for links that are made there too, which nobody writes or moves; so it does for a file
    /// that is still empty.
    ///
    /// # Errors
    /// As there.
    pub fn and_links_of(directories: &[&Path]) -> std::io::Result<Self> {
        Self::watch(directories, CHANGES | WatchFlags::CREATE)
    }

    fn watch(directories: &[&Path], what: WatchFlags) -> std::io::Result<Self> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        for directory in directories.iter().filter(|d| d.is_dir()) {
            inotify::add_watch(&queue, *directory, what)?;
        }
        #[expect(
            deprecated,
            reason = "the successor is unsafe; an owned inotify descriptor can't be closed behind tokio's back"
        )]
        let queue = AsyncFd::new(queue)?;
        Ok(Self { queue })
    }

    /// Returns after the next change, or several at once. Cancel-safe: what was not read is found by the next call.
    ///
    /// # Errors
    /// The queue can't be read.
    pub async fn next(&mut self) -> std::io::Result<()> {
        let mut buffer = [0_u8; 4096];
        loop {
            let mut ready = self.queue.readable().await?;
            match ready.try_io(|queue| Ok(rustix::io::read(queue.get_ref(), &mut buffer)?)) {
                Ok(result) => return result.map(|_| ()),
                Err(_would_block) => {}
            }
        }
    }
}
