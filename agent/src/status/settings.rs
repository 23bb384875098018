//! The operator's own settings on another version, told: `kn-agent check --for`.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Origin;
use crate::desired::Version;
use crate::desired::versions::check::{Finding, State};

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/settings/v1";

/// What becomes of kubelet.config, proxy.config, extraArgs and runtime.kind on a version.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// `kn-agent.io/settings/v1`.
    pub schema: &'static str,
    /// The minor version, e.g. `1.36`.
    pub kubernetes: String,
    /// Whether nothing stands in the way of that version.
    pub passed: bool,
    /// The settings that do not stand well; those that do are left out.
    pub settings: Vec<SettingStatus>,
}

/// A setting and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettingStatus {
    /// Its key, dotted.
    pub path: String,
    /// Where it is written: file and line, or the environment variable.
    pub written: Option<String>,
    /// How it stands.
    pub state: State,
    /// What was found and what is expected.
    pub message: String,
    /// What takes its place, or what else is to be done.
    pub hint: Option<String>,
    /// Where that can be read: Kubernetes' source, a pull request, a KEP.
    pub source: Option<String>,
}

impl Settings {
    /// What was found for `version`; `origin` says where a key is written.
    pub fn of<'a>(
        version: Version,
        findings: Vec<Finding>,
        origin: impl Fn(&str) -> Option<&'a Origin>,
    ) -> Self {
        let told = |finding: Finding| SettingStatus {
            written: origin(&finding.path).map(ToString::to_string),
            path: finding.path,
            state: finding.state,
            message: finding.message,
            hint: finding.hint,
            source: finding.source,
        };
        Self {
            schema: SCHEMA,
            kubernetes: format!("1.{}", version.minor),
            passed: !findings.iter().any(|finding| finding.state.refuses()),
            settings: findings.into_iter().map(told).collect(),
        }
    }

    /// A headline, then a setting each with what takes its place.
    pub fn text(&self) -> String {
        let mut text = format!("this configuration on Kubernetes {}: {}\n", self.kubernetes, self.summary());
        for setting in &self.settings {
            let sign = if setting.state.refuses() { "✗" } else { "–" };
            let _ = writeln!(text, "{sign} {}: {}", setting.path, setting.message);
            if let Some(hint) = &setting.hint {
                let _ = writeln!(text, "  → {hint}");
            }
            let places = [("in", &setting.written), ("see", &setting.source)];
            for (word, place) in places {
                if let Some(place) = place {
                    let _ = writeln!(text, "  {word} {place}");
                }
            }
        }
        text
    }

    fn summary(&self) -> String {
        const WORDS: [(State, &str); 7] = [
            (State::Gone, "gone"),
            (State::NotYet, "not known yet"),
            (State::Unknown, "unknown"),
            (State::Mistyped, "of another kind"),
            (State::Deprecated, "deprecated"),
            (State::Ignored, "without effect"),
            (State::Needs, "in need of something beside it"),
        ];
        let counts: Vec<String> = WORDS
            .iter()
            .map(|(state, word)| (self.settings.iter().filter(|s| s.state == *state).count(), word))
            .filter(|(count, _)| *count > 0)
            .enumerate()
            .map(|(index, (count, word))| match (index, count) {
                (0, 1) => format!("1 setting is {word}"),
                (0, _) => format!("{count} settings are {word}"),
                (_, 1) => format!("1 is {word}"),
                _ => format!("{count} are {word}"),
            })
            .collect();
        if counts.is_empty() { "every setting is known".to_owned() } else { counts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn settings() -> Settings {
        let finding = |path: &str, state, message: &str, hint: Option<&str>| Finding {
            path: path.to_owned(),
            state,
            message: message.to_owned(),
            hint: hint.map(ToOwned::to_owned),
            source: Some("KEP-1".to_owned()),
        };
        let origin = Origin::File { path: PathBuf::from("/etc/kn-agent/config.yaml"), line: Some(12) };
        Settings::of(
            "1.36.0".parse().unwrap(),
            vec![
                finding("kubelet.extraArgs.a", State::Gone, "is gone since 1.24", Some("remove it")),
                finding("kubelet.extraArgs.b", State::Gone, "is gone since 1.26", None),
                finding("kubelet.config.c", State::Unknown, "kubelet 1.36 has no such field", None),
                finding("kubelet.extraArgs.d", State::Deprecated, "is deprecated", Some("write `d`")),
            ],
            |path| (path != "kubelet.extraArgs.b").then_some(&origin),
        )
    }

    #[test]
    fn what_is_gone_is_counted_and_named() {
        insta::assert_snapshot!("text", settings().text());
    }

    #[test]
    fn document_names_its_schema_and_states() {
        insta::assert_json_snapshot!("document", settings());
    }

    #[test]
    fn what_works_still_is_no_failure() {
        let mut settings = settings();
        assert!(!settings.passed);
        settings = Settings::of("1.36.0".parse().unwrap(), Vec::new(), |_| None);
        assert!(settings.passed);
        assert_eq!(settings.text(), "this configuration on Kubernetes 1.36: every setting is known\n");
    }
}
