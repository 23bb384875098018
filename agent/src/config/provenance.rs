//! Where each effective value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ::config::{Value as Located, ValueKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::join;
use super::fragment::TOKEN;
use super::merge::{defaults, merge, plain};
use super::problem::nearest;
use super::shape::{Kind, Shape, keys};
use super::{ConfigErrors, HostFacts, Problem};
use crate::redact::{self, REDACTED};

/// Other programs' configurations: what a key of theirs holds is known by its name alone.
const FOREIGN: [&str; 5] =
    ["runtime.daemonJson.", "kubelet.config.", "kubelet.extraArgs.", "proxy.config.", "proxy.extraArgs."];

/// Values that are found on the machine when they are needed, unless they are written.
const LATER: [(&str, &str); 6] = [
    ("cluster.dns.address", "the cluster's Service `kube-system/kube-dns`, where there is one"),
    ("kubelet.binary", "searched for in the usual directories"),
    ("network.binDir", "the first usual directory that holds the plugins the configuration needs"),
    ("node.address", "the one in node.addressFrom, else the source address of the route to `cluster.server`"),
    ("proxy.binary", "searched for in the usual directories"),
    ("runtime.criDockerd", "searched for in the usual directories"),
];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// It holds where nothing is written.
    Default,
    /// It follows from something else.
    Computed {
        /// How.
        how: String,
        /// From what.
        inputs: Vec<String>,
    },
    /// A file.
    File {
        /// Its path, as the operator knows it.
        path: PathBuf,
        /// The line in it.
        line: Option<u32>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
}

impl Origin {
    /// As the `config` crate carries it: one text.
    pub(super) fn encoded(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a merged value carries.
    pub(super) fn of(value: &Located) -> Option<Self> {
        serde_json::from_str(value.origin()?).ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Computed { how, inputs } if inputs.is_empty() => write!(f, "computed: {how}"),
            Self::Computed { how, inputs } => write!(f, "computed: {how} (from {})", inputs.join(", ")),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
        }
    }
}

/// An effective value and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The value; `null` while it is still to be found, `[redacted]` where it is secret.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where each effective value comes from. Holds no secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    leaves: BTreeMap<String, Leaf>,
    effective: Value,
}

impl Provenance {
    /// Reads the origins off merged values.
    pub(super) fn of(merged: &Located) -> Self {
        let mut leaves = BTreeMap::new();
        let effective = collect("", merged, &mut leaves).unwrap_or_else(|| Value::Object(Map::new()));
        for (path, how) in LATER {
            let origin = Origin::Computed { how: how.to_owned(), inputs: Vec::new() };
            leaves.entry(path.to_owned()).or_insert(Leaf { value: Value::Null, origin });
        }
        Self { leaves, effective }
    }

    /// What every key has where nothing is configured.
    ///
    /// # Errors
    ///
    /// The defaults can't be merged.
    pub fn unconfigured(host: &HostFacts) -> Result<Self, ConfigErrors> {
        let problem = |error: ::config::ConfigError| Problem::new("", &error.to_string());
        let merged = merge(vec![defaults(host)])
            .map_err(|error| ConfigErrors { problems: vec![problem(error)], not_configured: false })?;
        Ok(Self::of(&merged.cache))
    }

    /// The effective configuration, in the form of a file, defaults filled in, secrets redacted.
    pub fn effective(&self) -> &Value {
        &self.effective
    }

    /// Every effective value by its dotted path.
    pub fn leaves(&self) -> &BTreeMap<String, Leaf> {
        &self.leaves
    }

    /// Where the value at `path`, or the first one below it, comes from.
    pub(super) fn locate(&self, path: &str) -> Option<&Origin> {
        let leaf = self.leaves.get(path).or_else(|| self.below(path).next().map(|(_, leaf)| leaf));
        leaf.map(|leaf| &leaf.origin)
    }

