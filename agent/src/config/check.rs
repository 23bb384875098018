//! A tree against the known keys: what fits becomes a [`Layer`], what does not becomes a problem, and reading goes on.

use std::collections::BTreeMap;
use std::path::Path;

use ::config::{Value as Located, ValueKind};
use serde_json::Value;

use super::merge::{Layer, located};
use super::problem::{Findings, Problem, nearest, shown};
use super::shape::{Kind, Shape};
use super::tree::{Key, Node, Tree};
use super::{Origin, fragment};

/// Groups of which one key is given; a later file's choice replaces an earlier one's.
pub(super) const ONE_OF: [&str; 3] = ["cluster.ca", "cluster.clientCA", "identity.token"];

/// What `text`, the content of `file`, sets.
pub(super) fn file_layer(file: &Path, text: &str, findings: &mut Findings) -> Layer {
    let origin = |line| Origin::File { path: file.to_owned(), line };
    let tree = match Tree::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            findings.add(Problem::new("", &error.message).at(Some(&origin(error.line))));
            return Layer::default();
        }
    };
    let mut reader = Reader { text, origin: &|line| origin(Some(line)), findings };
    let layer = reader.value("", &tree, Shape::root()).map(Layer::new).unwrap_or_default();
    refuse_both(&layer, findings);
    layer
}

/// Refuses two keys of a group of which one is to be given.
pub(super) fn refuse_both(layer: &Layer, findings: &mut Findings) {
    for group in ONE_OF {
        let Some(ValueKind::Table(keys)) = layer.get(group).map(|value| &value.kind) else { continue };
        let mut given: Vec<&String> = keys.keys().collect();
        given.sort();
        if let [first, .., last] = given.as_slice() {
            let origin = keys.get(*last).and_then(Origin::of);
            let message = format!("both `{first}` and `{last}` are given");
            findings.add(Problem::new(group, &message).at(origin.as_ref()).hint("keep one of them"));
        }
    }
}

/// Reads a tree along the known keys.
pub(super) struct Reader<'a> {
    /// The text the tree was read from.
    pub(super) text: &'a str,
    /// What a line of it is to be called.
    pub(super) origin: &'a dyn Fn(u32) -> Origin,
    /// Where problems go.
    pub(super) findings: &'a mut Findings,
}

