//! Layers over one another: later wins, mappings merge, lists replace. The `config` crate merges; each value carries
//! its origin through it.

use std::fmt;

use ::config::{Config, ConfigError, Map, Source, Value as Located, ValueKind};
use serde_json::{Number, Value, json};

use super::check::ONE_OF;
use super::{HostFacts, Origin};

/// What one source sets.
#[derive(Clone, Default)]
pub(super) struct Layer {
    values: Map<String, Located>,
}

impl fmt::Debug for Layer {
    /// The keys alone: a value may be the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

impl Layer {
    /// The layer of a whole file; empty where that is no mapping.
    pub(super) fn new(value: Located) -> Self {
        match value.kind {
            ValueKind::Table(values) => Self { values },
            _ => Self::default(),
        }
    }

    /// Whether it sets nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value at a dotted path.
    pub(super) fn get(&self, path: &str) -> Option<&Located> {
        let mut keys = path.split('.');
        let mut here = self.values.get(keys.next()?)?;
        for key in keys {
            let ValueKind::Table(table) = &here.kind else { return None };
            here = table.get(key)?;
        }
        Some(here)
    }

    /// Sets the value at a dotted path.
    pub(super) fn set(&mut self, path: &str, value: Located) {
        set_in(&mut self.values, path, value);
    }
}

fn set_in(table: &mut Map<String, Located>, path: &str, value: Located) {
    let Some((key, rest)) = path.split_once('.') else {
        table.insert(path.to_owned(), value);
        return;
    };
    let below = table.entry(key.to_owned()).or_insert_with(|| Map::<String, Located>::new().into());
    if !matches!(below.kind, ValueKind::Table(_)) {
        *below = Map::<String, Located>::new().into();
    }
    if let ValueKind::Table(inner) = &mut below.kind {
        set_in(inner, rest, value);
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Located>, ConfigError> {
        Ok(self.values.clone())
    }
}

/// Takes away what stood at a path.
#[derive(Debug, Clone)]
struct Clear(&'static str);

impl Source for Clear {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Located>, ConfigError> {
        Ok(Map::from_iter([(self.0.to_owned(), Located::new(None, ValueKind::Nil))]))
    }
}

/// The layers in their order, each over those before it.
pub(super) fn merge(layers: Vec<Layer>) -> Result<Config, ConfigError> {
    let mut builder = Config::builder();
    for layer in layers {
        for group in ONE_OF {
            if layer.get(group).is_some() {
                builder = builder.add_source(Clear(group));
            }
        }
        builder = builder.add_source(layer);
    }
    builder.build()
}

/// The lowest layer: what holds where nothing is written.
pub(super) fn defaults(host: &HostFacts) -> Layer {
    let mut layer = Layer::default();
    let plain = Origin::Default.encoded();
    for (path, value) in [
        ("apiVersion", json!("kn-agent.io/v1alpha1")),
        ("kind", json!("NodeConfig")),
        ("cluster.name", json!("kubernetes")),
        ("cluster.dns.domain", json!("cluster.local")),
        ("identity.mode", json!("bootstrap")),
        ("identity.key", json!("ecdsa-p256")),
        ("kubelet.reserved", json!("none")),
        ("runtime.kind", json!("docker")),
        ("runtime.sandboxImage", json!("registry.k8s.io/pause:3.10")),
        ("network.plugin", json!("none")),
        ("network.confDir", json!("/etc/cni/net.d")),
        ("proxy.enabled", json!(true)),
        ("proxy.mode", json!("iptables")),
        ("proxy.certificate.subject.commonName", json!("system:kube-proxy")),
    ] {
        layer.set(path, located(&value, &plain));
    }
    let computed = Origin::Computed {
        how: "the host name in lower case".to_owned(),
        inputs: vec![format!("host name `{}`", host.hostname)],
    };
    layer.set("node.name", located(&json!(host.hostname.to_ascii_lowercase()), &computed.encoded()));
    layer
}

/// `value` with the same origin everywhere.
pub(super) fn located(value: &Value, origin: &String) -> Located {
    let kind = match value {
        Value::Null => ValueKind::Nil,
        Value::Bool(flag) => ValueKind::Boolean(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(signed), _) => ValueKind::I64(signed),
            (None, Some(unsigned)) => ValueKind::U64(unsigned),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Array(items) => ValueKind::Array(items.iter().map(|item| located(item, origin)).collect()),
        Value::Object(map) => {
            ValueKind::Table(map.iter().map(|(key, value)| (key.clone(), located(value, origin))).collect())
        }
    };
    Located::new(Some(origin), kind)
}

/// `value` without its origins.
pub(super) fn plain(value: &Located) -> Value {
    match &value.kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(flag) => json!(flag),
        ValueKind::I64(number) => json!(number),
        ValueKind::U64(number) => json!(number),
        // Made from a `serde_json::Number`, so these always fit; nothing else makes them.
        ValueKind::I128(number) => json!(i64::try_from(*number).ok()),
        ValueKind::U128(number) => json!(u64::try_from(*number).ok()),
        ValueKind::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        ValueKind::String(text) => json!(text),
        ValueKind::Array(items) => items.iter().map(plain).collect(),
        ValueKind::Table(table) => table.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn layer(value: &Value) -> Layer {
        Layer::new(located(value, &"x".to_owned()))
    }

    fn merged(values: &[&Value]) -> Value {
        plain(&merge(values.iter().map(|value| layer(value)).collect()).unwrap().cache)
    }

    #[test]
    fn merge_goes_deep_and_replaces_lists() {
        let low = json!({"kubelet": {"config": {"a": {"b": 1, "c": 2}, "l": [1, 2], "n": 1}}, "node": {"name": "a"}});
        let high = json!({"kubelet": {"config": {"a": {"c": 3}, "l": [3], "n": null}}});
        assert_eq!(
            merged(&[&low, &high]),
            json!({"kubelet": {"config": {"a": {"b": 1, "c": 3}, "l": [3], "n": null}}, "node": {"name": "a"}})
        );
    }

    #[test]
    fn merge_keeps_keys_with_dots_and_case() {
        let labels = json!({"node": {"labels": {"example.com/A.b": "X", "a[0]": "y"}}});
        assert_eq!(merged(&[&labels]), labels);
    }

    #[test]
    fn later_choice_of_one_replaces_the_earlier() {
        let file = json!({"identity": {"token": {"file": "/t"}, "key": "rsa-2048"}, "cluster": {"ca": {"file": "/c"}}});
        let credential =
            json!({"identity": {"token": {"credential": "t"}}, "cluster": {"ca": {"data": "x"}}});
        assert_eq!(
            merged(&[&file, &credential]),
            json!({"identity": {"token": {"credential": "t"}, "key": "rsa-2048"}, "cluster": {"ca": {"data": "x"}}})
        );
    }

    /// Mappings two levels deep below `kubelet.config`, with keys that hold dots and brackets.
    fn settings() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i64>().prop_map(|n| json!(n)), "[a-z]{0,4}".prop_map(|s| json!(s))];
        btree_map("[a-c./\\[]{1,3}", btree_map("[a-cA-C.]{1,2}", leaf, 0..4), 0..4)
            .prop_map(|map| json!({"kubelet": {"config": map}}))
    }

    fn leaves(value: &Value, path: &mut Vec<String>, all: &mut Vec<(Vec<String>, Value)>) {
        match value.as_object() {
            Some(map) => map.iter().for_each(|(key, below)| {
                path.push(key.clone());
                leaves(below, path, all);
                path.pop();
            }),
            None => all.push((path.clone(), value.clone())),
        }
    }

    fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
        path.iter().try_fold(value, |here, key| here.get(key))
    }

    proptest! {
        #[test]
        fn later_wins_everywhere(low in settings(), high in settings()) {
            let both = merged(&[&low, &high]);
            let (mut of_high, mut of_low) = (Vec::new(), Vec::new());
            leaves(&high, &mut Vec::new(), &mut of_high);
            leaves(&low, &mut Vec::new(), &mut of_low);
            for (path, value) in &of_high {
                prop_assert_eq!(at(&both, path), Some(value));
            }
            for (path, value) in of_low.iter().filter(|(path, _)| at(&high, path).is_none()) {
                prop_assert_eq!(at(&both, path), Some(value));
            }
        }

        #[test]
        fn merge_is_associative(a in settings(), b in settings(), c in settings()) {
            let whole = merged(&[&a, &b, &c]);
            prop_assert_eq!(&whole, &merged(&[&merged(&[&a, &b]), &c]));
            prop_assert_eq!(&whole, &merged(&[&a, &merged(&[&b, &c])]));
        }

        #[test]
        fn disjoint_layers_commute(a in settings(), b in "[a-z]{1,5}") {
            let other = json!({"node": {"name": b}});
            prop_assert_eq!(merged(&[&a, &other]), merged(&[&other, &a]));
        }
    }
}
