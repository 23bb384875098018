//! The cluster, and how the node proves who it is: out of kubeconfigs and the flags that name certificates.

use serde_json::json;

use super::draft::{Draft, Place};
use super::given::Given;
use super::kubeconfig::{Found, Kubeconfig};
use super::{Gathered, Program};

/// How the node came by its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A token asked for it.
    Bootstrap,
    /// It was issued before.
    Certificate,
}

/// Flags that name the kubeconfig a token is in.
const BOOTSTRAP: [&str; 2] = ["bootstrap-kubeconfig", "experimental-bootstrap-kubeconfig"];

/// Where the token is to be.
const TOKEN_FILE: &str = "/etc/kn-agent/token";

/// Sets `cluster` and `identity`.
pub(super) fn settle(gathered: &Gathered, draft: &mut Draft) -> Mode {
    cluster(gathered, draft);
    let own = gathered.flag(Program::Kubelet, "kubeconfig");
    if let Some(given) = own {
        draft.note(&given.place, &given.shown(), "dropped: kn-agent writes the kubelet's kubeconfig itself");
    }
    let kubeconfig =
        own.and_then(|given| gathered.kubeconfigs.iter().find(|file| file.is_named_by(given.text())));
    // kube-proxy's may hold a token of an account, which asks for no certificate.
    let proxys = gathered.flag(Program::Proxy, "kubeconfig");
    let is_proxys = |file: &Kubeconfig| proxys.is_some_and(|given| file.is_named_by(given.text()));
    let token = gathered.kubeconfigs.iter().find(|file| file.token.is_some() && !is_proxys(file));
    let asked: Vec<&Given> =
        BOOTSTRAP.iter().filter_map(|name| gathered.flag(Program::Kubelet, name)).collect();
    for given in &asked {
        let removed =
            if given.name == BOOTSTRAP[1] { "removed in 1.23 (kubernetes/kubernetes#103172); " } else { "" };
        let why = format!(
            "dropped: {removed}kn-agent asks for the first certificate itself, with `identity.token`"
        );
        draft.note(&given.place, &given.shown(), &why);
    }
    let pair = pair(gathered, kubeconfig);
    let mode = match pair {
        Some(pair) if asked.is_empty() && token.is_none() => {
            certificate(gathered, pair, draft);
            Mode::Certificate
        }
        _ => {
            bootstrap(gathered, token, draft);
            Mode::Bootstrap
        }
    };
    for file in &gathered.kubeconfigs {
        others(file, draft);
    }
    mode
}

/// Server and CA, of the first kubeconfig that names them.
fn cluster(gathered: &Gathered, draft: &mut Draft) {
    let files = &gathered.kubeconfigs;
    let server = files.iter().find_map(|file| file.server.as_ref());
    match server {
        Some(found) => draft.set(&["cluster", "server"], found.text.clone().into()),
        None => draft.refuse(
            &Place::file("cluster.server".as_ref()),
            "no file names the API server; give a kubeconfig of kubelet or kube-proxy as well",
        ),
    }
    for other in files.iter().filter_map(|file| file.server.as_ref()) {
        if let Some(server) = server.filter(|server| server.text != other.text) {
            let why = format!("dropped: `{}` stands in {}, and a node has one", server.text, server.place);
            draft.note(&other.place, &format!("server {}", other.text), &why);
        }
    }
    authority(gathered, draft);
}

/// The CA, and that of the clients where it is another file.
fn authority(gathered: &Gathered, draft: &mut Draft) {
    let files = &gathered.kubeconfigs;
    let client_ca = gathered.flag(Program::Kubelet, "client-ca-file");
    let named = files.iter().find_map(|file| file.ca_file.as_ref());
    let data = files.iter().find_map(|file| file.ca_data.as_ref());
    match (named, data, client_ca) {
        (Some(file), ..) => draft.set(&["cluster", "ca", "file"], file.text.clone().into()),
        (None, Some(data), _) => draft.set(&["cluster", "ca", "data"], data.text.clone().into()),
        (None, None, Some(given)) => draft.set(&["cluster", "ca", "file"], given.text().into()),
        (None, None, None) => {}
    }
    let chosen = named.or(data);
    for other in files.iter().flat_map(|file| [&file.ca_file, &file.ca_data]).flatten() {
        if let Some(chosen) = chosen.filter(|chosen| chosen.text != other.text) {
            let why = format!("dropped: `cluster.ca` is the one in {}; compare them", chosen.place);
            draft.note(&other.place, "another CA", &why);
        }
    }
    if let Some(given) = client_ca
        && draft.get(&["cluster", "ca", "file"]).is_none_or(|file| file != given.text())
    {
        draft.set(&["cluster", "clientCA", "file"], given.text().into());
        let why = "kept as cluster.clientCA: leave it out where it is the CA of the API server, too";
        draft.note(&given.place, &given.shown(), why);
    }
}

