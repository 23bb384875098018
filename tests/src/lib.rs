//! The lab: a Kubernetes control plane and node machines with real systemd, on one Linux host, as root, without a
//! registry. What it needs and does not find it builds or fetches once, into a cache outside the checkout.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let artefacts = lab::Artefacts::ensure(lab::Minor::V1_36)?;
//! let control_plane = lab::ControlPlane::start("example", &artefacts)?;
//! let node = lab::Node::boot(control_plane.run(), &artefacts, "worker-1")?;
//! node.exec(&["systemctl", "is-system-running"])?;
//! # Ok(()) }
//! ```
//!
//! Dropping a value stops what it started. Nothing outlives the process that started it, however that dies: children
//! carry a parent-death signal, mounts live in mount namespaces of their own, and what the kernel keeps after that
//! (a bridge, empty cgroups, a directory) the next run removes.
#![allow(clippy::disallowed_methods, reason = "the lab is all about files, programs and time")]
#![allow(
    clippy::missing_errors_doc,
    reason = "everything here fails by `anyhow`, and a failure ends the test"
)]

mod agent;
mod artefacts;
mod cache;
mod calico;
mod cgroup;
mod containerd;
mod control_plane;
mod debian;
mod flannel;
mod footprint;
mod fresh;
mod go;
mod images;
mod interrupt;
mod kubectl;
mod kubernetes;
mod kubernetes_source;
mod logs;
mod machine;
mod matrix;
mod node;
mod packages;
mod pki;
mod process;
mod progress;
mod quirks;
mod requests;
mod root;
mod run;
mod traces;
mod workload;

pub mod approver_bench;
pub mod attacks;
pub mod bench;
pub mod cells;
pub mod cli;
pub mod crash;
pub mod demo;
pub mod floor;
pub mod kubeadm;
pub mod leaks;
pub mod provenance;
pub mod rotation;
pub mod up;

pub use agent::ensure_nothing_planned;
pub use artefacts::{Artefacts, Engine};
pub use calico::calico_manifest;
pub use cgroup::is_unified;
pub use containerd::use_ours as use_our_containerd;
pub use control_plane::{Component, ControlPlane};
pub use flannel::{FLANNEL_IMAGE, flannel_image};
pub use footprint::Footprint;
pub use fresh::Fresh;
pub use images::{DEMO_IMAGE, PAUSE_IMAGE};
pub use interrupt::{interrupted, watch_signals};
pub use kubectl::Kubectl;
pub use kubernetes::{Kubernetes, Minor};
pub use kubernetes_source::{csrcheck, csrcheck_version, settings};
pub use logs::prove as prove_logs;
pub use machine::Machine;
pub use matrix::{Pair, all_pairs, pairs};
pub use node::{Node, NodeOutput};
pub use pki::Identity;
pub use process::wait_until;
pub use progress::say;
pub use quirks::config_fragment;
pub use root::Suite;
pub use run::Run;
pub use workload::{prove as prove_workload, prove_reachable};
