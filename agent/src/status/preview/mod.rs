//! What a pass would do, told before it is done.

mod diff;
mod restart;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{State, stand};
use crate::desired::{FileSpec, paths, units};
use crate::observe::Observed;
use crate::plan::{Phase, Plan, Step, Verdict, View};
use crate::reason::Reason;
pub use restart::Restart;

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/plan/v1";

/// What a pass would do.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// `kn-agent.io/plan/v1`.
    pub schema: &'static str,
    /// The Node's name.
    pub node: String,
    /// The phases, in reading order.
    pub phases: Vec<PhasePreview>,
    /// Units that start anew, now or in the pass after this one.
    pub restarts: Vec<Restart>,
}

/// What a phase would do.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhasePreview {
    /// Which.
    #[schemars(with = "String")]
    pub phase: Phase,
    /// Its verdict; `acting` where it has steps.
    pub state: State,
    /// Why it waits or is blocked.
    #[schemars(with = "Option<String>")]
    pub reason: Option<Reason>,
    /// What was found.
    pub message: String,
    /// What it would do, in order.
    pub steps: Vec<StepPreview>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepPreview {
    /// What is done to what.
    pub what: String,
    /// The file, where one is written.
    pub file: Option<FileChange>,
    /// What else is to be known.
    pub note: Option<&'static str>,
}

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileChange {
    /// Where it is.
    pub path: String,
    /// Whether it is new; its lines are not shown then.
    pub new: bool,
    /// How many lines it would have.
    pub lines: usize,
    /// The permission bits it would have, octal.
    pub mode: String,
    /// The permission bits it has, octal.
    pub mode_before: Option<String>,
    /// A unified diff, secrets hidden; empty where only the mode changes.
    pub diff: Option<String>,
}

impl Preview {
    /// `plan`, against what `view` saw.
    pub fn of(view: View<'_>, plan: &Plan) -> Self {
        let phases = plan.verdicts.iter().map(|(&phase, verdict)| preview(view.observed, phase, verdict));
        Self {
            schema: SCHEMA,
            node: view.config.node.name.to_string(),
            phases: phases.collect(),
            restarts: restart::restarts(view.observed, plan),
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let waits = |state| matches!(state, State::Waiting | State::Blocked | State::Held);
        let waiting = self.phases.iter().filter(|phase| waits(phase.state)).count();
        if self.phases.iter().all(|phase| phase.steps.is_empty()) {
            if waiting == 0 {
                text.push_str("nothing to do\n");
            } else {
                let all = self.phases.len();
                let _ = writeln!(text, "nothing can be done now: {waiting} of {all} phases wait");
            }
        }
        for phase in self.phases.iter().filter(|phase| phase.state != State::Satisfied) {
            phase.text(&mut text);
        }
        for Restart { unit, because, consequence, .. } in &self.restarts {
            let _ = writeln!(text, "{:<14} {unit}: {consequence}\n    since {because}", "restarts");
        }
        text
    }
}

impl PhasePreview {
    fn text(&self, text: &mut String) {
        let phase = self.phase.as_str();
        if self.steps.is_empty() {
            let reason = self.reason.map(|reason| format!("{reason}: ")).unwrap_or_default();
            let _ = writeln!(text, "{phase:<14} {reason}{}", self.message);
        }
        for step in &self.steps {
            let file = step.file.as_ref().map(FileChange::in_words).unwrap_or_default();
            let _ = writeln!(text, "{phase:<14} {}{file}", step.what);
            if let Some(note) = step.note {
                let _ = writeln!(text, "    {note}");
            }
            for line in step.file.iter().filter_map(|file| file.diff.as_deref()).flat_map(str::lines) {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
}

impl FileChange {
    fn of(observed: &Observed, spec: &FileSpec) -> Self {
        let found = observed.files.get(&spec.path).and_then(|found| found.as_ref().ok()?.as_ref());
        Self {
            path: spec.path.display().to_string(),
            new: found.is_none(),
            lines: String::from_utf8_lossy(&spec.content).lines().count(),
            mode: format!("{:04o}", spec.mode),
            mode_before: found.map(|found| format!("{:04o}", found.mode)),
            diff: found.map(|found| diff::unified(&spec.path, &found.content, &spec.content)),
        }
    }

    fn in_words(&self) -> String {
        let mode = &self.mode;
        match &self.mode_before {
            None if self.lines == 1 => format!(" (new, 1 line, mode {mode})"),
            None => format!(" (new, {} lines, mode {mode})", self.lines),
            Some(before) if before != mode => format!(" (mode {before} becomes {mode})"),
            Some(_) => String::new(),
        }
    }
}

fn preview(observed: &Observed, phase: Phase, verdict: &Verdict) -> PhasePreview {
    let (state, reason, message) = stand(phase, verdict);
    let steps = match verdict {
        Verdict::Act(steps) => steps.iter().map(|step| step_preview(observed, step)).collect(),
        _ => Vec::new(),
    };
    PhasePreview { phase, state, reason, message, steps }
}

fn step_preview(observed: &Observed, step: &Step) -> StepPreview {
    let file = match step {
        Step::WriteFile(spec) => Some(spec),
        _ => None,
    };
    let for_later = file.is_some_and(|spec| spec.path == paths::daemon_json())
        && restart::is_left_running(observed, units::DOCKER);
    StepPreview {
        what: step.key(),
        file: file.map(|spec| FileChange::of(observed, spec)),
        note: for_later.then_some(
            "docker reads it when it starts next; kn-agent does not restart it on a machine that is a node",
        ),
    }
}
