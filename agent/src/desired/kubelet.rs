//! KubeletConfiguration, and the unit with the flags that have no field.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::versions::{self, Behaviour};
use super::{Facts, FileSpec, Interface, Version, address, cni_bin_dir, eviction, fields, paths, units};
use crate::config::Config;

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
        "healthzPort": 10248,
        "readOnlyPort": 0,
        "resolvConf": facts.resolv_conf,
        "rotateCertificates": true,
        "serverTLSBootstrap": true,
        "staticPodPath": "/etc/kubernetes/manifests",
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
    if let Some(dns) = config.cluster.dns.address {
        fields["clusterDNS"] = json!([dns]);
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

/// The hierarchies of cgroup v1 in which the kubelet wants to find a cgroup that it is to enforce a reservation on
/// (`pkg/kubelet/cm`, `cgroupManagerImpl.Exists`).
pub const HIERARCHIES: &[&str] = &["cpu", "cpuacct", "cpuset", "hugetlb", "memory", "pids", "systemd"];

/// What makes the cgroups that reservations are enforced on. systemd makes them in the hierarchies that it uses, and the
/// kubelet ends where one is missing in another ("Failed to enforce Kube Reserved Cgroup Limits"). On cgroup v2 and with
/// the driver `systemd` it is slices that count, which systemd makes.
fn reserved_cgroups(config: &Config, facts: &Facts, cgroup_driver: &str) -> String {
    let fields = &config.kubelet.config;
    let enforced = fields.get("enforceNodeAllocatable").and_then(Value::as_array);
    let is_enforced = |level: &str| enforced.is_some_and(|levels| levels.iter().any(|found| *found == level));
    let (mut made, mut filled) = (String::new(), String::new());
    for (level, field) in
        [("kube-reserved", "kubeReservedCgroup"), ("system-reserved", "systemReservedCgroup")]
    {
        let Some(cgroup) = fields.get(field).and_then(Value::as_str).filter(|_| is_enforced(level)) else {
            continue;
        };
        let cgroup = cgroup.trim_matches('/');
        if cgroup_driver != "cgroupfs" || cgroup.is_empty() || cgroup.split('/').any(|part| part == "..") {
            continue;
        }
        for hierarchy in &facts.cgroup_hierarchies {
            made.push(' ');
            made.push_str(&units::word(&format!("/sys/fs/cgroup/{hierarchy}/{cgroup}")));
            if *hierarchy == "cpuset" {
                let parts: Vec<String> = cgroup.split('/').map(units::word).collect();
                let _ = writeln!(
                    filled,
                    "ExecStartPre=/bin/sh -ec {} sh {}",
                    units::word(CPUSET),
                    parts.join(" ")
                );
            }
        }
    }
    if made.is_empty() { made } else { format!("ExecStartPre=/bin/mkdir -p{made}\n{filled}") }
}

/// A new cgroup of `cpuset` has no processor and no memory, and none below it can be given any: the kubelet 1.36, which
/// gives them, ends with "permission denied". Each that has none takes those of the one above it.
const CPUSET: &str = "cd /sys/fs/cgroup/cpuset; for part; do for file in cpuset.cpus cpuset.mems; do \
                      test -n \"$(cat $part/$file)\" || cat $file > $part/$file; done; cd $part; done";

/// `kubelet.service`. `None` while the program is not found.
///
/// `Wants=` and not `Requires=` on the engine: the kubelet is to outlive a restart of it. The condition keeps it from
/// crash-looping at a boot that comes between installation and the first certificate.
pub fn unit(config: &Config, facts: &Facts, version: Version, cgroup_driver: &str) -> Option<FileSpec> {
    let program = facts.kubelet.path.as_ref()?;
    let engine = Interface::of(config.runtime.kind, version).units().join(" ");
    let certificate =
        config.identity.supplied.as_ref().map_or(paths::kubelet_client(), |pair| &pair.certificate);
    let mut text = format!(
        "# Written by kn-agent; changes are put back. Settings belong into /etc/kn-agent/config.yaml.\n\
         [Unit]\n\
         Description=Kubernetes kubelet\n\
         Documentation=https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/\n\
         Wants=network-online.target {engine}\n\
         After=network-online.target {engine}\n\
         ConditionPathExists={certificate}\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         WorkingDirectory=/var/lib/kubelet\n",
        certificate = certificate.display(),
    );
    if Behaviour::InTreeAwsCredentials.holds(version) {
        text.push_str(
            "# The credential probe of this version asks an address that only AWS has, and waits 6 s for it elsewhere.\n\
             Environment=AWS_EC2_METADATA_DISABLED=true\n",
        );
    }
    text.push_str(&reserved_cgroups(config, facts, cgroup_driver));
    text.push_str(&units::exec_start(&program.display().to_string(), &flags(config, facts, version)));
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
#[path = "kubelet_tests.rs"]
mod tests;
