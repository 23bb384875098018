//! The world, concrete and addressed: a root directory, a bus, an API server, programs. A test passes other addresses.

pub mod addresses;
pub mod changes;
pub mod cluster;
pub mod cri;
pub mod discovery;
pub mod grpc;
pub mod http;
pub mod keys;
pub mod program;
pub mod root;
pub mod systemd;

use crate::reason::Reason;

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub reason: Reason,
    /// What happened, with the object's name.
    pub message: String,
}

impl Failure {
    /// A failure with its code and text.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// `error` and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
