//! How steps went so far, and when one may be tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Reconciler;
use crate::observe::Attempt;
use crate::ports::{Failure, keys};
use crate::reason::Reason;

/// First pause after a failed step, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A step that is done again within this time is being undone.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(5);

impl Reconciler {
    /// A step that is wanted again right after it was done has had no effect, or somebody undoes it: it is not repeated
    /// as fast as it can be done.
    pub(super) fn succeeded(&mut self, key: &str) {
        let now = Timestamp::now();
        // Names of files and requests are without number: what was done long ago is forgotten.
        self.done_at.retain(|_, at| now.duration_since(*at) < AT_ONCE);
        if self.done_at.insert(key.to_owned(), now).is_some() {
            let message = format!("`{key}` was done, and the next look found it undone");
            self.failed(key, Some(Failure::new(Reason::NoEffect, message)));
        } else {
            self.attempts.remove(key);
        }
    }

    pub(super) fn failed(&mut self, key: &str, failure: Option<Failure>) {
        let Some(failure) = failure else { return };
        let count = self.attempts.get(key).map_or(0, |a| a.count);
        let pause =
            BACKOFF.0.saturating_mul(1 << count.min(6)).min(BACKOFF.1).mul_f64(self.spread(key, count));
        let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::from_secs(30));
        let now = Timestamp::now();
        let retry_at = now.saturating_add(pause).unwrap_or(now);
        self.attempts.insert(key.to_owned(), Attempt { failure, count: count + 1, retry_at });
    }

    /// Between 0.8 and 1.2, other for every node, step and time: a fleet that failed together is not to come back
    /// together.
    fn spread(&self, key: &str, count: u32) -> f64 {
        let hash = keys::sha256(format!("{} {key} {count}", self.subject.node).as_bytes());
        let byte = hash.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(128);
        0.8 + f64::from(byte) / 255.0 * 0.4
    }
}
