//! What a new machine needs to join: its configuration, and what puts it there.

mod cloud_init;

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::Api;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use serde_saphyr::LitStr;

use crate::cluster::client::Cluster;
use crate::cluster::token::{Approval, Created};
use crate::names::{ApiServerUrl, Cidr};

pub use cloud_init::cloud_init;

/// Where kn-agent reads its configuration.
const CONFIG_DIR: &str = "/etc/kn-agent";

/// What the cluster tells about its network, as far as it does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// Address of the DNS Service.
    pub dns_address: Option<IpAddr>,
    /// The cluster's domain.
    pub dns_domain: Option<String>,
    /// The block of Service addresses.
    pub service_cidr: Option<Cidr>,
    /// The block of pod addresses.
    pub pod_cidr: Option<Cidr>,
}

/// Everything about the cluster that goes into a machine's configuration.
#[derive(Debug, Clone)]
pub struct Join {
    /// The API server as the machine reaches it.
    pub server: ApiServerUrl,
    /// The certificates to check it against.
    pub ca_pem: String,
    /// The network.
    pub network: Network,
}

/// Looks up what the cluster tells about its network. What it does not tell is left out: the machine has defaults.
pub async fn observe_network(cluster: &Cluster) -> Network {
    let (dns_address, cidr, kubeadm) =
        futures::join!(dns_address(cluster), service_cidr(cluster), kubeadm_networking(cluster));
    let text = |field: &str| kubeadm.get(field).and_then(Value::as_str).unwrap_or_default();
    Network {
        dns_address,
        dns_domain: Some(text("dnsDomain")).filter(|domain| !domain.is_empty()).map(str::to_owned),
        service_cidr: cidr.or_else(|| first_cidr(text("serviceSubnet"))),
        pod_cidr: first_cidr(text("podSubnet")),
    }
}

async fn dns_address(cluster: &Cluster) -> Option<IpAddr> {
    let services: Api<Service> = Api::namespaced(cluster.client(), "kube-system");
    let service =
        optional(cluster.call("get", "Service kube-system/kube-dns", services.get_opt("kube-dns")).await)?;
    service.spec?.cluster_ip?.parse().ok()
}

/// Told by Kubernetes 1.33 and later.
async fn service_cidr(cluster: &Cluster) -> Option<Cidr> {
    let blocks: Api<ServiceCIDR> = Api::all(cluster.client());
    let found = optional(cluster.call("get", "ServiceCIDR kubernetes", blocks.get_opt("kubernetes")).await)?;
    found.spec?.cidrs?.first()?.parse().ok()
}

/// What kubeadm was told, where the cluster was made by it.
async fn kubeadm_networking(cluster: &Cluster) -> Value {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "kube-system");
    let request = maps.get_opt("kubeadm-config");
    let map = optional(cluster.call("get", "ConfigMap kube-system/kubeadm-config", request).await);
    let text = map.and_then(|map| map.data).and_then(|mut data| data.remove("ClusterConfiguration"));
    let parsed: Option<Value> = text.and_then(|text| serde_saphyr::from_str(&text).ok());
    parsed.and_then(|mut parsed| parsed.get_mut("networking").map(Value::take)).unwrap_or_default()
}

/// What was found; that something could not be read is worth no failure here.
fn optional<T>(answer: Result<Option<T>, crate::cluster::client::CallError>) -> Option<T> {
    answer.inspect_err(|error| tracing::debug!("left out of the configuration: {error}")).ok().flatten()
}

/// The first of `10.244.0.0/16,fd00::/48`.
fn first_cidr(list: &str) -> Option<Cidr> {
    list.split(',').next()?.trim().parse().ok()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    cluster: ClusterSection<'a>,
    identity: IdentitySection<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeSection<'a>>,
}

#[derive(Serialize)]
struct NodeSection<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct ClusterSection<'a> {
    server: &'a str,
    ca: CaSection<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<DnsSection<'a>>,
    #[serde(rename = "podCIDR", skip_serializing_if = "Option::is_none")]
    pod_cidr: Option<String>,
    #[serde(rename = "serviceCIDR", skip_serializing_if = "Option::is_none")]
    service_cidr: Option<String>,
}

#[derive(Serialize)]
struct CaSection<'a> {
    data: LitStr<'a>,
}

#[derive(Serialize)]
struct DnsSection<'a> {
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
}

#[derive(Serialize)]
struct IdentitySection<'a> {
    token: TokenSection<'a>,
}

#[derive(Serialize)]
struct TokenSection<'a> {
    value: &'a str,
}

