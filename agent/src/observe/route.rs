//! The way to the API server: with which address of its own this machine goes there.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::config::Config;
use crate::desired::address::ByName;
use crate::ports::addresses::reaches_out;

/// Longer than the C library waits for a name server that is silent (5 s, resolv.conf(5)) before it asks the next.
const LOOK_UP: Duration = Duration::from_secs(15);

/// The source address on the way to an API server that goes by its address; `None` where there is no way, or it leads to
/// this machine's loopback.
pub fn by_address(config: &Config) -> Option<IpAddr> {
    let server = &config.cluster.server;
    source_towards(SocketAddr::new(server.address()?, server.port())).filter(|source| !source.is_loopback())
}

/// The same for one that goes by a name: on the way to the first of its addresses that is another machine's, those of the
/// pods' family before others.
pub async fn by_name(config: &Config) -> ByName {
    let server = &config.cluster.server;
    let look_up = tokio::net::lookup_host((server.host(), server.port()));
    let mut found: Vec<SocketAddr> = match tokio::time::timeout(LOOK_UP, look_up).await {
        Err(_) => return ByName::Failed(format!("no answer within {LOOK_UP:?}")),
        Ok(Err(error)) => return ByName::Failed(error.to_string()),
        Ok(Ok(found)) => found.collect(),
    };
    let pods_have_v6 = config.cluster.pod_cidr.is_some_and(|block| block.network().is_ipv6());
    found.sort_by_key(|to| to.is_ipv6() != pods_have_v6);
    let ways: Vec<(IpAddr, IpAddr)> =
        found.iter().filter_map(|to| Some((to.ip(), source_towards(*to)?))).collect();
    // Of an address of its own the kernel says that it is the source: so it is with a load balancer on each node, and with an
    // address that moves between the machines of a control plane and is here now.
    let mut abroad = ways.iter().filter(|(to, source)| source != to && reaches_out(*source));
    match abroad.next() {
        Some((_, source)) => ByName::Route(*source),
        None if ways.is_empty() => ByName::Failed("there is no way to where it leads".to_owned()),
        None => ByName::Here,
    }
}

/// The source address the kernel chooses for a destination; no packet is sent.
fn source_towards(destination: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if destination.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().ok()?;
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(destination).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}
