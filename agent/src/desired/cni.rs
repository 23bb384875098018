//! The bridge configuration: pods of this node on one bridge, with addresses from the Node's own block.

use std::path::PathBuf;

use serde_json::json;

use super::{FileSpec, fields};
use crate::config::Config;

/// Programs the bridge configuration needs.
pub const BRIDGE_PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "portmap"];

/// Where the bridge configuration is.
pub fn bridge_path(config: &Config) -> PathBuf {
    config.network.conf_dir.join("10-kn-agent-bridge.conflist")
}

/// The bridge configuration for `pod_cidr`.
pub fn bridge(config: &Config, pod_cidr: &str) -> FileSpec {
    // `isDefaultGateway` sets the default route; one in the ipam section too fails with "file exists".
    let bridge = json!({
        "type": "bridge",
        "bridge": "kn0",
        "isDefaultGateway": true,
        "ipMasq": true,
        "hairpinMode": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pod_cidr}]]},
    });
    let conf = json!({
        "cniVersion": "0.4.0",
        "name": "kn-agent-bridge",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": true}}],
    });
    let text = serde_json::to_string_pretty(&conf).unwrap_or_else(|_| fields::yaml("network", &conf));
    FileSpec::new(&bridge_path(config), text + "\n", 0o644)
}