/// The whole `/etc/kn-agent/config.yaml` of a machine that may join with this token.
///
/// # Errors
/// Where it cannot be written as YAML.
pub fn config(join: &Join, created: &Created) -> Result<SecretString, serde_saphyr::SerializeError> {
    let network = &join.network;
    let domain = network.dns_domain.as_deref();
    let document = Document {
        api_version: "kn-agent.io/v1alpha1",
        kind: "NodeConfig",
        cluster: ClusterSection {
            server: join.server.as_str(),
            ca: CaSection { data: LitStr(&join.ca_pem) },
            dns: network.dns_address.map(|address| DnsSection { address, domain }),
            pod_cidr: network.pod_cidr.map(|cidr| cidr.to_string()),
            service_cidr: network.service_cidr.map(|cidr| cidr.to_string()),
        },
        identity: IdentitySection { token: TokenSection { value: created.token.expose() } },
        node: created.node.as_ref().map(|name| NodeSection { name: name.as_str() }),
    };
    let yaml = serde_saphyr::to_string(&document)?;
    let comments = comments(created);
    Ok(format!("{comments}{yaml}").into())
}

/// What the person who gets the configuration should know, as lines of comment.
fn comments(created: &Created) -> String {
    let approval = match created.approval {
        Approval::Approver => {
            "# It is good for the node named below and one key. The first certificate is approved by `kn-agent approver`;\n\
             # where none runs, a person lets it run until the node is Ready: kn-agent approver"
        }
        Approval::Unseen => {
            "# The first certificate is approved unseen: the cluster has kn-agent:auto-approve. Whoever holds this token\n\
             # can become any node of the cluster until then."
        }
        Approval::Person => {
            "# The first certificate waits for a person: kubectl get csr; kubectl certificate approve NAME"
        }
    };
    format!(
        "# {CONFIG_DIR}/config.yaml of kn-agent. Keep it secret, mode 0600: it holds a token.\n\
         # The token ends at {}.\n{approval}\n",
        created.expires
    )
}

/// One command to paste into root's shell on the machine. The configuration travels as its input, never as an
/// argument, and lies in a file that only root can read from its first byte on.
pub fn shell(config: &SecretString) -> SecretString {
    const END: &str = "KN_AGENT_CONFIG";
    let temporary = format!("{CONFIG_DIR}/.config.yaml.new");
    format!(
        "(umask 077 && mkdir -p {CONFIG_DIR} && rm -f {temporary} && cat >{temporary} && \
         mv -f {temporary} {CONFIG_DIR}/config.yaml) <<'{END}' && systemctl enable --now kn-agent && \
         kn-agent status --wait\n{}{END}\n",
        config.expose_secret()
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join() -> Join {
        Join {
            server: "https://10.0.0.10:6443".parse().unwrap(),
            ca_pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            network: Network {
                dns_address: Some("10.96.0.10".parse().unwrap()),
                dns_domain: Some("cluster.local".to_owned()),
                service_cidr: first_cidr("10.96.0.0/16,fd00::/112"),
                pod_cidr: first_cidr("10.244.0.0/16"),
            },
        }
    }

    fn created(approval: Approval) -> Created {
        let expires = "2026-01-02T03:04:05Z".parse().unwrap();
        // Both look like a number to a careless YAML writer.
        let token = "123456.7890123456789012".parse().unwrap();
        let node = (approval == Approval::Approver).then(|| "1.20".parse().unwrap());
        Created { token, node, expires, approval, usable: true }
    }

    /// For a node of its own, as YAML.
    pub(super) fn bound() -> SecretString {
        config(&join(), &created(Approval::Approver)).unwrap()
    }

    #[test]
    fn config_parses_to_what_was_meant() {
        let value: Value = serde_saphyr::from_str(bound().expose_secret()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "apiVersion": "kn-agent.io/v1alpha1",
                "kind": "NodeConfig",
                "cluster": {
                    "server": "https://10.0.0.10:6443",
                    "ca": {"data": join().ca_pem},
                    "dns": {"address": "10.96.0.10", "domain": "cluster.local"},
                    "podCIDR": "10.244.0.0/16",
                    "serviceCIDR": "10.96.0.0/16",
                },
                "identity": {"token": {"value": "123456.7890123456789012"}},
                "node": {"name": "1.20"},
            })
        );
    }

    #[test]
    fn config_leaves_out_what_is_not_known() {
        let bare = Join { network: Network::default(), ..join() };
        let yaml = config(&bare, &created(Approval::Person)).unwrap();
        let value: Value = serde_saphyr::from_str(yaml.expose_secret()).unwrap();
        assert!(value.get("node").is_none());
        let keys: Vec<_> = value["cluster"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["ca", "server"]);
    }

    #[test]
    fn config_says_who_approves() {
        let text = |approval| config(&join(), &created(approval)).unwrap().expose_secret().to_owned();
        assert!(text(Approval::Approver).contains("approved by `kn-agent approver`"));
        assert!(text(Approval::Unseen).contains("approved unseen"));
        assert!(text(Approval::Person).contains("waits for a person"));
    }

    #[test]
    fn shell_line_never_has_the_token_in_an_argument_and_writes_the_file_closed() {
        let yaml = bound();
        let text = shell(&yaml);
        let (command, rest) = text.expose_secret().split_once('\n').unwrap();
        assert!(!command.contains("123456.") && command.contains("<<'KN_AGENT_CONFIG'"));
        assert!(command.starts_with("(umask 077"));
        assert_eq!(rest, format!("{}KN_AGENT_CONFIG\n", yaml.expose_secret()));
    }
}
