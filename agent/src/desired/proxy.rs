//! KubeProxyConfiguration and kube-proxy's unit.

use serde_json::json;

use super::{Facts, FileSpec, fields, health, paths, units};
use crate::config::Config;

/// `/etc/kubernetes/kube-proxy.yaml`.
///
/// `clusterCIDR` is the pods' block, never the Services': with the latter every pod looks foreign and is masqueraded,
/// which voids network policies.
pub fn configuration(config: &Config, _facts: &Facts) -> Option<FileSpec> {
    let mut fields = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": config.proxy.kubeconfig.as_deref().unwrap_or(paths::proxy_kubeconfig())},
        "healthzBindAddress": format!("0.0.0.0:{}", health::PROXY_PORT),
        "hostnameOverride": config.node.name.as_str(),
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": config.proxy.mode.as_str(),
    });
    if let Some(pods) = &config.cluster.pod_cidr {
        fields["clusterCIDR"] = json!(pods.to_string());
    }
    fields::merge(&mut fields, &config.proxy.component.config);
    Some(FileSpec::new(paths::proxy_config(), fields::yaml("proxy.config", &fields), 0o600))
}

/// `kube-proxy.service`. `None` while the program is not found. kube-proxy sends no `READY=1`: its start is judged by
/// its health endpoint.
pub fn unit(config: &Config, facts: &Facts) -> Option<FileSpec> {
    let program = facts.proxy.path.as_ref()?;
    let mut flags = vec![
        ("config".to_owned(), paths::proxy_config().display().to_string()),
        ("hostname-override".to_owned(), config.node.name.to_string()),
    ];
    flags.extend(config.proxy.component.extra_args.clone());
    let text = format!(
        "# Written by kn-agent; changes are put back. Settings belong into /etc/kn-agent/config.yaml.\n\
         [Unit]\n\
         Description=Kubernetes kube-proxy\n\
         Documentation=https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         ConditionPathExists={certificate}\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=exec\n\
         WorkingDirectory=/var/lib/kube-proxy\n\
         {exec}\
         Restart=always\n\
         RestartSec=2\n\
         LimitNOFILE=65536\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        certificate = units::path(config.proxy.kubeconfig.as_deref().unwrap_or(paths::proxy_client())),
        exec = units::exec_start(&program.display().to_string(), &flags),
    );
    Some(FileSpec::new(&paths::units().join(units::KUBE_PROXY), text, 0o600))
}
