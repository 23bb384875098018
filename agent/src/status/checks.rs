//! The checks before joining, told.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::plan::preflight::{Check, Outcome};
use crate::reason::Reason;

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/check/v1";

/// Every check and how it came out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checks {
    /// `kn-agent.io/check/v1`.
    pub schema: &'static str,
    /// The Node's name.
    pub node: String,
    /// Whether every check passed whose failure is not ignored.
    pub passed: bool,
    /// The checks.
    pub checks: Vec<CheckResult>,
}

/// A check and how it came out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Its name, for `preflight.ignore`.
    pub name: &'static str,
    /// Whether it passed.
    pub passed: bool,
    /// Whether it could be made; it has not passed where it could not.
    pub looked_at: bool,
    /// Whether `preflight.ignore` names it.
    pub ignored: bool,
    /// What was found.
    pub found: String,
    /// Why it failed.
    #[schemars(with = "Option<String>")]
    pub reason: Option<Reason>,
    /// What usually helps.
    pub hint: Option<&'static str>,
}

impl Checks {
    /// The checks of the machine that is to be `node`.
    pub fn of(node: &str, checks: &[Check]) -> Self {
        let told = |check: &Check| {
            let (found, reason) = match &check.outcome {
                Outcome::Passed(found) => (found.clone(), None),
                Outcome::NotYet(lacks) => (format!("not looked at: {lacks}"), None),
                Outcome::Failed(reason, found) => (found.clone(), Some(*reason)),
            };
            CheckResult {
                name: check.name,
                passed: matches!(check.outcome, Outcome::Passed(_)),
                looked_at: !matches!(check.outcome, Outcome::NotYet(_)),
                ignored: check.ignored,
                found,
                reason,
                hint: reason.map(Reason::remedy),
            }
        };
        let checks: Vec<CheckResult> = checks.iter().map(told).collect();
        let passed = checks.iter().all(|check| check.passed || check.ignored || !check.looked_at);
        Self { schema: SCHEMA, node: node.to_owned(), passed, checks }
    }

    /// A line a check, for a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let sign = match (check.passed, check.ignored) {
                (true, _) => "✓",
                (false, _) if !check.looked_at => "·",
                (false, true) => "–",
                (false, false) => "✗",
            };
            let ignored = if check.reason.is_some() && check.ignored { " (ignored)" } else { "" };
            let found = check.found.replace('\n', "\n                    ");
            let _ = writeln!(text, "{sign} {:<17} {found}{ignored}", check.name);
            if let (Some(reason), Some(hint)) = (check.reason, check.hint) {
                let _ = writeln!(text, "  → {reason}: {hint}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Checks {
        let check = |name, outcome, ignored| Check { name, outcome, ignored };
        let missing = |found: &str| Outcome::Failed(Reason::BinaryMissing, found.to_owned());
        Checks::of(
            "worker-1",
            &[
                check("kubelet", Outcome::Passed("/usr/bin/kubelet 1.36.0".to_owned()), false),
                check(
                    "kubelet-config",
                    Outcome::NotYet("the kubelet has not told its version".into()),
                    false,
                ),
                check("kube-proxy", missing("no executable `kube-proxy` in /usr/bin"), true),
                check("cri-dockerd", missing("no executable `cri-dockerd` in /usr/bin"), false),
            ],
        )
    }

    #[test]
    fn each_check_is_a_line_and_a_failed_one_says_what_helps() {
        insta::assert_snapshot!("text", checks().text());
    }

    #[test]
    fn ignored_checks_hold_nothing_back() {
        let mut checks = checks();
        assert!(!checks.passed);
        checks = Checks::of(
            "worker-1",
            &[Check {
                name: "docker",
                outcome: Outcome::Failed(Reason::UnitMasked, String::new()),
                ignored: true,
            }],
        );
        assert!(checks.passed && !checks.checks[0].passed);
    }

    #[test]
    fn document_names_its_schema_and_codes() {
        insta::assert_json_snapshot!("document", checks());
    }
}
