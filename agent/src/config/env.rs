//! Environment variables as a layer: `KN_AGENT_CLUSTER__SERVER` is `cluster.server`.
//!
//! Upper and lower case count alike and single underscores are free (`POD_CIDR`, `PODCIDR`). The value is read by the
//! type of its key: text as it stands, a list separated by commas, a mapping as YAML (`{key: value}`). An empty variable
//! sets nothing.

use std::collections::BTreeMap;

use ::config::Value as Located;

use super::Origin;
use super::check::{Reader, join, refuse_both};
use super::merge::Layer;
use super::problem::{Findings, Problem, nearest};
use super::shape::{Kind, Shape};
use super::tree::Tree;

const PREFIX: &str = "KN_AGENT_";

/// The variable of our prefix that is no configuration: it steers the program's own log.
const LOG: &str = "KN_AGENT_LOG";

/// What the environment sets.
pub(super) fn env_layer(variables: &[(String, String)], findings: &mut Findings) -> Layer {
    let mut layer = Layer::default();
    for (variable, text) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        if variable == LOG {
            continue;
        }
        let origin = Origin::Environment { variable: variable.clone() };
        match resolve(name) {
            // An unknown variable is refused even while it is empty; a known one then sets nothing.
            Ok(_) if text.is_empty() => {}
            Ok((path, shape)) => {
                if let Some(value) = value(&path, shape, text, &origin, findings) {
                    layer.set(&path, value);
                }
            }
            Err(Unknown { hint, meant }) => {
                findings.note(Problem::new("", "unknown variable").at(Some(&origin)).hint(&hint));
                if let Some(path) = meant {
                    findings.excuse(&path);
                }
            }
        }
    }
    refuse_both(&layer, findings);
    layer
}

/// What to do about an unknown variable, and the key it was probably meant for.
struct Unknown {
    hint: String,
    meant: Option<String>,
}

/// The key that `name`, a variable without its prefix, stands for; otherwise what was probably meant.
fn resolve(name: &str) -> Result<(String, &'static Shape), Unknown> {
    let mut path = String::new();
    let mut shape = Shape::root();
    for segment in name.split("__") {
        match &shape.kind {
            Kind::Group(keys) => match keys.iter().find(|(key, _)| folded(key) == folded(segment)) {
                Some((key, below)) => {
                    path = join(&path, key);
                    shape = below;
                }
                None => return Err(nearest_variable(name)),
            },
            Kind::Texts | Kind::Free => {
                let hint = format!("set {} to a mapping, `{{key: value}}`", variable(&path));
                return Err(Unknown { hint, meant: Some(path) });
            }
            _ => return Err(nearest_variable(name)),
        }
    }
    if let Some(keys) = shape.keys() {
        let first = keys.keys().next().map(|key| variable(&join(&path, key))).unwrap_or_default();
        let hint = format!("it stands for a group; name one of its keys, e.g. {first}");
        return Err(Unknown { hint, meant: Some(path) });
    }
    Ok((path, shape))
}

/// Nested keys are parted by `__`, so a single `_` says nothing.
fn folded(key: &str) -> String {
    key.replace('_', "").to_ascii_lowercase()
}

/// The variable for the key at `path`.
fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase())
}

fn nearest_variable(name: &str) -> Unknown {
    let mut known = BTreeMap::new();
    collect("", Shape::root(), &mut known);
    let whole = format!("{PREFIX}{name}");
    match nearest(&whole, known.keys().map(String::as_str)) {
        Some(meant) => Unknown { hint: format!("did you mean {meant}?"), meant: known.get(meant).cloned() },
        None => Unknown {
            hint: "keys are nested with `__`, e.g. KN_AGENT_CLUSTER__SERVER".to_owned(),
            meant: None,
        },
    }
}

fn collect(path: &str, shape: &Shape, known: &mut BTreeMap<String, String>) {
    match shape.keys() {
        Some(keys) => keys.iter().for_each(|(key, below)| collect(&join(path, key), below, known)),
        None => {
            known.insert(variable(path), path.to_owned());
        }
    }
}

/// `text` by the type of the key at `path`.
fn value(path: &str, shape: &Shape, text: &str, origin: &Origin, findings: &mut Findings) -> Option<Located> {
    let encoded = origin.encoded();
    match &shape.kind {
        Kind::Text => Some(Located::new(Some(&encoded), text)),
        Kind::List | Kind::TextOrList => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Located::new(Some(&encoded), items.map(ToOwned::to_owned).collect::<Vec<_>>()))
        }
        _ => match Tree::parse(text) {
            Ok(tree) => Reader { text, origin: &|_| origin.clone(), findings }.value(path, &tree, shape),
            Err(error) => {
                findings.add(Problem::new(path, &error.message).at(Some(origin)));
                None
            }
        },
    }
}
