//! Where kubelet and kube-proxy say that they are well: ours, unless `kubelet.config` or `proxy.config` has another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Map, Value};

use crate::config::Config;

/// The kubelet's port, on loopback (`KubeletConfiguration`'s default, and what is written for it).
pub const KUBELET_PORT: u16 = 10248;
/// kube-proxy's port, on every address (`KubeProxyConfiguration`'s default, and what is written for it).
pub const PROXY_PORT: u16 = 10256;

/// Where the kubelet is asked. `None` where it serves no such endpoint: `healthzPort: 0` turns it off.
pub fn kubelet(config: &Config) -> Option<SocketAddr> {
    let fields = &config.kubelet.config;
    let port = fields.get("healthzPort").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let address = text(fields, "healthzBindAddress").and_then(|address| address.parse().ok());
    reachable(address.unwrap_or(Ipv4Addr::LOCALHOST.into()), port.unwrap_or(KUBELET_PORT))
}

/// Where kube-proxy is asked. `None` where it serves no such endpoint.
pub fn proxy(config: &Config) -> Option<SocketAddr> {
    let default = (Ipv4Addr::UNSPECIFIED.into(), PROXY_PORT);
    let (address, port) = match text(&config.proxy.component.config, "healthzBindAddress") {
        None => default,
        // An address alone gets the default port (kubernetes/kubernetes, pkg/proxy/apis/config/v1alpha1/defaults.go).
        Some(text) => address_and_port(text).or(text.parse().ok().map(|ip| (ip, PROXY_PORT)))?,
    };
    reachable(address, port)
}

/// `HOST:PORT`, `[HOST]:PORT` or `:PORT`.
fn address_and_port(text: &str) -> Option<(IpAddr, u16)> {
    if let Some(port) = text.strip_prefix(':') {
        return Some((Ipv4Addr::UNSPECIFIED.into(), port.parse().ok()?));
    }
    text.parse::<SocketAddr>().ok().map(|at| (at.ip(), at.port()))
}

/// One that listens on every address is asked over loopback.
fn reachable(address: IpAddr, port: u16) -> Option<SocketAddr> {
    let address = match address {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    (port != 0).then_some(SocketAddr::new(address, port))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}
