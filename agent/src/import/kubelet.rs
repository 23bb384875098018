//! Flags of the kubelet that are keys of ours: its node, the cluster's DNS, the runtime's image, the network's places.

use super::draft::Draft;
use super::given::Given;
use super::values::Kind;
use super::{Gathered, Program};
use crate::config::{check_label, shown};

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
        labels(given, draft);
    }
    if let Some(given) = flag("register-with-taints") {
        read(given, Kind::List, &["node", "taints"], draft);
    }
    runtime(flag("container-runtime"), flag("container-runtime-endpoint"), draft);
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

/// Labels, those left out that a node may not have, or not give itself.
fn labels(given: &Given, draft: &mut Draft) {
    for part in given.text().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            let message = format!("`--{}`: expected `key=value`, found `{}`", given.name, shown(part));
            draft.refuse(&given.place, &message);
            continue;
        };
        match check_label(key, value) {
            Ok(()) => draft.set(&["node", "labels", key], value.into()),
            Err(refusal) => {
                let hint = refusal.hint.map_or_else(String::new, |hint| format!("; {hint}"));
                let what = format!("--{}: {}", given.name, shown(part));
                draft.note(&given.place, &what, &format!("dropped: {}{hint}", refusal.message));
            }
        }
    }
}

/// What is told of a flag whose place `runtime.kind` takes.
const BY_KIND: &str = "changed: `runtime.kind` says which runtime, and its socket follows";

/// Which runtime the kubelet was given: docker where nothing, or its own dockershim (the default up to 1.23), was named.
fn runtime(kind: Option<&Given>, endpoint: Option<&Given>, draft: &mut Draft) {
    match (kind.map(Given::text), endpoint) {
        (None | Some("remote"), Some(given)) => of_socket(given, draft),
        (_, Some(given)) => {
            let why = "dropped: the kubelet's own dockershim has no use for it";
            draft.note(&given.place, &given.shown(), why);
        }
        (_, None) => {}
    }
    let Some(given) = kind else { return };
    match given.text() {
        "remote" if endpoint.is_none() => {
            let message = format!(
                "`{}` without --container-runtime-endpoint: which runtime it was is not said",
                given.shown()
            );
            draft.refuse(&given.place, &message);
        }
        "docker" | "remote" => draft.note(&given.place, &given.shown(), BY_KIND),
        _ => draft.refuse(&given.place, &format!("`{}`: expected `docker` or `remote`", given.shown())),
    }
}

/// The runtime that answers at a socket of this name.
fn of_socket(given: &Given, draft: &mut Draft) {
    let kind = match given.text().rsplit('/').next() {
        Some("containerd.sock") => "containerd",
        Some("dockershim.sock" | "cri-dockerd.sock") => "docker",
        _ => {
            let message =
                format!("`{}`: kn-agent drives docker and containerd, by their sockets", given.shown());
            draft.refuse(&given.place, &message);
            return;
        }
    };
    draft.set(&["runtime", "kind"], kind.into());
    draft.note(&given.place, &given.shown(), BY_KIND);
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
