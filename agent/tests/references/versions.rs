//! `docs/reference/versions.md`: what each Kubernetes version knows, as far as an operator or a reader of our files meets it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use kn_agent::config::{Config, HostFacts, Sources, load};
use kn_agent::desired::versions::check::{Check, Finding, of};
use kn_agent::desired::versions::{BEHAVIOURS, Component, SUPPORTED, Setting, Sort, Version, settings};
use kn_agent::desired::{Desired, Facts, Program, desired};
use serde_json::Value;

use crate::table::table;

const HEAD: &str = "Kubernetes 1.20 to 1.36. All of it is read from Kubernetes' own source, field by field and flag by flag
(`tests/kubernetes/settings`), and tried on real kubelets and kube-proxies (`docs/evidence/versions.md`).

`kn-agent config validate` holds `kubelet.config`, `proxy.config` and `extraArgs` against the version that is installed, or
against any with `--for`; `kn-agent check --for 1.36` says what becomes of them before an upgrade. The daemon writes
nothing with a field, flag or value that the version does not know.
";

pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n## What kn-agent writes\n\nFields of `/etc/kubernetes/kubelet.yaml` and `kube-proxy.yaml`, flags of the units; those of docker as the runtime.\n\n");
    text.push_str(&table(["program", "setting", "versions"], written()));
    text.push_str("\n## What the kubelet does\n\n");
    text.push_str(&table(["what", "versions", "source"], behaviours()));
    text.push_str("\n## Gone\n\n");
    text.push_str(&table(["program", "setting", "gone since", "in its place", "source"], gone()));
    text.push_str("\n## Fields that came later\n\n");
    text.push_str(&table(["program", "field", "known from", "holds"], new()));
    text.push_str("\n## Deprecated and still there\n\nThe kubelet's flags, each with the field to write in its place; kube-proxy reads none of its flags but those of the log\nbeside a file.\n\n");
    text.push_str(&table(["program", "flag or field", "deprecated", "in its place"], deprecated()));
    text
}

fn version(minor: u16) -> Version {
    Version { major: 1, minor, patch: 0 }
}

/// Configurations that between them make every setting of ours appear.
fn configurations() -> Vec<Config> {
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
    let common = format!(
        "cluster: {{server: 'https://10.0.0.1:6443', ca: {{data: {ca:?}}}, podCIDR: 10.244.0.0/16, dns: {{address: \
         10.96.0.10}}}}\nnode: {{name: n1, labels: {{a: b}}, taints: ['a=b:NoSchedule']}}\n"
    );
    let identities = [
        "identity: {token: {value: abcdef.0123456789abcdef}}",
        "identity: {mode: certificate, certFile: /c.pem, keyFile: /k.pem}",
    ];
    let read = |identity: &&str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{common}{identity}\n")).unwrap();
        let sources = Sources { root: "/".into(), only: Some(file.path().to_owned()), env: Vec::new() };
        load(&sources, &HostFacts { hostname: "n1".to_owned(), ..HostFacts::default() }).unwrap().config
    };
    identities.iter().map(read).collect()
}

fn rendered(config: &Config, minor: u16) -> Desired {
    let program = |path: &str| Program {
        path: Some(PathBuf::from(path)),
        version: Some(version(minor)),
        ..Program::default()
    };
    let facts = Facts {
        kubelet: program("/usr/bin/kubelet"),
        proxy: program("/usr/bin/kube-proxy"),
        cri_dockerd: Some("/usr/bin/cri-dockerd".into()),
        cgroup_v2: true,
        resolv_conf: "/etc/resolv.conf".into(),
        route_address: Some("10.0.0.2".parse().unwrap()),
        supplied_serves: config.identity.supplied.is_some().then_some(true),
        ..Facts::default()
    };
    desired(config, &facts).unwrap()
}

/// Fields and flags that are written for one version.
fn settings_of(config: &Config, minor: u16) -> BTreeSet<(&'static str, String)> {
    let desired = rendered(config, minor);
    let content = |name: &str| {
        let file = desired.host_files.iter().find(|file| file.path.ends_with(name)).unwrap();
        String::from_utf8(file.content.clone()).unwrap()
    };
    let mut found = BTreeSet::new();
    for component in [Component::Kubelet, Component::KubeProxy] {
        let (file, unit, program) = match component {
            Component::Kubelet => ("kubelet.yaml", "kubelet.service", "kubelet"),
            Component::KubeProxy => ("kube-proxy.yaml", "kube-proxy.service", "kube-proxy"),
        };
        let fields: Value = serde_saphyr::from_str(&content(file)).unwrap();
        assert!(
            known_fields(component, "", &fields, minor, &mut |name| {
                found.insert((program, format!("`{name}`")));
            }) > 5
        );
        let unit = content(unit);
        let flags: Vec<&str> = unit
            .split_whitespace()
            .filter_map(|word| word.trim_matches('"').strip_prefix("--"))
            .map(|flag| flag.split('=').next().unwrap())
            .collect();
        assert!(flags.len() > 1, "{unit}");
        for flag in flags {
            assert!(
                known(component, Sort::Flag, flag, minor).is_some(),
                "{program} 1.{minor} does not know --{flag}"
            );
            found.insert((program, format!("`--{flag}`")));
        }
    }
    found
}

