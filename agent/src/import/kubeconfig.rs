//! Kubeconfigs: the server, its CA, and whom they make of their reader. No secret of theirs is kept.

use std::path::PathBuf;

use super::Input;
use super::draft::{Draft, Place};
use crate::config::{Tree, TreeNode as Node};
use crate::names::Token;

/// What one says, by its current context.
#[derive(Debug)]
pub(super) struct Kubeconfig {
    pub(super) file: PathBuf,
    pub(super) server: Option<Found>,
    pub(super) ca_file: Option<Found>,
    pub(super) ca_data: Option<Found>,
    /// Whether it does not check the server at all.
    pub(super) insecure: Option<Place>,
    pub(super) token: Option<TokenFound>,
    pub(super) certificate_file: Option<Found>,
    pub(super) key_file: Option<Found>,
    /// Certificate and key are in it.
    pub(super) embedded: Option<Place>,
    /// A password, which no API server takes any more.
    pub(super) password: Option<Place>,
}

/// A text and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) place: Place,
}

/// A token, by what may be said of it.
#[derive(Debug)]
pub(super) struct TokenFound {
    pub(super) place: Place,
    /// What may be shown; `None` where it is no token of a form that an API server issues.
    pub(super) shown: Option<String>,
}

fn get<'t>(tree: &'t Tree, path: &[&str]) -> Option<&'t Tree> {
    path.iter().try_fold(tree, |here, key| match &here.node {
        Node::Map(entries) => entries.iter().find(|(name, _)| name.name == *key).map(|(_, below)| below),
        _ => None,
    })
}

impl Kubeconfig {
    /// Reads one. `None` where the file is none; that is a problem of the file's.
    pub(super) fn read(input: &Input, draft: &mut Draft) -> Option<Self> {
        let tree = match Tree::parse(&input.text) {
            Ok(tree) => tree,
            Err(error) => {
                let place = Place { file: input.name.clone(), line: error.line };
                draft.refuse(&place, &error.message);
                return None;
            }
        };
        let text = |tree: &Tree, path: &[&str]| {
            let below = get(tree, path)?;
            Some(Found { text: below.written(&input.text)?, place: Place::line(&input.name, below.line) })
        };
        if text(&tree, &["kind"]).is_none_or(|kind| kind.text != "Config") {
            draft.refuse(&Place::file(&input.name), EXPECTED);
            return None;
        }
        let context = text(&tree, &["current-context"]);
        let context =
            named(&tree, "contexts", context.as_ref().map(|found| found.text.as_str()), &input.text);
        let part = |list: &str, key: &str| {
            let name = context.and_then(|context| text(context, &["context", key]));
            named(&tree, list, name.as_ref().map(|found| found.text.as_str()), &input.text)
        };
        let (cluster, user) = (part("clusters", "cluster"), part("users", "user"));
        let of_cluster = |key: &str| cluster.and_then(|cluster| text(cluster, &["cluster", key]));
        let of_user = |key: &str| {
            user.and_then(|user| text(user, &["user", key])).filter(|found| !found.text.is_empty())
        };
        let embedded = of_user("client-key-data").or_else(|| of_user("client-certificate-data"));
        let insecure = of_cluster("insecure-skip-tls-verify").filter(|found| found.text == "true");
        Some(Self {
            file: input.name.clone(),
            server: of_cluster("server"),
            ca_file: of_cluster("certificate-authority"),
            ca_data: of_cluster("certificate-authority-data"),
            insecure: insecure.map(|found| found.place),
            token: of_user("token").map(|found| TokenFound {
                shown: found.text.parse::<Token>().ok().map(|token| token.shown()),
                place: found.place,
            }),
            certificate_file: of_user("client-certificate"),
            key_file: of_user("client-key"),
            embedded: embedded.map(|found| found.place),
            password: of_user("password").map(|found| found.place),
        })
    }

    /// Whether a flag names this file: by its name, since it may have been copied from there.
    pub(super) fn is_named_by(&self, path: &str) -> bool {
        self.file.file_name().is_some_and(|name| path.rsplit('/').next() == name.to_str())
    }
}

const EXPECTED: &str = "expected a unit file of kubelet, kube-proxy or docker, a kubeconfig, docker's daemon.json, a CNI \
                        configuration or a request for a certificate (JSON)";

/// The entry of a list with this name; the first one where none is named.
fn named<'t>(tree: &'t Tree, list: &str, name: Option<&str>, text: &str) -> Option<&'t Tree> {
    let Node::List(entries) = &get(tree, &[list])?.node else { return None };
    match name {
        Some(name) => entries.iter().find(|entry| {
            get(entry, &["name"]).and_then(|found| found.written(text)).as_deref() == Some(name)
        }),
        None => entries.first(),
    }
}
