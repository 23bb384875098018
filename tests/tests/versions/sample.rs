//! Documents made of the data: a value of the right kind for every field, or of another kind for one.

use kn_agent::desired::versions::{Component, Setting, Sort, settings};
use serde_json::{Map, Value, json};

use crate::program::Program;

/// The fields of a component's object, of every version.
pub(crate) fn fields(program: &Program) -> impl Iterator<Item = &'static Setting> + '_ {
    settings().iter().filter(|s| s.component == program.component && s.sort == Sort::Field)
}

/// The object with nothing in it.
pub(crate) fn empty(component: Component) -> Value {
    match component {
        Component::Kubelet => {
            json!({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"})
        }
        Component::KubeProxy => {
            json!({"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"})
        }
    }
}

/// A value of this kind.
pub(crate) fn of_kind(setting: &Setting, kind: &str) -> Value {
    if let Some(item) = kind.strip_prefix("[]") {
        return json!([of_kind(setting, item)]);
    }
    if let Some(item) = kind.strip_prefix("{}") {
        // A gate that every version has; an unknown one is no matter of kinds.
        return json!({"AllAlpha": if item == "bool" { json!(false) } else { of_kind(setting, item) }});
    }
    match kind {
        "bool" => json!(true),
        "int" => json!(1),
        "float" => json!(0.5),
        "duration" | "any" => json!("1s"),
        "quantity" => json!("1"),
        "object" => json!({}),
        _ if setting.name.ends_with("timeAdded") => json!("2026-01-01T00:00:00Z"),
        _ => json!("x"),
    }
}

/// A value of another kind; `None` where the component takes several.
pub(crate) fn of_another_kind(kind: &str) -> Option<Value> {
    match kind {
        "any" | "quantity" => None,
        "text" | "duration" => Some(json!(5)),
        _ => Some(json!("x")),
    }
}

/// Sets the field with this name, and what it stands in.
pub(crate) fn set(document: &mut Value, name: &str, value: Value) {
    let (key, rest) = name.split_once('.').unwrap_or((name, ""));
    let bare = key.trim_end_matches("[]").trim_end_matches("{}");
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let slot = &mut document[bare];
    if rest.is_empty() {
        // What stands in it came first: objects are named before their fields.
        *slot = value;
    } else if key.ends_with("[]") {
        if !slot.is_array() {
            *slot = json!([{}]);
        }
        set(&mut slot[0], rest, value);
    } else {
        set(slot, rest, value);
    }
}
