//! The operator's own fields and flags against what a version knows. kubelet and kube-proxy read a field they do not know
//! with a line in their log and nothing else ("lenient decoding"), and end on a flag they do not know: neither is to be
//! found out on the node.

mod finding;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::table::{self, Component, Setting, Sort, settings};
use super::{Behaviour, Version, kind, notes};
use crate::config::{self, Config, ProxyMode, RuntimeKind, nearest, shown};
pub use finding::{Finding, State};

/// What the operator wrote for a component, against one version of it.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Whose settings.
    pub component: Component,
    /// Its version.
    pub version: Version,
}

/// A field by its name in the data, and where the operator wrote it.
#[derive(Clone, Copy)]
struct At<'a> {
    name: &'a str,
    path: &'a str,
}

/// The versions of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Of the kubelet.
    pub kubelet: Version,
    /// Of kube-proxy.
    pub proxy: Version,
}

/// Every finding of fields and flags alike, the kubelet's first.
pub fn all(config: &Config, versions: Versions) -> Vec<Finding> {
    let (kubelet, proxy) = (Check::kubelet(versions.kubelet), Check::proxy(versions.proxy));
    let mut found = kubelet.fields(config);
    found.extend(kubelet.flags(config));
    if config.proxy.enabled {
        found.extend(proxy.fields(config));
        found.extend(proxy.flags(config));
    }
    found
}

/// What a kubelet of this version needs beside the container runtime of this configuration, whichever is installed here.
pub fn runtime(config: &Config, kubelet: Version) -> Option<Finding> {
    let needs = |behaviour: Behaviour, message: &str, hint: &str| {
        let finding =
            Finding::new("runtime.kind", State::Needs, format!("kubelet 1.{} {message}", kubelet.minor));
        Some(finding.hint(hint.to_owned()).source(behaviour.source().to_owned()))
    };
    match config.runtime.kind {
        RuntimeKind::Docker if !Behaviour::Dockershim.holds(kubelet) => needs(
            Behaviour::Dockershim,
            "does not speak to docker itself",
            "have cri-dockerd on the node; kn-agent writes its unit and starts it",
        ),
        RuntimeKind::Containerd if !Behaviour::RuntimeV1.holds(kubelet) => needs(
            Behaviour::RuntimeV1,
            "speaks runtime.v1alpha2 alone",
            "keep containerd 1.6 or 1.7: 2.x does not know it",
        ),
        RuntimeKind::Docker | RuntimeKind::Containerd => None,
    }
}

impl Check {
    /// The kubelet in this version.
    pub const fn kubelet(version: Version) -> Self {
        Self { component: Component::Kubelet, version }
    }

    /// kube-proxy in this version.
    pub const fn proxy(version: Version) -> Self {
        Self { component: Component::KubeProxy, version }
    }

    fn of(self, config: &Config) -> &config::Component {
        match self.component {
            Component::Kubelet => &config.kubelet,
            Component::KubeProxy => &config.proxy.component,
        }
    }

