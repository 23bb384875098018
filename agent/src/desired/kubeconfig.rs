//! Kubeconfigs that name files, so that a renewed certificate is picked up (embedded data would be rotated at once).

use std::path::Path;

use serde_json::json;

use super::{FileSpec, fields, paths};
use crate::config::Config;

/// The kubelet's.
pub fn kubelet(config: &Config) -> FileSpec {
    let (certificate, key) = match &config.identity.supplied {
        Some(pair) => (pair.certificate.as_path(), pair.key.as_path()),
        None => (paths::kubelet_client(), paths::kubelet_client()),
    };
    kubeconfig(config, paths::kubelet_kubeconfig(), "kubelet", (certificate, key))
}

/// kube-proxy's.
pub fn proxy(config: &Config) -> FileSpec {
    let pair = (paths::proxy_client(), paths::proxy_client());
    kubeconfig(config, paths::proxy_kubeconfig(), "kube-proxy", pair)
}

fn kubeconfig(config: &Config, path: &Path, user: &str, (certificate, key): (&Path, &Path)) -> FileSpec {
    let fields = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": {
            "server": config.cluster.server.as_str(),
            "certificate-authority": paths::ca(),
        }}],
        "users": [{"name": user, "user": {"client-certificate": certificate, "client-key": key}}],
        "contexts": [{"name": "default", "context": {"cluster": "kubernetes", "user": user}}],
        "current-context": "default",
    });
    FileSpec::new(path, fields::yaml("cluster", &fields), 0o600)
}
