//! Attacks on the approver; `make attacks` tries each more often, and writes the table.

use std::sync::Mutex;

use anyhow::Result;
use lab::{
    Minor,
    attacks::{Extent, attack},
};

/// Two cores: one cluster at a time.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn every_attack_is_refused_and_every_control_approved_by_kubernetes_1_36() -> Result<()> {
    let _turn = TURN.lock();
    attack(Minor::V1_36, "attacks", Extent::SHORT)
}

#[test]
fn every_attack_is_refused_and_every_control_approved_by_kubernetes_1_20() -> Result<()> {
    let _turn = TURN.lock();
    attack(Minor::V1_20, "attacks-oldest", Extent::SHORT)
}
