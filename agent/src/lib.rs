//! kn-agent: makes a Linux machine a Kubernetes node, keeps it one, and says what is in the way.
//!
//! ```text
//! Config ──► desired ─┐
//!                     ├─► plan(desired, observed, now) ──► apply ──► status
//! node ───► observe ──┘          pure, total
//! ```
//!
//! Imports point one way, down this list. Only `observe` and `ports` read the host, only `apply` writes it.

pub mod names;
pub mod reason;

pub mod config;
pub mod ports;

pub mod desired;
pub mod observe;
pub mod plan;

pub mod apply;
pub mod status;

pub mod cluster;
pub mod reconcile;

pub mod cli;
