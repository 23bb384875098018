//! How many scenarios run at a time. One alone leaves more than half of two processors idle: it waits for what starts.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::available_parallelism;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The right to run, until it is dropped.
pub(super) struct Turn(());

impl Turn {
    /// Waits for it: there is one for each processor.
    pub(super) fn take() -> Self {
        let most = available_parallelism().map_or(1, usize::from);
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running =
            ENDED.wait_while(running, |running| *running >= most).unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
