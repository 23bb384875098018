//! Who answered well a moment ago. A join has dozens of passes within a second, and each question costs the one who is
//! asked as much as us, while it starts: docker looks an image up, beside which cri-dockerd begins.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

/// For how long a good answer is not asked for again. A bad one always is.
const LATELY: Duration = Duration::from_secs(1);

/// Units whose programs answered well, each since which of its starts and in the look of when.
#[derive(Debug)]
pub struct Lately {
    answers: BTreeMap<&'static str, (u64, Instant)>,
    look: Instant,
}

impl Default for Lately {
    fn default() -> Self {
        Self { answers: BTreeMap::new(), look: Instant::now() }
    }
}

impl Lately {
    /// A look begins: until the next one, the same is known. Where one answer is old, all are asked again, together: one by
    /// one each would be taken for granted by the look that asks for another, and there would be a look every second.
    pub fn begin(&mut self) {
        self.look = Instant::now();
        if self.answers.values().any(|(_, at)| self.look.duration_since(*at) >= LATELY) {
            self.answers.clear();
        }
    }

    /// Whether the program of `unit`, which started at `since` (microseconds since 1970), need not be asked in this look.
    pub fn answered(&self, unit: &str, since: u64) -> bool {
        let is_good = |at: Instant| self.look.duration_since(at) < LATELY;
        self.answers.get(unit).is_some_and(|&(start, at)| start == since && is_good(at))
    }

    /// Remembers how it answered in this look. What was not asked keeps its time.
    pub fn learn(&mut self, unit: &'static str, since: u64, well: bool) {
        if !well {
            self.answers.remove(unit);
        } else if !self.answered(unit, since) {
            self.answers.insert(unit, (since, self.look));
        }
    }

    /// When what this look took for granted is to be asked again.
    pub fn due(&self) -> Option<Instant> {
        self.answers.values().filter(|(_, at)| *at < self.look).map(|(_, at)| *at + LATELY).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_good_answer_is_remembered_for_a_moment_and_for_one_start() {
        let mut lately = Lately::default();
        let first = Instant::now();
        assert!(!lately.answered("docker.service", 7));
        lately.learn("docker.service", 7, true);
        assert_eq!(lately.due(), None, "what was asked in this look is not asked again for it");
        tokio::time::advance(Duration::from_millis(900)).await;
        lately.begin();
        assert!(lately.answered("docker.service", 7));
        assert!(!lately.answered("docker.service", 8) && !lately.answered("kubelet.service", 7));
        // This look takes so long that the answer is old at its end.
        tokio::time::advance(Duration::from_millis(200)).await;
        lately.learn("docker.service", 7, true);
        assert_eq!(lately.due(), Some(first + LATELY), "what was not asked has grown no younger");
        lately.begin();
        assert!(!lately.answered("docker.service", 7));
        lately.learn("docker.service", 7, true);
        assert_eq!(lately.due(), None);
        lately.learn("docker.service", 7, false);
        assert!(!lately.answered("docker.service", 7));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_different_times_are_asked_again_together_and_then_not_any_more() {
        let mut lately = Lately::default();
        lately.learn("docker.service", 7, true);
        for (milliseconds, unit) in [(300, "kubelet.service"), (300, "kube-proxy.service")] {
            tokio::time::advance(Duration::from_millis(milliseconds)).await;
            lately.begin();
            lately.learn(unit, 7, true);
        }
        let mut looks = 0;
        while let Some(due) = lately.due() {
            tokio::time::advance(due.duration_since(Instant::now())).await;
            lately.begin();
            for unit in ["docker.service", "kubelet.service", "kube-proxy.service"] {
                lately.learn(unit, 7, true);
            }
            looks += 1;
            assert!(looks < 3, "one look leads to another for ever");
        }
        assert_eq!(looks, 1);
    }
}
