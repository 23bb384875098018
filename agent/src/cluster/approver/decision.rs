//! What became of a request, in words.

use std::fmt;

use crate::cluster::policy::{Code, Refusal};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Somebody approved or denied it before.
    AlreadyDecided,
    /// It vanished while we looked at it.
    Gone,
    /// It was approved, with this message.
    Approved(String),
    /// It was denied.
    Denied(Refusal),
    /// It stays pending.
    Held(Refusal),
    /// It was left alone.
    NotOurs(Refusal),
}

impl Decision {
    /// One word for a table.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::AlreadyDecided => "decided",
            Self::Gone => "gone",
            Self::Approved(_) => "approved",
            Self::Denied(_) => "denied",
            Self::Held(_) => "held",
            Self::NotOurs(_) => "not ours",
        }
    }

    /// The code of the reason not to approve, where there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Denied(refusal) | Self::Held(refusal) | Self::NotOurs(refusal) => Some(refusal.code),
            _ => None,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyDecided => f.write_str("somebody else decided it"),
            Self::Gone => f.write_str("it was deleted"),
            Self::Approved(message) => f.write_str(&printable(message)),
            Self::Denied(refusal) | Self::Held(refusal) | Self::NotOurs(refusal) => {
                write!(f, "{}: {}", refusal.code.as_str(), printable(&refusal.message))
            }
        }
    }
}

/// Text that others wrote, fit for a line of a log or a table.
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
