//! What we tell: one document, from which every view is made.

pub mod certs;
pub mod checks;
pub mod notify;
pub mod preview;
pub mod settings;
pub mod svg;
pub mod text;
pub mod timeline;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Phase, Plan, Verdict};
use crate::reason::Reason;

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/status/v1";

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `kn-agent.io/status/v1`.
    pub schema: String,
    /// The Node's name.
    pub node: String,
    /// The API server.
    pub server: String,
    /// When the daemon started.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When this was written.
    #[schemars(with = "String")]
    pub published_at: Timestamp,
    /// When the Node was first seen Ready since the start.
    #[schemars(with = "Option<String>")]
    pub ready_at: Option<Timestamp>,
    /// Whether it is Ready now.
    pub ready: bool,
    /// The phases, in reading order.
    pub phases: Vec<PhaseStatus>,
    /// What was done since the start, up to the first Ready and what was left for after it.
    pub timeline: Vec<Done>,
}

/// Where a phase stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseStatus {
    /// Which.
    #[schemars(with = "String")]
    pub phase: Phase,
    /// Its verdict.
    pub state: State,
    /// Why it is not satisfied.
    #[schemars(with = "Option<String>")]
    pub reason: Option<Reason>,
    /// What was found.
    pub message: String,
    /// What is being done, in order, or would be by a daemon that does not run; empty where nothing is.
    #[serde(default)]
    pub steps: Vec<String>,
    /// What usually helps.
    pub hint: Option<String>,
    /// Since when it stands there.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// A verdict's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nothing to do.
    Satisfied,
    /// At work on it.
    Acting,
    /// Something else must move.
    Waiting,
    /// An operator must move.
    Blocked,
    /// A required phase is not satisfied.
    Held,
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The phase it belongs to.
    #[schemars(with = "String")]
    pub phase: Phase,
    /// The step, e.g. `start docker.service`.
    pub what: String,
    /// When it began, in milliseconds after the daemon's start.
    pub from_ms: i64,
    /// When it ended, in milliseconds after the daemon's start.
    pub to_ms: i64,
}

impl Document {
    /// The process exit code that says this: 0 Ready, 3 converging, 4 blocked.
    pub fn exit_code(&self) -> u8 {
        if self.ready {
            0
        } else if self.phases.iter().any(|p| p.state == State::Blocked) {
            4
        } else {
            3
        }
    }

    /// The phase a person should look at: the first that is blocked, else the first that waits or acts.
    pub fn current(&self) -> Option<&PhaseStatus> {
        let first = |state| self.phases.iter().find(move |p| p.state == state);
        first(State::Blocked)
            .or_else(|| self.phases.iter().find(|p| matches!(p.state, State::Waiting | State::Acting)))
    }

    /// One line for `systemctl status`.
    pub fn headline(&self) -> String {
        match self.current() {
            None => "Ready".to_owned(),
            Some(p) if self.ready => format!("Ready; {}: {}", p.phase, first_line(&p.message)),
            Some(p) => match p.reason {
                Some(reason) => format!("{}: {reason}: {}", p.phase, first_line(&p.message)),
                None => format!("{}: {}", p.phase, first_line(&p.message)),
            },
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Remembers since when each phase stands where it stands.
#[derive(Debug, Default)]
pub struct History {
    since: BTreeMap<Phase, (State, Option<Reason>, Timestamp)>,
    ready_at: Option<Timestamp>,
    complete: bool,
    /// What was done up to the first Ready, and what was left for after it.
    pub timeline: Vec<Done>,
}

/// Who the history is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The Node's name.
    pub node: String,
    /// The API server.
    pub server: String,
    /// When the daemon started.
    pub started_at: Timestamp,
}

impl History {
    /// The document for `plan`.
    pub fn tell(&mut self, subject: &Subject, plan: &Plan, now: Timestamp) -> Document {
        let phases: Vec<PhaseStatus> =
            plan.verdicts.iter().map(|(&phase, verdict)| self.phase(phase, verdict, now)).collect();
        let ready = plan.is_ready();
        if ready && self.ready_at.is_none() {
            self.ready_at = Some(now);
        }
        self.complete |= ready && plan.verdicts.get(&Phase::Upkeep).is_some_and(Verdict::is_satisfied);
        Document {
            schema: SCHEMA.to_owned(),
            node: subject.node.clone(),
            server: subject.server.clone(),
            started_at: subject.started_at,
            published_at: now,
            ready_at: self.ready_at,
            ready,
            phases,
            timeline: self.timeline.clone(),
        }
    }

    /// Notes what was done, up to the first Ready and what was left for after it. Of a step that was tried again the last
    /// time counts: a node that never gets there does not fill its memory.
    pub fn note(&mut self, done: Done) {
        if !self.complete {
            self.timeline.retain(|before| before.what != done.what);
            self.timeline.push(done);
        }
    }

    fn phase(&mut self, phase: Phase, verdict: &Verdict, now: Timestamp) -> PhaseStatus {
        let (state, reason, message) = stand(phase, verdict);
        let since = match self.since.get(&phase) {
            Some(&(s, r, at)) if s == state && r == reason => at,
            _ => now,
        };
        self.since.insert(phase, (state, reason, since));
        let steps = match verdict {
            Verdict::Act(steps) => steps.iter().map(crate::plan::Step::key).collect(),
            _ => Vec::new(),
        };
        let hint = reason.map(|r| r.remedy().to_owned());
        PhaseStatus { phase, state, reason, message, steps, hint, since }
    }
}

/// A verdict's kind, reason and message.
fn stand(phase: Phase, verdict: &Verdict) -> (State, Option<Reason>, String) {
    match verdict {
        Verdict::Satisfied(note) => (State::Satisfied, None, note.clone()),
        Verdict::Act(steps) => {
            let keys: Vec<String> = steps.iter().map(crate::plan::Step::key).collect();
            (State::Acting, None, keys.join(", "))
        }
        Verdict::Unmet { reason, message, .. } => {
            let state = if reason.needs_operator() { State::Blocked } else { State::Waiting };
            (state, Some(*reason), message.clone())
        }
        Verdict::Held => (State::Held, None, held(phase)),
    }
}

fn held(phase: Phase) -> String {
    let required: Vec<&str> = phase.requires().iter().map(|p| p.as_str()).collect();
    format!("waits for {}", required.join(", "))
}
