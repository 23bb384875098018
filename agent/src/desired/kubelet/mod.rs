//! KubeletConfiguration, and the unit with the flags that have no field.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::versions::{self, Behaviour};
use super::{
    Facts, FileSpec, Interface, Version, address, cni_bin_dir, eviction, fields, health, paths,
    reserved_cgroups, units,
};
use crate::config::Config;

const STATIC_PODS: &str = "/etc/kubernetes/manifests";

/// `/etc/kubernetes/kubelet.yaml`: ours, with the operator's fields merged over it.
pub fn configuration(config: &Config, facts: &Facts, version: Version, cgroup_driver: &str) -> FileSpec {
    let mut fields = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": paths::ca()},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": cgroup_driver,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": health::KUBELET_PORT,
        "readOnlyPort": 0,
        "resolvConf": facts.resolv_conf,
        "rotateCertificates": true,
        "serverTLSBootstrap": true,
        "staticPodPath": STATIC_PODS,
    });
    if config.cluster.client_ca.is_some() {
        fields["authentication"]["x509"]["clientCAFile"] = json!(paths::client_ca());
    }
    if let Some(pair) = &config.identity.supplied {
        // Nothing is asked for, but what to serve with where the certificate is none for that.
        let serves = facts.supplied_serves == Some(true);
        fields["rotateCertificates"] = json!(false);
        fields["serverTLSBootstrap"] = json!(!serves);
        if serves {
            fields["tlsCertFile"] = json!(pair.certificate);
            fields["tlsPrivateKeyFile"] = json!(pair.key);
        }
    }
    // Both or neither: one alone does not work (the kubelet's event `MissingClusterDNS`).
    if let Some(address) = config.cluster.dns.address.or(facts.cluster_dns.address()) {
        fields["clusterDNS"] = json!([address]);
    }
    if fields.get("clusterDNS").is_some() || config.kubelet.config.contains_key("clusterDNS") {
        fields["clusterDomain"] = json!(config.cluster.dns.domain);
    }
    let interface = Interface::of(config.runtime.kind, version);
    if let Some(socket) =
        interface.socket().filter(|_| versions::kubelet_knows(version, "containerRuntimeEndpoint"))
    {
        fields["containerRuntimeEndpoint"] = json!(endpoint(socket));
    }
    if versions::kubelet_knows(version, "registerWithTaints") && !config.node.taints.is_empty() {
        fields["registerWithTaints"] = super::node::taints(config).into_iter().map(|t| json!(t)).collect();
    }
    if interface == Interface::CriDockerd && Behaviour::WebSocketsToRuntime.holds(version) {
        fields["featureGates"] = json!({"ExtendWebSocketsToKubelet": false});
    }
    fields::merge(&mut fields, &config.kubelet.config);
    eviction::complete(&mut fields, version);
    FileSpec::new(paths::kubelet_config(), fields::yaml("kubelet.config", &fields), 0o600)
}

fn endpoint(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

fn flags(config: &Config, facts: &Facts, version: Version) -> Vec<(String, String)> {
    let mut flags: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |flag: &str, value: String| flags.insert(flag.to_owned(), value);
    set("config", paths::kubelet_config().display().to_string());
    set("kubeconfig", paths::kubelet_kubeconfig().display().to_string());
    set("cert-dir", paths::kubelet_pki().display().to_string());
    set("hostname-override", config.node.name.to_string());
    if let Some(address) = address(config, facts) {
        set("node-ip", address.to_string());
    }
    if !config.node.labels.is_empty() {
        let labels: Vec<String> = config.node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        set("node-labels", labels.join(","));
    }
    if !versions::kubelet_knows(version, "registerWithTaints") && !config.node.taints.is_empty() {
        let taints: Vec<String> =
            config.node.taints.iter().map(|t| format!("{}={}:{}", t.key, t.value, t.effect)).collect();
        set("register-with-taints", taints.join(","));
    }
    if let Some(socket) = Interface::of(config.runtime.kind, version).socket() {
        if versions::kubelet_knows(version, "container-runtime") {
            set("container-runtime", "remote".to_owned());
        }
        if !versions::kubelet_knows(version, "containerRuntimeEndpoint") {
            set("container-runtime-endpoint", endpoint(socket));
        }
    } else {
        set("network-plugin", "cni".to_owned());
        set("cni-conf-dir", config.network.conf_dir.display().to_string());
        set("cni-bin-dir", cni_bin_dir(config, facts).display().to_string());
    }
    if versions::kubelet_knows(version, "pod-infra-container-image") {
        set("pod-infra-container-image", config.runtime.sandbox_image.clone());
    }
    flags.extend(config.kubelet.extra_args.clone());
    flags.into_iter().collect()
}

/// The kubelet's own directory, where it keeps what its pods store.
pub fn directory(config: &Config) -> &Path {
    Path::new(config.kubelet.extra_args.get("root-dir").map_or("/var/lib/kubelet", String::as_str))
}

/// The directory in which the kubelet looks for pods that no API server knows; `None` where it looks into none.
pub fn static_pods(config: &Config) -> Option<&Path> {
    let field = config.kubelet.config.get("staticPodPath");
    let path = Path::new(field.map_or(Some(STATIC_PODS), serde_json::Value::as_str)?);
    // It may be a single file, too.
    (path.is_absolute() && path.extension().is_none()).then_some(path)
}

/// `kubelet.service`. `None` while the program is not found.
///
/// `Wants=` and not `Requires=` on the engine: the kubelet is to outlive a restart of it. The condition keeps it from
/// crash-looping at a boot that comes between installation and the first certificate.
pub fn unit(config: &Config, facts: &Facts, version: Version, cgroup_driver: &str) -> Option<FileSpec> {
    let program = facts.kubelet.path.as_ref()?;
    let engine = Interface::of(config.runtime.kind, version).units().join(" ");
    let slices = reserved_cgroups::slices(config, cgroup_driver);
    let before: String = [engine].into_iter().chain(slices).collect::<Vec<_>>().join(" ");
    let certificate =
        config.identity.supplied.as_ref().map_or(paths::kubelet_client(), |pair| &pair.certificate);
    let mut text = format!(
        "# Written by kn-agent; changes are put back. Settings belong into /etc/kn-agent/config.yaml.\n\
         [Unit]\n\
         Description=Kubernetes kubelet\n\
         Documentation=https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/\n\
         Wants=network-online.target {before}\n\
         After=network-online.target {before}\n\
         ConditionPathExists={certificate}\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         WorkingDirectory=/var/lib/kubelet\n",
        certificate = units::path(certificate),
    );
    if Behaviour::InTreeAwsCredentials.holds(version) {
        text.push_str(
            "# The credential probe of this version asks an address that only AWS has, and waits 6 s for it elsewhere.\n\
             Environment=AWS_EC2_METADATA_DISABLED=true\n",
        );
    }
    text.push_str(&reserved_cgroups::commands(config, facts, cgroup_driver));
    text.push_str(&units::exec_start(&program.display().to_string(), &flags(config, facts, version)));
    text.extend(reserved_cgroups::own_limit(config, cgroup_driver));
    text.push_str(
        "Restart=always\n\
         RestartSec=2\n\
         LimitNOFILE=1048576\n\
         CPUAccounting=true\n\
         MemoryAccounting=true\n\
         KillMode=process\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
    );
    Some(FileSpec::new(&paths::units().join(units::KUBELET), text, 0o600))
}

#[cfg(test)]
mod tests;
