//! The file to start from.

/// What `kn-agent config init` prints.
pub const STARTER: &str = include_str!("starter.yaml");
