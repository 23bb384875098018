//! What is found of a setting.

use std::fmt;

use serde::Serialize;

/// How a setting stands with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Standing")]
pub enum State {
    /// No version knows it.
    Unknown,
    /// An older version knew it.
    Gone,
    /// Only a newer version knows it.
    NotYet,
    /// What it holds is of another kind than the version expects.
    Mistyped,
    /// It works, and is to be removed.
    Deprecated,
    /// It is known and has no effect.
    Ignored,
    /// It works with something beside it.
    Needs,
}

impl State {
    /// Whether nothing is written with it.
    pub const fn refuses(self) -> bool {
        !matches!(self, Self::Deprecated | Self::Ignored | Self::Needs)
    }
}

/// A setting that does not stand well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it is in our configuration, dotted.
    pub path: String,
    /// How it stands.
    pub state: State,
    /// What was found and what is expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Where that is written.
    pub source: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl Finding {
    pub(super) fn new(path: &str, state: State, message: String) -> Self {
        Self { path: path.to_owned(), state, message, hint: None, source: None }
    }

    pub(super) fn hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(super) fn source(self, source: String) -> Self {
        Self { source: Some(source), ..self }
    }
}
