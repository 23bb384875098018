//! What the kubelet lets anybody do: asked as somebody without credentials would.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;

use crate::ports::{discovery, http};

/// The port that answered everybody before Kubernetes 1.11 let it be closed, and that a flag opens to this day
/// (`--read-only-port`).
pub const READ_ONLY: u16 = 10_255;

/// The kubelet listens on that port after it does on its own (`startKubelet`, cmd/kubelet/app/server.go), some milliseconds
/// later, and nothing tells when.
const BETWEEN: Duration = Duration::from_secs(1);

/// How a kubelet received a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Where it was asked for its pods.
    pub at: SocketAddr,
    /// The HTTP status of its answer; 401 where it lets in nobody it does not know.
    pub status: u16,
    /// Whether something accepts connections at the same address on the read-only port.
    pub has_read_only_port: bool,
}

/// Where others reach the kubelet: as its Node says. `None` before it has said it.
pub fn endpoint(node: &Node) -> Option<SocketAddr> {
    let status = node.status.as_ref()?;
    let addresses = status.addresses.iter().flatten();
    let address: IpAddr =
        addresses.filter(|a| a.type_ == "InternalIP").find_map(|a| a.address.parse().ok())?;
    let port = status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref()?.port;
    Some(SocketAddr::new(address, u16::try_from(port).ok()?))
}

/// Asks the kubelet at `at` for its pods, without credentials.
///
/// # Errors
/// It does not answer, as text.
pub async fn ask(at: SocketAddr) -> Result<Access, String> {
    let status = discovery::status_for_a_stranger(at, "/pods").await?;
    tokio::time::sleep(BETWEEN).await;
    let has_read_only_port = http::accepts(SocketAddr::new(at.ip(), READ_ONLY)).await;
    Ok(Access { at, status, has_read_only_port })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{DaemonEndpoint, NodeAddress, NodeDaemonEndpoints, NodeStatus};

    use super::*;

    #[test]
    fn a_kubelet_is_asked_where_its_node_says() {
        let address =
            |type_: &str, address: &str| NodeAddress { type_: type_.into(), address: address.into() };
        let endpoints = NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: 10_250 }) };
        let status = NodeStatus {
            addresses: Some(vec![address("Hostname", "n1"), address("InternalIP", "10.0.0.2")]),
            daemon_endpoints: Some(endpoints),
            ..NodeStatus::default()
        };
        let mut node = Node { status: Some(status), ..Node::default() };
        assert_eq!(endpoint(&node), "10.0.0.2:10250".parse().ok());
        node.status.as_mut().unwrap().addresses = None;
        assert_eq!(endpoint(&node), None);
    }
}