/// Certificate and key that were issued before: those of the kubelet's kubeconfig, else those it serves with.
fn pair<'g>(gathered: &'g Gathered, kubeconfig: Option<&'g Kubeconfig>) -> Option<[(&'g str, &'g Place); 2]> {
    let found = |found: &'g Found| (found.text.as_str(), &found.place);
    let given = |given: &'g Given| (given.text(), &given.place);
    let own = kubeconfig
        .and_then(|file| Some([found(file.certificate_file.as_ref()?), found(file.key_file.as_ref()?)]));
    // What the kubelet renews itself was asked for with a token.
    let own = own.filter(|[(certificate, _), _]| !certificate.ends_with("/kubelet-client-current.pem"));
    own.or_else(|| {
        let flag = |name| gathered.flag(Program::Kubelet, name).map(given);
        Some([flag("tls-cert-file")?, flag("tls-private-key-file")?])
    })
}

fn certificate(gathered: &Gathered, pair: [(&str, &Place); 2], draft: &mut Draft) {
    let [(certificate, place), (key, _)] = pair;
    draft.set(&["identity", "mode"], "certificate".into());
    draft.set(&["identity", "certFile"], certificate.into());
    draft.set(&["identity", "keyFile"], key.into());
    let why = "kept as identity.certFile: the node is known by it and serves with it, so it must be for \
               `system:node:<node.name>` in the group `system:nodes` and for client authentication too; nobody renews it \
               but you";
    draft.note(place, certificate, why);
    for name in ["tls-cert-file", "tls-private-key-file"] {
        if let Some(given) =
            gathered.flag(Program::Kubelet, name).filter(|given| ![certificate, key].contains(&given.text()))
        {
            let why = "dropped: the kubelet serves with identity.certFile, or asks for a certificate to serve with where \
                       that is none for it";
            draft.note(&given.place, &given.shown(), why);
        }
    }
}

fn bootstrap(gathered: &Gathered, token: Option<&Kubeconfig>, draft: &mut Draft) {
    draft.set(&["identity", "token"], json!({"file": TOKEN_FILE}));
    for name in ["tls-cert-file", "tls-private-key-file"] {
        if let Some(given) = gathered.flag(Program::Kubelet, name) {
            let why = "dropped: the kubelet asks for a certificate to serve with, and renews it";
            draft.note(&given.place, &given.shown(), why);
        }
    }
    let better = "better one for this node alone: kn-agent token create --node NAME --print token";
    let Some(found) = token.and_then(|file| file.token.as_ref()) else {
        let first = gathered.kubeconfigs.first().map(|file| Place::file(&file.file));
        let place = first.unwrap_or_else(|| Place::file("identity.token".as_ref()));
        let why = format!("to come from {TOKEN_FILE} (mode 0600): no file holds one; {better}");
        draft.note(&place, "bootstrap token", &why);
        return;
    };
    let why = match &found.shown {
        Some(_) => format!(
            "not repeated here: put it alone into {TOKEN_FILE} (mode 0600), which identity.token names; {better}"
        ),
        None => format!(
            "not repeated here, and no bootstrap token: what {TOKEN_FILE} holds must be `[a-z0-9]{{6}}.[a-z0-9]{{16}}` or 32 \
             hexadecimal digits; {better}"
        ),
    };
    let what = found.shown.as_deref().unwrap_or("token");
    draft.note(&found.place, what, &why);
}

/// What else a kubeconfig has.
fn others(file: &Kubeconfig, draft: &mut Draft) {
    if let Some(place) = &file.embedded {
        let why = "dropped: certificates are files, or kn-agent's own to ask for; a key is not repeated here";
        draft.note(place, "client certificate and key in the kubeconfig", why);
    }
    if let Some(place) = &file.password {
        let why = "dropped: no API server takes passwords since 1.19 (kubernetes/kubernetes#89069)";
        draft.note(place, "password", why);
    }
    if let Some(place) = &file.insecure {
        let why = "dropped: kn-agent says nothing to a server that has not proven itself; `cluster.ca` says by whom";
        draft.note(place, "insecure-skip-tls-verify", why);
    }
}
