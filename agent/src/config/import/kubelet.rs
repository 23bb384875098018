//! Flags of the kubelet that are keys of ours: its node, the cluster's DNS, the runtime's image, the network's places.

use super::draft::Draft;
use super::given::Given;
use super::values::Kind;
use super::{Gathered, Program};

/// Registries that no longer serve, or are no longer kept, and the image that stands for theirs.
const ABANDONED: [&str; 4] =
    ["mirrorgooglecontainers/", "gcr.io/google_containers/", "k8s.gcr.io/", "gcr.io/google-containers/"];

/// Sets the keys.
pub(super) fn settle(gathered: &Gathered, draft: &mut Draft) {
    let flag = |name| gathered.flag(Program::Kubelet, name);
    for (name, path) in [("hostname-override", ["node", "name"]), ("node-ip", ["node", "address"])] {
        if let Some(given) = flag(name) {
            draft.set(&path, given.text().into());
        }
    }
    if let Some(given) = flag("node-labels") {
        read(given, Kind::Map, &["node", "labels"], draft);
    }
    if let Some(given) = flag("register-with-taints") {
        read(given, Kind::List, &["node", "taints"], draft);
    }
    dns(flag("cluster-dns"), flag("cluster-domain"), draft);
    for (name, key, default) in
        [("cni-conf-dir", "confDir", "/etc/cni/net.d"), ("cni-bin-dir", "binDir", "/opt/cni/bin")]
    {
        if let Some(given) = flag(name) {
            directory(given, key, default, draft);
        }
    }
    if let Some(given) = flag("pod-infra-container-image") {
        sandbox_image(given, draft);
    }
    if let Some(given) = flag("config") {
        let why = "dropped: that file is not read here; write its fields into kubelet.config";
        draft.note(&given.place, &given.shown(), why);
    }
}

fn read(given: &Given, kind: Kind, path: &[&str], draft: &mut Draft) {
    match kind.read(given.text()) {
        Ok(value) => draft.set(path, value),
        Err(error) => draft.refuse(&given.place, &format!("`--{}`: {error}", given.name)),
    }
}

/// Address and domain work together only.
fn dns(address: Option<&Given>, domain: Option<&Given>, draft: &mut Draft) {
    if let Some(given) = address {
        if given.text().contains(',') {
            read(given, Kind::List, &["kubelet", "config", "clusterDNS"], draft);
            let why = "kept in kubelet.config.clusterDNS: `cluster.dns.address` is one address";
            draft.note(&given.place, &given.shown(), why);
        } else {
            draft.set(&["cluster", "dns", "address"], given.text().into());
        }
    }
    let Some(given) = domain else { return };
    let bare = given.text().strip_suffix('.').unwrap_or(given.text());
    if bare != given.text() {
        draft.note(&given.place, &given.shown(), &format!("changed: `{bare}`, without the dot at its end"));
    }
    if address.is_none() {
        let why = "kept; the address, which it needs too, is then that of the cluster's Service kube-system/kube-dns";
        draft.note(&given.place, &given.shown(), why);
    }
    draft.set(&["cluster", "dns", "domain"], bare.into());
    if address.is_some_and(|address| address.text().contains(',')) {
        draft.set(&["kubelet", "config", "clusterDomain"], bare.into());
    }
}

fn directory(given: &Given, key: &str, default: &str, draft: &mut Draft) {
    let mut directories = given.text().split(',');
    let first = directories.next().unwrap_or_default();
    if directories.next().is_some() {
        let why = format!("changed: `network.{key}` is one directory, the first of these");
        draft.note(&given.place, &given.shown(), &why);
    }
    if first == default {
        draft.note(&given.place, &given.shown(), "dropped: the default");
    } else {
        draft.set(&["network", key], first.into());
    }
}

fn sandbox_image(given: &Given, draft: &mut Draft) {
    let image = given.text();
    draft.set(&["runtime", "sandboxImage"], image.into());
    if ABANDONED.iter().any(|registry| image.starts_with(registry)) {
        let why = "kept as runtime.sandboxImage, but nobody keeps that registry up: where the node does not have the image, \
                   leave the key out (registry.k8s.io/pause:3.10)";
        draft.note(&given.place, &given.shown(), why);
    }
}
