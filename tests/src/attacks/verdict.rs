//! What is expected of a request, and what became of it.

use std::fmt;

use crate::{Minor, requests::Fate};

/// The condition of a request that is left pending, with the reason.
const HELD: &str = "kn-agent.io/Held";

/// What may become of a request. Several codes, where more than one says the truth, are separated by `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Approved, and the controller-manager signs it.
    Issued,
    /// Approved; whether it is signed does not matter.
    Approved,
    /// Denied with this code.
    Denied(&'static str),
    /// Left pending with this code.
    Held(&'static str),
    /// Nothing is written to it.
    Untouched,
    /// The API server itself refuses it with this HTTP status.
    Refused(u16),
}

impl Outcome {
    /// Whether the request may be approved.
    pub(super) fn allows_approval(self) -> bool {
        matches!(self, Self::Issued | Self::Approved)
    }

    /// Whether a look at the request now would show this.
    pub(super) fn matches(self, observed: &Observed) -> bool {
        let one_of = |codes: &str, found: &str| codes.split('|').any(|code| code == found);
        match (self, observed) {
            (Self::Issued, Observed::Approved { issued, .. }) => *issued,
            (Self::Approved, Observed::Approved { .. }) | (Self::Untouched, Observed::Untouched) => true,
            (Self::Denied(codes), Observed::Denied(found)) | (Self::Held(codes), Observed::Held(found)) => {
                one_of(codes, found)
            }
            (Self::Refused(code), Observed::Refused(found)) => code == *found,
            _ => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issued => f.write_str("approved, issued"),
            Self::Approved => f.write_str("approved"),
            Self::Denied(code) => write!(f, "denied {code}"),
            Self::Held(code) => write!(f, "held {code}"),
            Self::Untouched => f.write_str("untouched"),
            Self::Refused(code) => write!(f, "API server: {code}"),
        }
    }
}

/// What is expected of the newest and the oldest supported version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    newest: Outcome,
    oldest: Outcome,
}

impl Expected {
    /// Different on the two.
    pub(super) const fn each(newest: Outcome, oldest: Outcome) -> Self {
        Self { newest, oldest }
    }

    /// On this version.
    pub(super) fn on(self, minor: Minor) -> Outcome {
        if minor == Minor::V1_20 { self.oldest } else { self.newest }
    }
}

impl From<Outcome> for Expected {
    fn from(outcome: Outcome) -> Self {
        Self { newest: outcome, oldest: outcome }
    }
}

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Observed {
    Approved {
        /// The reason in the condition.
        reason: String,
        issued: bool,
    },
    /// Approved, and not signed: the signer says why.
    Unsigned,
    Denied(String),
    Held(String),
    Untouched,
    Refused(u16),
    /// Something else, such as two verdicts at once.
    Other(String),
}

impl Observed {
    /// Of what the watch knows.
    pub(super) fn of(fate: &Fate) -> Self {
        let kinds: Vec<&str> = fate.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        let reason = |kind| fate.condition(kind).and_then(|found| found.reason.clone()).unwrap_or_default();
        match kinds.as_slice() {
            [] => Self::Untouched,
            ["Approved"] => Self::Approved { reason: reason("Approved"), issued: fate.issued },
            ["Approved", "Failed"] => Self::Unsigned,
            ["Denied"] => Self::Denied(reason("Denied")),
            [HELD] => Self::Held(reason(HELD)),
            _ => {
                let all = fate.conditions.iter().map(|condition| {
                    format!(
                        "{} {} ({})",
                        condition.type_,
                        condition.reason.as_deref().unwrap_or_default(),
                        condition.message.as_deref().unwrap_or_default()
                    )
                });
                Self::Other(all.collect::<Vec<_>>().join(" and "))
            }
        }
    }

    /// Whether it is worth waiting for more.
    pub(super) fn is_final(&self, expected: Outcome) -> bool {
        expected.matches(self) && expected != Outcome::Untouched
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approved { issued: true, .. } => f.write_str("approved, issued"),
            Self::Approved { .. } => f.write_str("approved"),
            Self::Unsigned => f.write_str("approved, not signed"),
            Self::Denied(code) => write!(f, "denied {code}"),
            Self::Held(code) => write!(f, "held {code}"),
            Self::Untouched => f.write_str("untouched"),
            Self::Refused(code) => write!(f, "API server: {code}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// One line of the record: what was tried, and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// What it attacks.
    pub(super) class: &'static str,
    pub(super) what: String,
    pub(super) by: String,
    pub(super) expected: String,
    pub(super) observed: String,
    pub(super) ok: bool,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, what, by, expected, observed, ok } = self;
        if *ok {
            write!(f, "{class:<16} {what:<74} {by:<22} {observed}")
        } else {
            write!(f, "{class:<16} {what:<74} {by:<22} {observed}  <-- EXPECTED {expected}")
        }
    }
}
