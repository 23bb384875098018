//! YAML text as a tree that remembers the line of every key and value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Error, Location, Spanned};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub(crate) line: u32,
    pub(crate) node: Node,
    /// The bytes of a scalar in the text, for the digits as they were written: `1.30` is no `1.3` where text is expected.
    range: Option<(usize, usize)>,
}

/// What stands there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    /// A boolean, a number or text.
    Scalar(Value),
    List(Vec<Tree>),
    /// In the order written.
    Map(Vec<(Key, Tree)>),
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) line: u32,
}

/// Why a text is no YAML. Never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    pub(crate) line: Option<u32>,
    pub(crate) message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Tree {
    /// Reads a YAML document; an empty one is `Null`.
    pub(crate) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let tree: Option<Self> = serde_saphyr::from_str(text).map_err(|error| syntax_error(&error))?;
        Ok(tree.unwrap_or(Self { line: 1, node: Node::Null, range: None }))
    }

    /// A scalar as it was written in `text`.
    pub(crate) fn written(&self, text: &str) -> Option<String> {
        let Node::Scalar(value) = &self.node else { return None };
        if let Value::String(string) = value {
            return Some(string.clone());
        }
        let raw = self.range.and_then(|(start, end)| text.get(start..end)).map(str::trim);
        Some(raw.filter(|raw| !raw.is_empty()).map_or_else(|| value.to_string(), ToOwned::to_owned))
    }

    /// The kind of value, for a message that must not show it.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.node {
            Node::Null => "nothing",
            Node::Scalar(Value::Bool(_)) => "a boolean",
            Node::Scalar(Value::Number(_)) => "a number",
            Node::Scalar(_) => "text",
            Node::List(_) => "a list",
            Node::Map(_) => "a mapping",
        }
    }
}

/// The line of `location`, where it is known.
fn line(location: Location) -> Option<u32> {
    u32::try_from(location.line()).ok().filter(|line| *line > 0)
}

/// What is told of an error met where any value is taken: a parser for a type of its own would quote the value.
pub(crate) fn syntax_error(error: &Error) -> SyntaxError {
    let error = error.without_snippet();
    // Only texts that can't hold a piece of the file: it may be the token.
    let message = match error {
        Error::DuplicateMappingKey { .. } => "a key is written twice in the same mapping",
        Error::MultipleDocuments { .. } => "more than one document; write one a file",
        Error::UnknownAnchor { .. } => "an alias (`*name`) has no anchor (`&name`)",
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::Budget { .. } => "too large or too deeply nested",
        Error::Eof { .. } => "the text ends too early",
        // The parser's own texts; they hold a single character of the file at most.
        Error::ExternalMessage { msg, .. } | Error::Message { msg, .. } => msg,
        _ => "not understood",
    };
    SyntaxError { line: error.location().and_then(line), message: format!("no valid YAML: {message}") }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Node>::deserialize(deserializer)?;
        let span = spanned.defined.span();
        let range = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
            let start = usize::try_from(start).ok()?;
            Some((start, start.checked_add(usize::try_from(length).ok()?)?))
        });
        Ok(Self { line: line(spanned.referenced).unwrap_or(0), node: spanned.value, range })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Tree>()? {
            let line = line(key.referenced).unwrap_or(value.line);
            map.push((Key { name: key.value, line }, value));
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn get<'a>(tree: &'a Tree, key: &str) -> &'a Tree {
        let Node::Map(map) = &tree.node else { panic!("{key}: no mapping") };
        &map.iter().find(|(name, _)| name.name == key).unwrap().1
    }

    #[test]
    fn tree_remembers_lines_and_digits() {
        let text = "# ä\na: 1.30\nb:\n  c: 0644\n  d: [x, 5]\ne: yes\nf: ~\n";
        let tree = Tree::parse(text).unwrap();
        assert_eq!(get(&tree, "a").written(text).unwrap(), "1.30");
        assert_eq!(get(get(&tree, "b"), "c").written(text).unwrap(), "0644");
        assert_eq!(get(get(&tree, "b"), "d").line, 5);
        assert_eq!(get(&tree, "e").written(text).unwrap(), "yes");
        assert_eq!(get(&tree, "f").node, Node::Null);
        let Node::Map(map) = &tree.node else { panic!() };
        assert_eq!(map.iter().map(|(key, _)| key.line).collect::<Vec<_>>(), [2, 3, 6, 7]);
    }

    #[test]
    fn empty_text_is_null() {
        for text in ["", "# a comment\n", "---\n", "---\n# a comment\n"] {
            assert_eq!(Tree::parse(text).unwrap().node, Node::Null, "{text:?}");
        }
    }

    #[test]
    fn aliases_keep_their_digits() {
        let text = "a: &x 1.30\nb: *x\n";
        let tree = Tree::parse(text).unwrap();
        assert_eq!(get(&tree, "b").written(text).unwrap(), "1.30");
        assert_eq!(get(&tree, "b").line, 2);
    }
}
