//! Other programs' configuration: our fields and the operator's, laid over one another and written down.

use serde_json::{Map, Value};

/// Puts `over` on top of `base`: maps merge, everything else replaces.
pub fn merge(base: &mut Value, over: &Map<String, Value>) {
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    let Value::Object(map) = base else { return };
    for (key, value) in over {
        match (map.get_mut(key), value) {
            (Some(below @ Value::Object(_)), Value::Object(inner)) => merge(below, inner),
            _ => {
                map.insert(key.clone(), value.clone());
            }
        }
    }
}

/// `fields` as YAML under a line that says whose it is. JSON is YAML: where the serializer fails, that stands.
pub fn yaml(section: &str, fields: &Value) -> String {
    let text = serde_saphyr::to_string(fields).unwrap_or_else(|_| fields.to_string());
    format!(
        "# Written by kn-agent; changes are put back. Fields belong into {section} of /etc/kn-agent/config.yaml.\n{text}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_merge_and_everything_else_replaces() {
        let mut fields = json!({"a": {"b": 1, "c": [1, 2]}, "d": 3});
        let Value::Object(over) = json!({"a": {"c": [9], "e": {}}, "d": {"f": null}}) else { panic!() };
        merge(&mut fields, &over);
        assert_eq!(fields, json!({"a": {"b": 1, "c": [9], "e": {}}, "d": {"f": null}}));
    }

    #[test]
    fn what_is_written_says_where_its_fields_belong() {
        let text = yaml("kubelet.config", &json!({"maxPods": 50, "address": "10.0.0.1"}));
        assert_eq!(
            text,
            "# Written by kn-agent; changes are put back. Fields belong into kubelet.config of \
             /etc/kn-agent/config.yaml.\naddress: \"10.0.0.1\"\nmaxPods: 50\n"
        );
    }
}
