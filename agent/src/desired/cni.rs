//! CNI configurations: the bridge's, which is ours (pods of this node on one bridge, with addresses from the Node's own
//! block), and what is to be known of others'.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{FileSpec, fields};
use crate::config::{Config, NetworkPlugin};

/// Programs the bridge configuration needs, and flannel's, which has bridge and host-local do its work. flannel's
/// DaemonSet brings its own program alone.
pub const BRIDGE_PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "portmap"];

/// The bridge that pods of ours are on.
pub(super) const BRIDGE: &str = "kn0";

/// The name of the bridge's network: a file that bears it is ours.
const BRIDGE_NETWORK: &str = "kn-agent-bridge";

/// Programs that stand before the cluster's network and hand on to it: their configuration is meant to win.
const FORERUNNERS: [&str; 2] = ["multus", "multus-shim"];

/// Programs that must be there before the network's own DaemonSet brings the rest.
pub const fn needed(plugin: NetworkPlugin) -> &'static [&'static str] {
    match plugin {
        NetworkPlugin::Bridge | NetworkPlugin::Flannel => BRIDGE_PLUGINS,
        NetworkPlugin::Calico | NetworkPlugin::None => &[],
    }
}

/// The file that a network's own DaemonSet writes, and the type of its first program; `None` where nothing is known of it.
pub const fn of_others(plugin: NetworkPlugin) -> Option<(&'static str, &'static str)> {
    match plugin {
        NetworkPlugin::Flannel => Some(("10-flannel.conflist", "flannel")),
        NetworkPlugin::Calico => Some(("10-calico.conflist", "calico")),
        NetworkPlugin::Bridge | NetworkPlugin::None => None,
    }
}

/// Where the bridge configuration is.
pub fn bridge_path(config: &Config) -> PathBuf {
    config.network.conf_dir.join("10-kn-agent-bridge.conflist")
}

/// The bridge configuration for `pod_cidr`.
pub fn bridge(config: &Config, pod_cidr: &str) -> FileSpec {
    // `isDefaultGateway` sets the default route; one in the ipam section too fails with "file exists".
    let bridge = json!({
        "type": "bridge",
        "bridge": BRIDGE,
        "isDefaultGateway": true,
        "ipMasq": true,
        "hairpinMode": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pod_cidr}]]},
    });
    let conf = json!({
        "cniVersion": "0.4.0",
        "name": BRIDGE_NETWORK,
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": true}}],
    });
    let text = serde_json::to_string_pretty(&conf).unwrap_or_else(|_| fields::yaml("network", &conf));
    FileSpec::new(&bridge_path(config), text + "\n", 0o644)
}

/// What a configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The network's name.
    pub name: String,
    /// The types of its plugins, in their order.
    pub plugins: Vec<String>,
    /// The programs it has done the work by, without repetition: its plugins, those they delegate to, and for addresses.
    pub programs: Vec<String>,
    /// The kubeconfig that one of its plugins reaches the API server with.
    pub kubeconfig: Option<PathBuf>,
}

