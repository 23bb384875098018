//! What real parts do together. One program, so that it is linked once and scenarios that mostly wait share the time of
//! others; `bench`, `crash`, `differential` and `versions` are programs of their own: they want the machine for
//! themselves, or have nothing to do with it.
//!
//! Tests begin in the order of their names: what waits longest, [`ageing`], is called so that it begins first.
#![allow(clippy::disallowed_methods, reason = "tests are all about files, programs and time")]
#![allow(missing_docs, reason = "a test's name says what it shows")]

mod scenario;

mod ageing;
mod approver;
mod attacks;
mod bad_host;
mod bad_world;
mod calico;
mod certificates;
mod cli;
mod cluster;
mod containerd;
mod daemon;
mod diagnoses;
mod escaping;
mod firewall;
mod flannel;
mod forward;
mod import;
mod jobs;
mod join;
mod kubelet;
mod machine;
mod modes;
mod moved;
mod network;
mod package;
mod requests;
mod rig;
mod secrets;
mod trust;