/// Asserts that the version knows each field, and tells those that hold a value.
fn known_fields(
    component: Component,
    above: &str,
    value: &Value,
    minor: u16,
    told: &mut dyn FnMut(&str),
) -> usize {
    let Value::Object(fields) = value else { panic!("{above}: {value}") };
    let mut count = 0;
    for (key, value) in fields {
        let name = format!("{above}{key}");
        let setting = known(component, Sort::Field, &name, minor);
        let setting = setting.unwrap_or_else(|| panic!("{component:?} 1.{minor} does not know {name}"));
        // The keys of a mapping are nobody's fields.
        if value.is_object() && !setting.kind.starts_with("{}") {
            count += known_fields(component, &format!("{name}."), value, minor, told);
        } else {
            told(&name);
            count += 1;
        }
        for item in value.as_array().into_iter().flatten().filter(|item| item.is_object()) {
            known_fields(component, &format!("{name}[]."), item, minor, &mut |_| {});
        }
    }
    count
}

fn known(component: Component, sort: Sort, name: &str, minor: u16) -> Option<&'static Setting> {
    settings().iter().find(|s| {
        s.component == component && s.sort == sort && s.name == name && s.is_known_to(version(minor))
    })
}

fn written() -> Vec<[String; 3]> {
    let configurations = configurations();
    let mut minors: BTreeMap<(&str, String), BTreeSet<u16>> = BTreeMap::new();
    for minor in SUPPORTED.0..=SUPPORTED.1 {
        for setting in configurations.iter().flat_map(|config| settings_of(config, minor)) {
            minors.entry(setting).or_default().insert(minor);
        }
    }
    let row = |((program, setting), minors): ((&str, String), BTreeSet<u16>)| {
        let (first, last) = (*minors.first().unwrap(), *minors.last().unwrap());
        assert_eq!(minors.len(), usize::from(last - first) + 1, "{setting} comes and goes");
        [program.to_owned(), setting, span(first, last)]
    };
    minors.into_iter().map(row).collect()
}

fn span(first: u16, last: u16) -> String {
    match (first == SUPPORTED.0, last == SUPPORTED.1) {
        (true, true) => "all".to_owned(),
        (true, false) => format!("up to 1.{last}"),
        (false, true) => format!("from 1.{first}"),
        (false, false) => format!("1.{first} to 1.{last}"),
    }
}

fn behaviours() -> Vec<[String; 3]> {
    let row = |behaviour: &kn_agent::desired::versions::Span| {
        let first = behaviour.since.max(SUPPORTED.0);
        let last = behaviour.until.saturating_sub(1).min(SUPPORTED.1);
        [behaviour.name.to_owned(), span(first, last), behaviour.source.to_owned()]
    };
    BEHAVIOURS.iter().map(row).collect()
}

fn shown(setting: &Setting) -> String {
    match setting.sort {
        Sort::Flag => format!("`--{}`", setting.name),
        Sort::Field => format!("`{}`", setting.name),
    }
}

fn gone() -> Vec<[String; 5]> {
    let newest = version(SUPPORTED.1);
    let row = |setting: &Setting| {
        let check = Check { component: setting.component, version: newest };
        let is_there = known(setting.component, setting.sort, setting.name, newest.minor).is_some();
        if setting.is_still_there() || is_there {
            return None;
        }
        let Finding { hint, source, .. } = check.other_version(setting.sort, setting.name, "").unwrap();
        Some([
            setting.component.program().to_owned(),
            shown(setting),
            format!("1.{}", setting.last + 1),
            hint.unwrap(),
            source.unwrap(),
        ])
    };
    settings().iter().filter_map(row).collect()
}

/// Those that another field of the same name has been in all versions before are not new.
fn new() -> Vec<[String; 4]> {
    let is_new = |setting: &&Setting| {
        let older = settings().iter().any(|other| {
            (other.component, other.sort, other.name) == (setting.component, setting.sort, setting.name)
                && other.first < setting.first
        });
        setting.sort == Sort::Field && setting.first > SUPPORTED.0 && setting.kind != "object" && !older
    };
    let row = |setting: &Setting| {
        let kind = setting.kind.replace("[]", "list of ").replace("{}", "mapping to ");
        [setting.component.program().to_owned(), shown(setting), format!("1.{}", setting.first), kind]
    };
    settings().iter().filter(is_new).map(row).collect()
}

fn deprecated() -> Vec<[String; 4]> {
    let row = |setting: &Setting| {
        let since = setting.deprecated.filter(|_| setting.is_still_there())?;
        let place = match (setting.field, setting.text) {
            (Some(field), _) => format!("`{field}`"),
            (None, Some(text)) => text.to_owned(),
            (None, None) => format!("none; see {}", of(setting, since)),
        };
        let since =
            if since > SUPPORTED.0 { format!("since 1.{since}") } else { "in 1.20 already".to_owned() };
        Some([setting.component.program().to_owned(), shown(setting), since, place])
    };
    settings().iter().filter_map(row).collect()
}