    /// Where `path`, which may lead into a list, is written: the nearest value on the way to it.
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        let path = path.split('[').next()?;
        self.locate(path).or_else(|| self.origin(path.rsplit_once('.')?.0))
    }

    /// A problem with what is written at `path`.
    pub fn problem(&self, path: &str, message: &str, hint: Option<&str>) -> Problem {
        let problem = Problem::new(path, message).at(self.origin(path));
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }

    /// The text at `path`, where there is one.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.leaves.get(path)?.value.as_str()
    }

    fn below<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a String, &'a Leaf)> {
        let prefix = join(path, "");
        self.leaves.iter().filter(move |(known, _)| known.starts_with(&prefix))
    }

    /// What the key at `path` means, holds, and where that comes from.
    ///
    /// # Errors
    ///
    /// There is no such key; the problem names the nearest one.
    pub fn explain(&self, path: &str) -> Result<Explanation, ConfigErrors> {
        let Some(shape) = Shape::root().find(path) else {
            return Err(ConfigErrors { problems: vec![unknown(path)], not_configured: false });
        };
        let mut leaves: Vec<(String, Leaf)> =
            self.below(path).map(|(known, leaf)| (known.clone(), leaf.clone())).collect();
        leaves.extend(self.leaves.get(path).map(|leaf| (path.to_owned(), leaf.clone())));
        let kind = match &shape.kind {
            Kind::Free | Kind::Texts if self.leaves.contains_key(path) => None,
            kind => Some(kind.expected()),
        };
        Ok(Explanation { path: path.to_owned(), doc: shape.doc.clone(), kind, leaves })
    }
}

/// The values at and below `path`, secrets redacted; `None` where nothing stands.
fn collect(path: &str, value: &Located, leaves: &mut BTreeMap<String, Leaf>) -> Option<Value> {
    if let ValueKind::Table(table) = &value.kind {
        let below: Map<String, Value> = table
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), collect(&join(path, key), value, leaves)?)))
            .collect();
        return Some(Value::Object(below));
    }
    // Without an origin it was taken away, not set.
    let origin = Origin::of(value)?;
    let secret = path.strip_prefix(TOKEN) == Some(".value");
    let mut shown = if secret { REDACTED.into() } else { plain(value) };
    if FOREIGN.iter().any(|foreign| path.starts_with(foreign)) {
        redact::value(path.rsplit('.').next().unwrap_or(path), &mut shown);
    }
    leaves.insert(path.to_owned(), Leaf { value: shown.clone(), origin });
    Some(shown)
}

fn unknown(path: &str) -> Problem {
    let known = keys();
    let problem = Problem::new(path, "unknown key");
    match nearest(path, known.iter().map(|key| key.path.as_str())) {
        Some(meant) => problem.hint(&format!("did you mean `{meant}`?")),
        None => problem.hint("`kn-agent config schema` lists every key"),
    }
}

/// What a key means, holds, and where that comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The key.
    pub path: String,
    /// Its manual.
    pub doc: String,
    /// What it may hold; `None` for a key in another program's configuration.
    pub kind: Option<String>,
    /// The effective value, or all of them below a group.
    pub leaves: Vec<(String, Leaf)>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path)?;
        writeln!(f, "  {}", self.doc)?;
        if let Some(kind) = &self.kind {
            writeln!(f, "  holds: {kind}")?;
        }
        if self.leaves.is_empty() {
            writeln!(f, "  value: not set")?;
        }
        for (path, leaf) in &self.leaves {
            let value = match &leaf.value {
                Value::Null if matches!(leaf.origin, Origin::Computed { .. }) => {
                    "found when needed".to_owned()
                }
                Value::String(text) => text.trim_end().to_owned(),
                other => other.to_string(),
            };
            let name = if *path == self.path { "value" } else { path.as_str() };
            writeln!(f, "  {name}: {value}\n    source: {}", leaf.origin)?;
        }
        Ok(())
    }
}
