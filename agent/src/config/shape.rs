//! The known keys and what each holds, read off the schema of a fragment: the one place that names them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

use super::check::join;
use super::fragment::flat_schema;

/// A key of the configuration and its manual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it is, dotted.
    pub path: String,
    /// What it may hold.
    pub holds: String,
    /// Its manual.
    pub doc: String,
    /// Whether it is a mapping whose keys follow.
    pub is_group: bool,
}

/// Every key; a group before the keys in it.
pub fn keys() -> Vec<Key> {
    fn walk(path: &str, shape: &Shape, keys: &mut Vec<Key>) {
        for (key, below) in shape.keys().into_iter().flatten() {
            let path = join(path, key);
            keys.push(Key {
                path: path.clone(),
                holds: below.kind.expected(),
                doc: below.doc.clone(),
                is_group: below.keys().is_some(),
            });
            walk(&path, below, keys);
            if let Kind::Groups(of_each) = &below.kind {
                let each = Shape { doc: String::new(), kind: Kind::Group(of_each.clone()) };
                walk(&format!("{path}[]"), &each, keys);
            }
        }
    }
    let mut keys = Vec::new();
    walk("", Shape::root(), &mut keys);
    keys
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Its manual.
    pub(super) doc: String,
    /// The type of its value.
    pub(super) kind: Kind,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A mapping with these keys.
    Group(BTreeMap<String, Shape>),
    /// A mapping from any key to text.
    Texts,
    /// A mapping of anything: another program's own configuration.
    Free,
    /// Text.
    Text,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(Vec<String>),
    /// A list of texts.
    List,
    /// Text, or a list of texts.
    TextOrList,
    /// A list of mappings with these keys.
    Groups(BTreeMap<String, Shape>),
}

impl Kind {
    /// What is expected, for a message.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Group(keys) => {
                let names: Vec<String> = keys.keys().map(|key| format!("`{key}`")).collect();
                format!("a mapping with {}", names.join(", "))
            }
            Self::Texts => "a mapping of names to text".to_owned(),
            Self::Free => "a mapping".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                if words.len() > 2 { format!("one of {}", words.join(", ")) } else { words.join(" or ") }
            }
            Self::List => "a list of texts".to_owned(),
            Self::TextOrList => "text or a list of texts".to_owned(),
            Self::Groups(keys) => {
                let names: Vec<String> = keys.keys().map(|key| format!("`{key}`")).collect();
                format!("a list of mappings with {}", names.join(", "))
            }
        }
    }
}

impl Shape {
    /// The shape of a whole file.
    pub(super) fn root() -> &'static Self {
        static ROOT: OnceLock<Shape> = OnceLock::new();
        ROOT.get_or_init(|| Self::of(&flat_schema()))
    }

    /// The keys below, where there are known ones.
    pub(super) fn keys(&self) -> Option<&BTreeMap<String, Self>> {
        match &self.kind {
            Kind::Group(keys) => Some(keys),
            _ => None,
        }
    }

    /// The shape at a dotted `path`; below a free mapping that of the mapping.
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        let mut here = self;
        for key in path.split('.') {
            match &here.kind {
                Kind::Group(keys) => here = keys.get(key)?,
                Kind::Texts | Kind::Free => return Some(here),
                _ => return None,
            }
        }
        Some(here)
    }

    fn of(schema: &Value) -> Self {
        let doc = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        // A doc comment wraps where the source does.
        Self { doc: doc.split_whitespace().collect::<Vec<_>>().join(" "), kind: kind(schema) }
    }
}

/// The type that `schema` describes; `Option` adds a `null`, which is no type of its own here.
fn kind(schema: &Value) -> Kind {
    if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        let real: Vec<&Value> = choices.iter().filter(|choice| !is_type(choice, "null")).collect();
        return match real.as_slice() {
            [one] => words(schema).map_or_else(|| kind(one), Kind::Choice),
            several if several.iter().any(|choice| is_type(choice, "array")) => Kind::TextOrList,
            _ => Kind::Choice(words(schema).unwrap_or_default()),
        };
    }
    if let Some(words) = words(schema) {
        return Kind::Choice(words);
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        return Kind::Group(properties.iter().map(|(key, value)| (key.clone(), Shape::of(value))).collect());
    }
    if is_type(schema, "object") {
        let of_text = schema.get("additionalProperties").is_some_and(|value| is_type(value, "string"));
        return if of_text { Kind::Texts } else { Kind::Free };
    }
    if is_type(schema, "array") {
        return match schema.get("items").map(kind) {
            Some(Kind::Group(keys)) => Kind::Groups(keys),
            _ => Kind::List,
        };
    }
    if is_type(schema, "boolean") { Kind::Flag } else { Kind::Text }
}

/// The words an enumeration allows.
fn words(schema: &Value) -> Option<Vec<String>> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word.to_owned()]);
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return Some(list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect());
    }
    let choices = schema.get("oneOf")?.as_array()?;
    let all: Vec<String> = choices.iter().filter_map(words).flatten().collect();
    (!all.is_empty()).then_some(all)
}

/// Whether `schema` allows values of the JSON type `name`.
fn is_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(several)) => several.iter().any(|one| one == name),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shape_knows_the_type_of_every_key() {
        let words = |list: &[&str]| Kind::Choice(list.iter().map(ToString::to_string).collect());
        for (path, kind) in [
            ("apiVersion", words(&["kn-agent.io/v1alpha1"])),
            ("kind", words(&["NodeConfig"])),
            ("cluster.server", Kind::Text),
            ("cluster.podCIDR", Kind::Text),
            ("cluster.dns.address", Kind::TextOrList),
            ("identity.mode", words(&["bootstrap", "certificate"])),
            ("cluster.ca.pins", Kind::List),
            ("identity.key", words(&["ecdsa-p256", "rsa-2048"])),
            ("identity.token.value", Kind::Text),
            ("node.labels", Kind::Texts),
            ("node.taints", Kind::List),
            ("runtime.kind", words(&["docker", "containerd"])),
            ("runtime.daemonJson", Kind::Free),
            ("network.plugin", words(&["bridge", "calico", "flannel", "none"])),
            ("kubelet.config", Kind::Free),
            ("kubelet.extraArgs", Kind::Texts),
            ("kubelet.reserved", words(&["none", "auto"])),
            ("proxy.enabled", Kind::Flag),
            ("proxy.mode", words(&["iptables", "nftables", "ipvs"])),
            ("preflight.ignore", Kind::List),
        ] {
            assert_eq!(Shape::root().find(path).unwrap().kind, kind, "{path}");
        }
    }

    #[test]
    fn every_key_has_a_manual() {
        let keys = keys();
        for Key { path, doc, .. } in &keys {
            assert!(!doc.is_empty(), "`{path}` has no doc comment");
        }
        assert!(keys.iter().any(|key| key.path == "cluster.dns.domain"), "{keys:?}");
    }
}
