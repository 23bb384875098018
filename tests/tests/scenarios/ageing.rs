//! Certificates that live for minutes; `make test-long` renews them more often, and those that live for ten.

use anyhow::Result;
use lab::{
    Minor,
    rotation::{Course, rotate},
};

#[test]
fn certificates_are_renewed_again_and_again_in_time_by_kubernetes_1_36() -> Result<()> {
    rotate(Minor::V1_36, "rotation", &Course::short(Minor::V1_36))
}

#[test]
fn certificates_are_renewed_again_and_again_in_time_by_kubernetes_1_20() -> Result<()> {
    rotate(Minor::V1_20, "rotation-oldest", &Course::short(Minor::V1_20))
}
