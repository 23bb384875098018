//! kn-agent: makes a Linux machine a Kubernetes node, keeps it one, and says what is in the way.
//!
//! ```text
//! Config ──► desired ─┐
//!                     ├─► plan(desired, observed, now) ──► apply ──► status
//! node ───► observe ──┘          pure, total
//! ```
//!
//! A module imports only from those above it in this list. In a pass only `observe` reads the host and only `apply`
//! writes it, both through `ports`.

pub mod names;
pub mod reason;
mod redact;

pub mod config;
#[expect(clippy::disallowed_methods, reason = "the world is reached from here")]
pub mod ports;

pub mod desired;
pub mod import;
#[expect(clippy::disallowed_methods, reason = "facts of the host are looked up here")]
pub mod observe;
pub mod plan;

pub mod apply;
pub mod status;

#[expect(clippy::disallowed_methods, reason = "an administrator's kubeconfig and clock")]
pub mod cluster;
#[expect(clippy::disallowed_methods, reason = "the clock of a pass, the lock of the daemon")]
pub mod reconcile;

#[expect(clippy::disallowed_methods, reason = "the edge: clock, environment, programs")]
pub mod cli;
