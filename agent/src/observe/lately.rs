//! Who answered well a moment ago. A join has dozens of passes within a second, and each question costs the one who is
//! asked as much as us, while it starts: docker looks an image up, beside which cri-dockerd begins.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

/// For how long a good answer is not asked for again. A bad one always is.
const LATELY: Duration = Duration::from_secs(1);

/// Units whose programs answered well, each since which of its starts and when it was asked.
#[derive(Debug, Default)]
pub struct Lately(BTreeMap<&'static str, (u64, Instant)>);

impl Lately {
    /// Whether the program of `unit`, which started at `since` (microseconds since 1970), answered well just now.
    pub fn answered(&self, unit: &str, since: u64) -> bool {
        self.0.get(unit).is_some_and(|(start, at)| *start == since && at.elapsed() < LATELY)
    }

    /// Remembers how it answered. What was not asked again keeps its time.
    pub fn learn(&mut self, unit: &'static str, since: u64, well: bool) {
        if !well {
            self.0.remove(unit);
        } else if !self.answered(unit, since) {
            self.0.insert(unit, (since, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_good_answer_is_remembered_for_a_moment_and_for_one_start() {
        let mut lately = Lately::default();
        assert!(!lately.answered("docker.service", 7));
        lately.learn("docker.service", 7, true);
        assert!(lately.answered("docker.service", 7));
        assert!(!lately.answered("docker.service", 8) && !lately.answered("kubelet.service", 7));
        tokio::time::advance(Duration::from_millis(900)).await;
        lately.learn("docker.service", 7, true);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(!lately.answered("docker.service", 7), "what was not asked again has grown no younger");
        lately.learn("docker.service", 7, true);
        lately.learn("docker.service", 7, false);
        assert!(!lately.answered("docker.service", 7));
    }
}
