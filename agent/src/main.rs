//! kn-agent
fn main() {}
