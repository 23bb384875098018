//! What a flag holds, as the value of its field.

use serde_json::{Map, Value, json};

use crate::config::shown;

/// What a flag holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text; a duration, a quantity and an address too.
    Text,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// Texts with commas between.
    List,
    /// `key=text` with commas between.
    Map,
    /// `key<text` with commas between.
    Thresholds,
    /// `key=true` with commas between.
    Gates,
}

impl Kind {
    /// Whether a flag of this kind may be given more than once, and all of it counts.
    pub(super) fn adds_up(self) -> bool {
        matches!(self, Self::List | Self::Map | Self::Thresholds | Self::Gates)
    }

    /// `text` as the field's value; else what was expected.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text => Ok(json!(text)),
            Self::Bool => boolean(text).map(Value::Bool),
            Self::Number => number(text),
            Self::List => Ok(parts(text).collect()),
            Self::Map => pairs(text, '=', |value| Ok(json!(value))),
            Self::Thresholds => pairs(text, '<', |value| Ok(json!(value))),
            Self::Gates => pairs(text, '=', |value| boolean(value).map(Value::Bool)),
        }
    }
}

/// A switch as Go's flags read it (`strconv.ParseBool`).
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("expected `true` or `false`, found `{}`", shown(other))),
    }
}

fn number(text: &str) -> Result<Value, String> {
    let whole = text.parse::<i64>().ok().map(|number| json!(number));
    let broken = || text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| json!(number));
    whole.or_else(broken).ok_or_else(|| format!("expected a number, found `{}`", shown(text)))
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn pairs(text: &str, sign: char, read: fn(&str) -> Result<Value, String>) -> Result<Value, String> {
    let mut map = Map::new();
    for part in parts(text) {
        let (key, value) = part
            .split_once(sign)
            .filter(|(key, value)| !key.trim().is_empty() && !value.trim().is_empty())
            .ok_or_else(|| format!("expected `key{sign}value`, found `{}`", shown(part)))?;
        map.insert(key.trim().to_owned(), read(value.trim())?);
    }
    Ok(Value::Object(map))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_what_their_field_holds() {
        for (kind, text, value) in [
            (Kind::Text, "10s", json!("10s")),
            (Kind::Bool, "T", json!(true)),
            (Kind::Number, "-999", json!(-999)),
            (Kind::Number, "2.5", json!(2.5)),
            (Kind::List, "pods, kube-reserved,", json!(["pods", "kube-reserved"])),
            (Kind::Map, "cpu=200m,pid=1000", json!({"cpu": "200m", "pid": "1000"})),
            (Kind::Thresholds, "memory.available<200Mi", json!({"memory.available": "200Mi"})),
            (Kind::Gates, "A=true,B=false", json!({"A": true, "B": false})),
        ] {
            assert_eq!(kind.read(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (kind, text, part) in [
            (Kind::Bool, "yes", "expected `true` or `false`, found `yes`"),
            (Kind::Number, "many", "expected a number"),
            (Kind::Number, "inf", "expected a number"),
            (Kind::Map, "cpu", "expected `key=value`, found `cpu`"),
            (Kind::Thresholds, "memory.available=200Mi", "expected `key<value`"),
            (Kind::Gates, "A=maybe", "expected `true`"),
        ] {
            let error = kind.read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