    /// Fields of the component's configuration object.
    pub fn fields(self, config: &Config) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.component == Component::KubeProxy {
            found.extend(self.mode(config));
        }
        let path = format!("{}.config", self.component.key());
        self.object("", &path, &self.of(config).config, &mut found);
        found
    }

    /// Flags of the command line.
    pub fn flags(self, config: &Config) -> Vec<Finding> {
        let flags = self.of(config).extra_args.iter();
        flags.filter_map(|(flag, value)| self.flag(flag, value)).collect()
    }

    pub(super) fn object(
        self,
        above: &str,
        path: &str,
        fields: &Map<String, Value>,
        found: &mut Vec<Finding>,
    ) {
        for (key, value) in fields {
            let name = format!("{above}{key}");
            let path = format!("{path}.{key}");
            match table::find(self.component, Sort::Field, &name, self.version) {
                Some(setting) => {
                    found.extend(self.deprecated(setting, &path));
                    self.value(setting.kind, At { name: &name, path: &path }, value, found);
                }
                None => found.push(self.unknown_field(above, key, &path)),
            }
        }
    }

    fn value(self, kind: &str, at: At<'_>, value: &Value, found: &mut Vec<Finding>) {
        let At { name, path } = at;
        if !kind::fits(kind, value) {
            let message = format!("expected {}, found {}", kind::expected(kind), written(value));
            found.push(Finding::new(path, State::Mistyped, message));
            return;
        }
        match (value, kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
            (Value::Array(items), Some(below), _) => {
                for (index, item) in items.iter().enumerate() {
                    let at = At { name: &format!("{name}[]"), path: &format!("{path}[{index}]") };
                    self.value(below, at, item, found);
                }
            }
            (Value::Object(entries), _, Some(below)) => {
                for (key, value) in entries {
                    let at = At { name: &format!("{name}{{}}"), path: &format!("{path}.{key}") };
                    self.value(below, at, value, found);
                }
            }
            (Value::Object(fields), None, None) if kind == "object" => {
                self.object(&format!("{name}."), path, fields, found);
            }
            _ => {}
        }
    }

    fn unknown_field(self, above: &str, key: &str, path: &str) -> Finding {
        let name = format!("{above}{key}");
        if let Some(finding) = self.other_version(Sort::Field, &name, path) {
            return finding;
        }
        let message = format!("{} has no such field", self.named());
        let finding = Finding::new(path, State::Unknown, message);
        match self.meant(above, key) {
            Some(meant) => finding.hint(format!("did you mean `{meant}`?")),
            None => finding,
        }
    }

    /// The field that was probably meant: one beside it, one of that name elsewhere, or the one of a flag.
    fn meant(self, above: &str, key: &str) -> Option<String> {
        let known = |sort| {
            settings()
                .iter()
                .filter(move |s| s.component == self.component && s.sort == sort)
                .filter(|s| s.is_known_to(self.version))
        };
        let beside = known(Sort::Field)
            .filter_map(|s| s.name.strip_prefix(above))
            .filter(|rest| !rest.contains(['.', '[', '{']));
        let elsewhere = || known(Sort::Field).find(|s| s.name.rsplit('.').next() == Some(key));
        let flag = || known(Sort::Flag).find(|s| s.name == key.trim_start_matches('-'))?.field;
        nearest(key, beside)
            .map(|beside| format!("{above}{beside}"))
            .or_else(|| elsewhere().map(|setting| setting.name.to_owned()))
            .or_else(|| flag().map(ToOwned::to_owned))
    }

    pub(super) fn flag(self, flag: &str, value: &str) -> Option<Finding> {
        let path = format!("{}.extraArgs.{flag}", self.component.key());
        let name = flag.replace('_', "-");
        let Some(setting) = table::find(self.component, Sort::Flag, &name, self.version) else {
            return Some(self.unknown_flag(&name, &path));
        };
        if !kind::fits_text(setting.kind, value) {
            let message = format!("expected {}, found `{}`", kind::expected(setting.kind), shown(value));
            return Some(Finding::new(&path, State::Mistyped, message));
        }
        let field = setting.field.filter(|field| self.knows_field(field));
        if let (Component::KubeProxy, Some(field)) = (self.component, field)
            // The flags of the log are taken over from the command line, all others not (cmd/kube-proxy/app/options.go).
            && !field.starts_with("logging.")
        {
            let message = "has no effect: kube-proxy takes it from its file alone".to_owned();
            return Some(Finding::new(&path, State::Ignored, message).hint(self.write(field)));
        }
        self.deprecated(setting, &path)
    }

    fn unknown_flag(self, name: &str, path: &str) -> Finding {
        if let Some(finding) = self.other_version(Sort::Flag, name, path) {
            return finding;
        }
        let message = format!("{} has no such flag", self.named());
        let finding = Finding::new(path, State::Unknown, message);
        let of_component =
            |sort| settings().iter().filter(move |s| s.component == self.component && s.sort == sort);
        if let Some(field) = of_component(Sort::Field).find(|s| s.name == name && s.is_known_to(self.version))
        {
            return finding.hint(self.write(field.name));
        }
        let known = of_component(Sort::Flag).filter(|s| s.is_known_to(self.version));
        match nearest(name, known.map(|s| s.name)) {
            Some(meant) => finding.hint(format!("did you mean `{meant}`?")),
            None => finding,
        }
    }

    /// What to say of a setting that other versions know; `None` where none does.
    pub fn other_version(self, sort: Sort, name: &str, path: &str) -> Option<Finding> {
        let note = notes::find(self.component, sort, name);
        let spans = || table::spans(self.component, sort, name);
        let last = spans().max_by_key(|setting| setting.last);
        let later = spans().filter(|setting| setting.first > self.version.minor);
        if let Some(setting) = later.min_by_key(|setting| setting.first) {
            let message = format!("{} does not know it yet, 1.{} does", self.named(), setting.first);
            return Some(Finding::new(path, State::NotYet, message).source(of(setting, setting.first)));
        }
        let gone = last.map(|setting| setting.last + 1).or_else(|| note?.gone)?;
        let message = format!("is gone since 1.{gone}");
        let field = last.and_then(|setting| setting.field).filter(|field| self.knows_field(field));
        let said = last.and_then(|setting| setting.text);
        let hint = match (note, field, said) {
            (Some(note), ..) => note.hint.to_owned(),
            (None, _, Some(said)) => format!("remove it; 1.{} said: {said}", gone - 1),
            (None, Some(field), None) => self.write(field),
            (None, None, None) => "remove it".to_owned(),
        };
        let finding = Finding::new(path, State::Gone, message).hint(hint);
        Some(match (note, last) {
            (Some(note), _) => finding.source(note.source.to_owned()),
            (None, Some(setting)) => finding.source(of(setting, gone)),
            (None, None) => finding,
        })
    }

    fn deprecated(self, setting: &Setting, path: &str) -> Option<Finding> {
        let since = setting.deprecated.filter(|since| *since <= self.version.minor)?;
        let mut message = "is deprecated".to_owned();
        // The data begins with the oldest version: what was so by then may be so for long.
        if since > super::SUPPORTED.0 {
            let _ = write!(message, " since 1.{since}");
        }
        if let Some(text) = setting.text {
            let _ = write!(message, ": {text}");
        }
        let finding = Finding::new(path, State::Deprecated, message).source(of(setting, since));
        let field = setting.field.filter(|field| self.knows_field(field));
        Some(match field {
            Some(field) => finding.hint(self.write(field)),
            None => finding,
        })
    }

    /// nftables came with 1.29 behind a gate that 1.31 opened (KEP-3866); ipvs is to go.
    fn mode(self, config: &Config) -> Option<Finding> {
        if config.proxy.mode == ProxyMode::Ipvs && Behaviour::IpvsDeprecated.holds(self.version) {
            let message = "ipvs is deprecated since 1.35".to_owned();
            let source = "KEP-5495";
            return Some(
                Finding::new("proxy.mode", State::Deprecated, message)
                    .hint("write `nftables`".to_owned())
                    .source(source.to_owned()),
            );
        }
        let gate = config.proxy.component.config.get("featureGates").and_then(|g| g.get("NFTablesProxyMode"));
        let known = match self.version.minor {
            ..29 => false,
            29..31 => gate == Some(&Value::Bool(true)),
            _ => true,
        };
        if known || config.proxy.mode != ProxyMode::Nftables {
            return None;
        }
        let hint = match self.version.minor {
            ..29 => "write `iptables`",
            _ => "write `iptables`, or `proxy.config.featureGates.NFTablesProxyMode: true`",
        };
        let message = format!("{} does not know nftables yet, 1.31 does", self.named());
        Some(
            Finding::new("proxy.mode", State::NotYet, message)
                .hint(hint.to_owned())
                .source("KEP-3866".into()),
        )
    }

    fn knows_field(self, field: &str) -> bool {
        table::find(self.component, Sort::Field, field, self.version).is_some()
    }

    fn write(self, field: &str) -> String {
        format!("write `{}.config.{field}`", self.component.key())
    }

    fn named(self) -> String {
        format!("{} 1.{}", self.component.program(), self.version.minor)
    }
}

/// Where a setting of this minor version is written.
pub fn of(setting: &Setting, minor: u16) -> String {
    match (setting.component, setting.sort) {
        (Component::Kubelet, Sort::Field) => format!("k8s.io/kubelet v0.{minor}, config/v1beta1"),
        (Component::KubeProxy, Sort::Field) => format!("k8s.io/kube-proxy v0.{minor}, config/v1alpha1"),
        (Component::Kubelet, Sort::Flag) => format!("k8s.io/kubernetes v1.{minor}, cmd/kubelet/app/options"),
        (Component::KubeProxy, Sort::Flag) => format!("k8s.io/kubernetes v1.{minor}, cmd/kube-proxy/app"),
    }
}

/// What an operator wrote, as far as it fits into a line.
fn written(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        Value::String(text) => format!("the text `{}`", shown(text)),
        other => format!("`{other}`"),
    }
}
