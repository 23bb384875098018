//! Kubeconfigs that name files, so that a renewed certificate is picked up (embedded data would be rotated at once).

use std::path::Path;

use serde_json::json;

use super::{FileSpec, fields, paths};
use crate::config::Config;

/// The kubelet's.
pub fn kubelet(config: &Config) -> FileSpec {
    kubeconfig(config, paths::kubelet_kubeconfig(), "kubelet", paths::kubelet_client())
}

/// kube-proxy's.
pub fn proxy(config: &Config) -> FileSpec {
    kubeconfig(config, paths::proxy_kubeconfig(), "kube-proxy", paths::proxy_client())
}

fn kubeconfig(config: &Config, path: &Path, user: &str, certificate: &Path) -> FileSpec {
    let fields = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": {
            "server": config.cluster.server.as_str(),
            "certificate-authority": paths::ca(),
        }}],
        "users": [{"name": user, "user": {"client-certificate": certificate, "client-key": certificate}}],
        "contexts": [{"name": "default", "context": {"cluster": "kubernetes", "user": user}}],
        "current-context": "default",
    });
    FileSpec::new(path, fields::yaml("cluster", &fields), 0o600)
}