impl Network {
    /// Reads the configuration in a file of this name.
    ///
    /// # Errors
    /// No runtime would take it, and why.
    pub fn read(file: &str, text: &[u8]) -> Result<Self, String> {
        let conf: Value = serde_json::from_slice(text).map_err(|error| format!("is no JSON: {error}"))?;
        let name = conf["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or("has no `name`")?.to_owned();
        let list = file.ends_with(".conflist");
        let plugins: Vec<&Value> = match (&conf["plugins"], list) {
            (Value::Array(plugins), true) if !plugins.is_empty() => plugins.iter().collect(),
            (_, true) => return Err("has no `plugins`, as a `.conflist` must".to_owned()),
            (Value::Array(_), false) => {
                return Err("has `plugins`: the name of such a file must end in `.conflist`".to_owned());
            }
            (_, false) => vec![&conf],
        };
        let kind =
            |plugin: &Value| plugin["type"].as_str().filter(|kind| !kind.is_empty()).map(str::to_owned);
        let types = plugins.iter().map(|plugin| kind(plugin)).collect::<Option<Vec<_>>>();
        let types = types.ok_or("has a plugin without `type`")?;
        let mut programs = Vec::new();
        for (plugin, kind) in plugins.iter().zip(&types) {
            let delegate =
                |part: &str, default: &str| plugin["delegate"][part].as_str().unwrap_or(default).to_owned();
            programs.push(kind.clone());
            if kind == "flannel" {
                programs.extend([delegate("type", "bridge"), "host-local".to_owned()]);
            }
            programs.extend(plugin["ipam"]["type"].as_str().map(str::to_owned));
        }
        let mut seen = std::collections::BTreeSet::new();
        programs.retain(|program| seen.insert(program.clone()));
        let kubeconfig = plugins.iter().find_map(|plugin| plugin["kubernetes"]["kubeconfig"].as_str());
        Ok(Self { name, plugins: types, programs, kubeconfig: kubeconfig.map(PathBuf::from) })
    }

    /// Whether it is the bridge's, which nobody else writes.
    pub fn is_ours(&self) -> bool {
        self.name == BRIDGE_NETWORK
    }

    /// Whether one of its plugins is of this type.
    pub fn has(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|kind| kind == plugin)
    }

    /// Whether it hands on to the network that comes after it.
    pub fn is_forerunner(&self) -> bool {
        FORERUNNERS.iter().any(|kind| self.has(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLANNEL: &str = r#"{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;

    fn read(file: &str, text: &str) -> Result<Network, String> {
        Network::read(file, text.as_bytes())
    }

    #[test]
    fn programs_are_those_of_plugins_delegates_and_addresses() {
        let flannel = read("10-flannel.conflist", FLANNEL).unwrap();
        assert_eq!(flannel.plugins, ["flannel", "portmap"]);
        assert_eq!(flannel.programs, ["flannel", "bridge", "host-local", "portmap"]);
        assert!(flannel.has("flannel") && !flannel.has("bridge") && !flannel.is_ours());
        let calico = r#"{"name": "k8s-pod-network", "plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"},
            "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}}, {"type": "portmap"}, {"type": "bandwidth"}]}"#;
        let calico = read("10-calico.conflist", calico).unwrap();
        assert_eq!(calico.programs, ["calico", "calico-ipam", "portmap", "bandwidth"]);
        let placeholder = r#"{"name": "mynet", "type": "bridge", "ipam": {"type": "host-local", "subnet": "10.244.0.0/16"}}"#;
        assert_eq!(read("10-default.conf", placeholder).unwrap().programs, ["bridge", "host-local"]);
        assert!(read("00-multus.conf", r#"{"name": "m", "type": "multus"}"#).unwrap().is_forerunner());
    }

    #[test]
    fn our_own_is_known_by_its_name_and_needs_what_is_looked_for() {
        let text = format!(r#"{{"name": "{BRIDGE_NETWORK}", "type": "bridge"}}"#);
        assert!(read("x.conf", &text).unwrap().is_ours());
        assert_eq!(needed(NetworkPlugin::Flannel), BRIDGE_PLUGINS);
        assert!(needed(NetworkPlugin::None).is_empty());
    }

    #[test]
    fn what_no_runtime_takes_is_told() {
        for (file, text, why) in [
            ("a.conflist", "{", "is no JSON: EOF while parsing an object at line 1 column 1"),
            ("a.conflist", r#"{"plugins": [{"type": "a"}]}"#, "has no `name`"),
            ("a.conflist", r#"{"name": "a", "type": "bridge"}"#, "has no `plugins`, as a `.conflist` must"),
            ("a.conf", FLANNEL, "has `plugins`: the name of such a file must end in `.conflist`"),
            ("a.conf", r#"{"name": "a"}"#, "has a plugin without `type`"),
        ] {
            assert_eq!(read(file, text).unwrap_err(), why, "{file} {text}");
        }
    }
}
