//! `docs/reference/configuration.md`: every key.

use std::collections::BTreeMap;
use std::fmt::Write;

use kn_agent::config::{HostFacts, Key, Leaf, Origin, Sources, keys, load};
use serde_json::Value;

use crate::table::table;

const HEAD: &str = "In `/etc/kn-agent/config.yaml` and `/etc/kn-agent/config.d/*.yaml`, over `/usr/lib/kn-agent/config.d/*.yaml`; then in
the environment, where `KN_AGENT_CLUSTER__SERVER` is `cluster.server`. Later wins, maps merge, lists replace; a key that
does not stand here is refused. `kn-agent config explain KEY` says the same, with the value on a machine and where it
comes from.
";

pub(crate) fn text() -> String {
    let defaults = defaults();
    let mut text = HEAD.to_owned();
    let mut rest = keys();
    while !rest.is_empty() {
        let group = rest[0].path.clone();
        let below = format!("{group}.");
        let (section, other): (Vec<Key>, Vec<Key>) =
            rest.into_iter().partition(|key| key.path == group || key.path.starts_with(&below));
        rest = other;
        let mut keys = section.as_slice();
        if let [head, behind @ ..] = keys
            && head.is_group
        {
            let _ = writeln!(text, "\n## {group}\n\n{}\n", head.doc);
            keys = behind;
        } else {
            let _ = writeln!(text, "\n## {group}\n");
        }
        text += &table(["key", "holds", "default", "meaning"], keys.iter().map(|key| row(key, &defaults)));
    }
    text
}

fn row(key: &Key, defaults: &BTreeMap<String, Leaf>) -> [String; 4] {
    let (meaning, written) = match key.doc.split_once("Default: ") {
        Some((meaning, default)) => (meaning.trim(), default.trim_end_matches('.')),
        None => (key.doc.as_str(), ""),
    };
    let holds = if key.is_group { "a mapping".to_owned() } else { key.holds.clone() };
    let path = format!("`{}`", key.path);
    match defaults.get(&key.path).filter(|leaf| leaf.origin == Origin::Default) {
        // The manual is for people, the value for the program: both say the same.
        Some(leaf) => {
            let value = leaf.value.as_str().map_or_else(|| leaf.value.to_string(), ToOwned::to_owned);
            assert!(
                written.starts_with(&format!("`{value}`")),
                "{}: `{value}`, but its manual says {written:?}",
                key.path
            );
        }
        None => assert!(
            !written.starts_with('`') && (key.is_group || !written.is_empty() || is_given(&key.path)),
            "{}: no default, but its manual says {written:?}",
            key.path
        ),
    }
    let default = if written.is_empty() { "–" } else { written };
    [path, holds, default.to_owned(), meaning.to_owned()]
}

/// Keys that have no default because one has to be given, or one of several.
fn is_given(path: &str) -> bool {
    let groups = ["cluster.ca.", "cluster.clientCA.", "identity.token.", "firewall.restrict[]."];
    let keys = ["cluster.server", "identity.certFile", "identity.keyFile"];
    keys.contains(&path) || groups.iter().any(|group| path.starts_with(group))
}

/// What holds where nothing but the least is written.
fn defaults() -> BTreeMap<String, Leaf> {
    let root = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed([]).unwrap().cert.pem();
    let env = [("SERVER", "https://10.0.0.10:6443"), ("CA__DATA", &ca)]
        .map(|(key, value)| (format!("KN_AGENT_CLUSTER__{key}"), value.to_owned()));
    let sources = Sources { root: root.path().to_owned(), only: None, env: env.into() };
    let loaded =
        load(&sources, &HostFacts { hostname: "worker-1".to_owned(), ..HostFacts::default() }).unwrap();
    let leaves = loaded.provenance.leaves().clone();
    assert_eq!(leaves["proxy.enabled"].value, Value::Bool(true));
    leaves
}