impl Reader<'_> {
    /// The value at `path`; `None` where nothing is set or what is set was refused.
    pub(super) fn value(&mut self, path: &str, tree: &Tree, shape: &Shape) -> Option<Located> {
        let origin = (self.origin)(tree.line);
        match (&shape.kind, &tree.node) {
            // `Kind::Free` too: an empty `config:` is an empty mapping.
            (_, Node::Null) => None,
            (Kind::Group(keys), Node::Map(entries)) => {
                let table = self.group(path, entries, keys);
                Some(Located::new(Some(&origin.encoded()), table))
            }
            (Kind::Texts, Node::Map(entries)) => {
                let mut table = ::config::Map::new();
                for (key, value) in entries {
                    let below = join(path, &key.name);
                    let origin = (self.origin)(key.line);
                    let text = match &value.node {
                        Node::Null => Some(Located::new(Some(&origin.encoded()), String::new())),
                        _ => self.text(&below, value, &Kind::Text),
                    };
                    table.extend(text.map(|text| (key.name.clone(), text)));
                }
                Some(Located::new(Some(&origin.encoded()), table))
            }
            (Kind::Free, Node::Map(_)) => Some(self.free(tree)),
            (Kind::Text | Kind::TextOrList, Node::Scalar(_)) => self.text(path, tree, &shape.kind),
            (Kind::List | Kind::TextOrList, Node::List(items)) => {
                let items: Vec<Option<Located>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.text(&format!("{path}[{index}]"), item, &Kind::Text))
                    .collect();
                let items: Vec<Located> = items.into_iter().flatten().collect();
                Some(Located::new(Some(&origin.encoded()), items))
            }
            (Kind::Groups(keys), Node::List(items)) => {
                let groups = self.groups(path, items, keys);
                Some(Located::new(Some(&origin.encoded()), groups))
            }
            (Kind::Flag, Node::Scalar(Value::Bool(flag))) => {
                Some(Located::new(Some(&origin.encoded()), *flag))
            }
            (Kind::Choice(words), Node::Scalar(_)) => {
                let word = tree.written(self.text)?;
                if words.contains(&word) {
                    return Some(Located::new(Some(&origin.encoded()), word));
                }
                let meant = nearest(&word, words.iter().map(String::as_str));
                self.refuse(path, tree, &shape.kind, meant);
                None
            }
            _ => {
                self.refuse(path, tree, &shape.kind, None);
                None
            }
        }
    }

    /// The known keys among `entries`.
    fn group(
        &mut self,
        path: &str,
        entries: &[(Key, Tree)],
        keys: &BTreeMap<String, Shape>,
    ) -> ::config::Map<String, Located> {
        let mut table = ::config::Map::new();
        for (key, value) in entries {
            match keys.get(&key.name) {
                Some(shape) => {
                    let value = self.value(&join(path, &key.name), value, shape);
                    table.extend(value.map(|value| (key.name.clone(), value)));
                }
                None => self.refuse_key(path, key, keys.keys().map(String::as_str)),
            }
        }
        table
    }

    /// The mappings of a list.
    fn groups(&mut self, path: &str, items: &[Tree], keys: &BTreeMap<String, Shape>) -> Vec<Located> {
        let mut groups = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Node::Map(entries) = &item.node {
                let table = self.group(&path, entries, keys);
                groups.push(Located::new(Some(&(self.origin)(item.line).encoded()), table));
            } else {
                self.refuse(&path, item, &Kind::Group(keys.clone()), None);
            }
        }
        groups
    }

    /// A text, with the digits as they were written.
    fn text(&mut self, path: &str, tree: &Tree, expected: &Kind) -> Option<Located> {
        if let Some(text) = tree.written(self.text) {
            return Some(Located::new(Some(&(self.origin)(tree.line).encoded()), text));
        }
        self.refuse(path, tree, expected, None);
        None
    }

    /// Another program's configuration, as it stands.
    fn free(&self, tree: &Tree) -> Located {
        let origin = (self.origin)(tree.line).encoded();
        match &tree.node {
            Node::Null => Located::new(Some(&origin), ValueKind::Nil),
            Node::Scalar(value) => located(value, &origin),
            Node::List(items) => {
                Located::new(Some(&origin), items.iter().map(|item| self.free(item)).collect::<Vec<_>>())
            }
            Node::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.name.clone(), self.free(value)));
                Located::new(Some(&origin), entries.collect::<::config::Map<_, _>>())
            }
        }
    }

    fn refuse(&mut self, path: &str, tree: &Tree, expected: &Kind, meant: Option<&str>) {
        let found = match &tree.node {
            Node::Scalar(_) if !hidden(path) => {
                format!("`{}`", shown(&tree.written(self.text).unwrap_or_default()))
            }
            _ => tree.kind().to_owned(),
        };
        let message = format!("expected {}, found {found}", expected.expected());
        let problem = Problem::new(path, &message).at(Some(&(self.origin)(tree.line)));
        self.findings.add(match meant {
            Some(word) => problem.hint(&format!("did you mean `{word}`?")),
            None => problem,
        });
    }

    fn refuse_key<'k>(&mut self, group: &str, key: &Key, known: impl Iterator<Item = &'k str> + Clone) {
        let origin = (self.origin)(key.line);
        let meant = nearest(&key.name, known.clone());
        // A key below the token that resembles none is rather the token itself.
        let path = if hidden(group) && !group.is_empty() && meant.is_none() {
            group.to_owned()
        } else {
            join(group, &shown(&key.name))
        };
        let hint = match meant {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!(
                "known here: {}",
                known.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            ),
        };
        if let Some(word) = meant {
            self.findings.excuse(&join(group, word));
        }
        self.findings.add(Problem::new(&path, "unknown key").at(Some(&origin)).hint(&hint));
    }
}

/// Whether a value at `path` may be, or hold, the token, and must not be shown.
fn hidden(path: &str) -> bool {
    path.is_empty() || path == "identity" || path.starts_with(fragment::TOKEN)
}

/// `path` with `key` below it.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
