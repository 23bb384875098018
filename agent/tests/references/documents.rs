//! `docs/reference/documents.md`: what commands print for programs.

use std::collections::BTreeSet;
use std::fmt::Write;

use kn_agent::cli::{cluster, token};
use kn_agent::cluster::init::Outcome;
use kn_agent::cluster::status::Status;
use kn_agent::cluster::token::Tokens;
use kn_agent::status::certs::{self, Certs};
use kn_agent::status::checks::{self, Checks};
use kn_agent::status::preview::{self, Preview};
use kn_agent::status::settings::{self, Settings};
use kn_agent::status::timeline::{self, Timeline};
use kn_agent::status::{self, Document};
use schemars::{Schema, schema_for};
use serde_json::{Map, Value};

use crate::table::table;

const HEAD: &str = "`-o json` prints a document for programs, `-o yaml` the same as YAML. Its `schema` names its shape: within one version
a field is only ever added, so a program ignores those it does not know. Times are RFC 3339 in UTC. Phases are those of
[phases](../phases.md), reasons those of [reasons](reasons.md).
";

pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned();
    let documents = [
        ("kn-agent status", status::SCHEMA, schema_for!(Document)),
        ("kn-agent plan", preview::SCHEMA, schema_for!(Preview)),
        ("kn-agent check", checks::SCHEMA, schema_for!(Checks)),
        ("kn-agent check --for", settings::SCHEMA, schema_for!(Settings)),
        ("kn-agent timeline", timeline::SCHEMA, schema_for!(Timeline)),
        ("kn-agent certs", certs::SCHEMA, schema_for!(Certs)),
        ("kn-agent cluster init", cluster::INIT_SCHEMA, schema_for!(Outcome)),
        ("kn-agent cluster status", cluster::STATUS_SCHEMA, schema_for!(Status)),
        ("kn-agent token list", token::SCHEMA, schema_for!(Tokens)),
    ];
    let mut told = BTreeSet::new();
    for (command, name, schema) in documents {
        let _ = writeln!(text, "\n## {command}: `{name}`\n");
        section(&mut text, name, &schema, &mut told);
    }
    text
}

/// The fields of a document, then those of what is in it, as far as they have not been told.
fn section(text: &mut String, name: &str, schema: &Schema, told: &mut BTreeSet<String>) {
    let schema = schema.clone().to_value();
    let mut fields = fields(&schema);
    fields.retain(|[field, ..]| field != "`schema`");
    fields.insert(0, ["`schema`".to_owned(), "text".to_owned(), format!("`{name}`.")]);
    text.push_str(&table(["field", "holds", "meaning"], fields));
    let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
    for name in in_reading_order(&schema, &definitions) {
        if !told.insert(name.clone()) {
            continue;
        }
        let definition = &definitions[&name];
        let _ = writeln!(text, "\n{}: {}\n", bold(&name), doc(definition));
        text.push_str(&match definition["oneOf"].as_array() {
            Some(words) => {
                table(["word", "meaning"], words.iter().map(|word| [code(&word["const"]), doc(word)]))
            }
            None => table(["field", "holds", "meaning"], self::fields(definition)),
        });
    }
}

/// Definitions as they are met from the top.
fn in_reading_order(schema: &Value, definitions: &Map<String, Value>) -> Vec<String> {
    fn walk(
        value: &Value,
        definitions: &Map<String, Value>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) {
        match value {
            Value::Object(map) => {
                if let Some(name) = map.get("$ref").and_then(referred)
                    && seen.insert(name.clone())
                {
                    order.push(name.clone());
                    walk(&definitions[&name], definitions, seen, order);
                }
                map.iter()
                    .filter(|(key, _)| *key != "$defs")
                    .for_each(|(_, v)| walk(v, definitions, seen, order));
            }
            Value::Array(list) => list.iter().for_each(|v| walk(v, definitions, seen, order)),
            _ => {}
        }
    }
    let mut order = Vec::new();
    walk(schema, definitions, &mut BTreeSet::new(), &mut order);
    order
}

fn fields(schema: &Value) -> Vec<[String; 3]> {
    let properties = schema["properties"].as_object().unwrap();
    properties.iter().map(|(name, field)| [format!("`{name}`"), holds(field), doc(field)]).collect()
}

fn holds(field: &Value) -> String {
    if let Some(name) = field.get("$ref").and_then(referred) {
        return bold(&name);
    }
    if let Some(choices) = field["anyOf"].as_array() {
        return choices.iter().map(holds).collect::<Vec<_>>().join(" or ");
    }
    let word = |kind: &Value| match kind.as_str().unwrap() {
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "null" => "null".to_owned(),
        "array" => format!("list of {}", holds(&field["items"])),
        other => panic!("what is {other} called?"),
    };
    match &field["type"] {
        Value::Array(kinds) => kinds.iter().map(word).collect::<Vec<_>>().join(" or "),
        kind => word(kind),
    }
}

fn referred(reference: &Value) -> Option<String> {
    Some(reference.as_str()?.rsplit('/').next()?.to_owned())
}

fn bold(name: &str) -> String {
    format!("**{name}**")
}

fn code(word: &Value) -> String {
    format!("`{}`", word.as_str().unwrap())
}

fn doc(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
