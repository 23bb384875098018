//! The resolver of pods: as it is configured, or the cluster's own Service.
//!
//! A kubelet that is told no address has its pods resolve as the node does, and they find no Service by its name; every
//! common DNS add-on has a Service of this name for that.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use crate::config::Config;
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

/// Namespace of the Service.
pub const NAMESPACE: &str = "kube-system";
/// Its name, CoreDNS' too.
pub const SERVICE: &str = "kube-dns";

/// What is known of the cluster's own DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterDns {
    /// Nobody has said.
    #[default]
    Unknown,
    /// The kubelet's configuration has this address since an earlier start.
    Written(IpAddr),
    /// The Service has this address.
    At(IpAddr),
    /// There is no such Service, or none with an address, or this node may not see it.
    Absent,
}

impl ClusterDns {
    /// What is known after the API server said this. An address that was seen holds until there is another: a Service that
    /// is deleted is most often about to be made again, and each change restarts the kubelet.
    #[must_use]
    pub fn after(self, seen: &Result<Seen<Service>, Failure>) -> Self {
        let address = match seen {
            Ok(Seen::Present(service)) => address_of(service),
            Ok(Seen::Absent) => None,
            Err(failure) if failure.reason == Reason::Forbidden => None,
            Ok(Seen::NotYet) | Err(_) => return self,
        };
        match (address, self) {
            (Some(address), _) | (None, Self::At(address)) => Self::At(address),
            (None, _) => Self::Absent,
        }
    }

    /// What an earlier start wrote into the kubelet's configuration.
    pub fn written(kubelet_config: &[u8]) -> Self {
        let text = std::str::from_utf8(kubelet_config).unwrap_or_default();
        let fields: serde_json::Value = serde_saphyr::from_str(text).unwrap_or_default();
        let address = fields["clusterDNS"][0].as_str().and_then(|text| text.parse().ok());
        address.map_or(Self::Unknown, Self::Written)
    }

    /// The address, where one is known.
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Written(address) | Self::At(address) => Some(address),
            Self::Unknown | Self::Absent => None,
        }
    }
}

/// Whether the cluster is to be asked: the operator has given no address, in either place.
pub fn is_asked(config: &Config) -> bool {
    config.cluster.dns.address.is_none() && !config.kubelet.config.contains_key("clusterDNS")
}

/// `None` where it is headless: pods can't use a name for that.
fn address_of(service: &Service) -> Option<IpAddr> {
    service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceSpec;

    use super::*;

    fn service(address: &str) -> Seen<Service> {
        let spec = ServiceSpec { cluster_ip: Some(address.to_owned()), ..ServiceSpec::default() };
        Seen::Present(Box::new(Service { spec: Some(spec), ..Service::default() }))
    }

    #[test]
    fn an_address_that_was_seen_holds_until_there_is_another() {
        let at = |text: &str| ClusterDns::At(text.parse().unwrap());
        let failed = |reason| Err(Failure::new(reason, "no"));
        let written = ClusterDns::Written("10.96.0.9".parse().unwrap());
        for (before, seen, after) in [
            (ClusterDns::Unknown, Ok(service("10.96.0.10")), at("10.96.0.10")),
            (ClusterDns::Unknown, Ok(service("None")), ClusterDns::Absent),
            (ClusterDns::Unknown, Ok(Seen::Absent), ClusterDns::Absent),
            (ClusterDns::Unknown, failed(Reason::Forbidden), ClusterDns::Absent),
            (ClusterDns::Unknown, failed(Reason::ApiUnreachable), ClusterDns::Unknown),
            (written, failed(Reason::ApiUnreachable), written),
            (written, Ok(Seen::Absent), ClusterDns::Absent),
            (ClusterDns::Absent, Ok(service("fd00::a")), at("fd00::a")),
            (at("10.96.0.10"), Ok(Seen::Absent), at("10.96.0.10")),
            (at("10.96.0.10"), Ok(service("10.96.0.11")), at("10.96.0.11")),
        ] {
            assert_eq!(before.after(&seen), after, "{before:?} {seen:?}");
        }
    }

    #[test]
    fn what_was_written_is_known_again() {
        let of = |text: &str| ClusterDns::written(text.as_bytes());
        assert_eq!(of("clusterDNS: [10.96.0.10]\n").address(), "10.96.0.10".parse().ok());
        for text in ["", "{", "clusterDNS: []\n", "clusterDNS: [x]\n", "a: b\n", "\u{0}"] {
            assert_eq!(of(text), ClusterDns::Unknown, "{text:?}");
        }
    }
}
