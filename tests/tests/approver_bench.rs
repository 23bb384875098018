//! The approver's speed in its short form; `make approver-bench` measures more, and writes it down.
#![allow(missing_docs, reason = "a test's name says what it shows")]

use anyhow::Result;
use lab::{
    Minor,
    approver_bench::{Extent, judge, measure},
};

#[test]
fn the_approver_keeps_up_with_the_api_server() -> Result<()> {
    judge(&measure(Minor::V1_36, "approver-speed", Extent::SHORT)?)
}
