//! What leaves this machine, and towards whom: a real TLS server writes down what it is told.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, all about the world")]

mod discovery;
mod rules;
mod server;

/// The token of all tests; a server that was told it holds its secret.
const TOKEN: &str = "abcdef.0123456789abcdef";
const SECRET: &str = "0123456789abcdef";
