//! Whether a value is of the kind that a setting holds, as the component itself would read it.

use serde_json::Value;

/// Whether JSON `value` can stand in a field of this kind. Structure below lists, mappings and objects is the caller's.
pub(super) fn fits(kind: &str, value: &Value) -> bool {
    match (kind, value) {
        // Go leaves the default where it reads null.
        ("any", _)
        | (_, Value::Null)
        | ("bool", Value::Bool(_))
        | ("float" | "quantity", Value::Number(_))
        | ("text" | "quantity", Value::String(_)) => true,
        (kind, Value::Array(_)) => kind.starts_with("[]"),
        (kind, Value::Object(_)) => kind == "object" || kind.starts_with("{}"),
        ("int", Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        ("duration", Value::String(text)) => is_duration(text),
        _ => false,
    }
}

/// Whether the text of a flag is one of this kind.
pub(super) fn fits_text(kind: &str, text: &str) -> bool {
    match kind {
        // As Go's strconv.ParseBool.
        "bool" => {
            ["1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"].contains(&text)
        }
        "int" => is_int(text),
        "float" => text.parse::<f64>().is_ok(),
        "duration" => is_duration(text),
        _ => true,
    }
}

/// Go also takes other bases and underscores between digits.
fn is_int(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && (digits.starts_with('0') || digits.chars().all(|c| c.is_ascii_digit() || c == '_'))
}

/// What is to be written instead.
pub(super) fn expected(kind: &str) -> String {
    if let Some(item) = kind.strip_prefix("[]") {
        return format!("a list of {}", plural(item));
    }
    if let Some(item) = kind.strip_prefix("{}") {
        return format!("a mapping to {}", plural(item));
    }
    match kind {
        "bool" => "true or false",
        "int" => "a whole number",
        "float" => "a number",
        "duration" => "a duration such as `10s` or `1m30s`",
        "quantity" => "a quantity such as `500Mi`",
        "object" => "a mapping",
        _ => "a text in quotes",
    }
    .to_owned()
}

fn plural(kind: &str) -> String {
    match kind {
        "bool" => "true or false".to_owned(),
        "int" => "whole numbers".to_owned(),
        "float" => "numbers".to_owned(),
        "duration" => "durations".to_owned(),
        "quantity" => "quantities".to_owned(),
        "object" => "mappings".to_owned(),
        "text" => "texts".to_owned(),
        other => expected(other),
    }
}

/// Go's time.ParseDuration: a sign, then numbers with units, or 0 alone.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = rest.get(..rest.len() - after.len()).unwrap_or_default();
        if number.parse::<f64>().is_err() {
            return false;
        }
        let unit = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].iter().find_map(|u| after.strip_prefix(u));
        match unit {
            Some(below) => rest = below,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for text in ["0", "0s", "10s", "1m30s", "1.5h", ".5s", "-1ms", "3µs", "1h2m3s4ms"] {
            assert!(is_duration(text), "{text}");
        }
        for text in ["", "-", "10", "s", "10 s", "1d", "1m30", "1..5s", "ten seconds"] {
            assert!(!is_duration(text), "{text}");
        }
    }

    #[test]
    fn values_fit_their_kind_and_no_other() {
        let values = [
            ("bool", json!(true)),
            ("int", json!(110)),
            ("float", json!(0.5)),
            ("text", json!("a")),
            ("[]text", json!([])),
            ("{}bool", json!({})),
        ];
        for (kind, _) in &values {
            for (other, value) in &values {
                // A whole number is a number, and an object is as good as a mapping.
                let fitting = kind == other || (*kind == "float" && *other == "int");
                assert_eq!(fits(kind, value), fitting, "{kind} {value}");
            }
            assert!(fits(kind, &Value::Null) && fits("any", &json!([{}])));
        }
        assert!(fits("int", &json!(5.0)) && fits("quantity", &json!("1Gi")) && fits("quantity", &json!(5)));
        assert!(
            fits("object", &json!({})) && !fits("duration", &json!(10)) && fits("duration", &json!("10s"))
        );
    }

    #[test]
    fn flags_are_texts_of_a_kind() {
        assert!(fits_text("bool", "true") && !fits_text("bool", "yes") && !fits_text("bool", ""));
        assert!(fits_text("int", "110") && fits_text("int", "0x10") && !fits_text("int", "many"));
        assert!(fits_text("int", "-1") && !fits_text("int", "-") && !fits_text("int", "5m"));
        assert!(fits_text("duration", "1m") && !fits_text("duration", "60") && fits_text("text", ""));
        assert!(fits_text("float", "0.5") && !fits_text("float", "half"));
    }
}
