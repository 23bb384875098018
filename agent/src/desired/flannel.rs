//! What flanneld leaves on a node for its CNI plugin.

use std::net::IpAddr;

use crate::names::Cidr;

/// `/run/flannel/subnet.env`, without which the plugin makes no pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The address of the bridge and the block of this node's pods, as `10.244.1.1/24`.
    pub subnet: String,
    /// The block of all pods.
    pub network: String,
}

impl Subnet {
    /// Reads the file: shell assignments, of which `FLANNEL_NETWORK` and `FLANNEL_SUBNET` are looked at.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn read(text: &str) -> Result<Self, String> {
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            lines.next().map(|value| value.trim_matches('"').to_owned()).filter(|value| !value.is_empty())
        };
        let missing = |name: &str| format!("has no {name}");
        Ok(Self {
            subnet: value("FLANNEL_SUBNET").ok_or_else(|| missing("FLANNEL_SUBNET"))?,
            network: value("FLANNEL_NETWORK").ok_or_else(|| missing("FLANNEL_NETWORK"))?,
        })
    }

    /// Whether it is of this block of a node's.
    pub fn is_of(&self, pod_cidr: &str) -> bool {
        let address: Option<IpAddr> = self.subnet.split('/').next().and_then(|address| address.parse().ok());
        let block: Option<Cidr> = pod_cidr.parse().ok();
        block.zip(address).is_some_and(|(block, address)| block.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnet_is_read_and_held_against_the_nodes_block() {
        let text = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        let subnet = Subnet::read(text).unwrap();
        assert_eq!((subnet.network.as_str(), subnet.subnet.as_str()), ("10.244.0.0/16", "10.244.1.1/24"));
        assert!(subnet.is_of("10.244.1.0/24") && !subnet.is_of("10.244.2.0/24") && !subnet.is_of("x"));
        assert_eq!(Subnet::read("FLANNEL_SUBNET=10.244.1.1/24\n").unwrap_err(), "has no FLANNEL_NETWORK");
        assert_eq!(Subnet::read("").unwrap_err(), "has no FLANNEL_SUBNET");
    }
}
