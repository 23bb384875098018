//! Every field and flag of kubelet and kube-proxy, and the versions that know it: `settings.tsv`, which a program in
//! `tests/kubernetes/settings` writes from Kubernetes' source.

use std::sync::LazyLock;

use super::{SUPPORTED, Version};

/// Whose settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The kubelet.
    Kubelet,
    /// kube-proxy.
    KubeProxy,
}

impl Component {
    /// The program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// Its part of our configuration.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "proxy",
        }
    }
}

/// Where a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// In the configuration object.
    Field,
    /// On the command line.
    Flag,
}

/// A field or flag, over the versions in which it is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Whose it is.
    pub component: Component,
    /// Field or flag.
    pub sort: Sort,
    /// A flag without dashes, or a field with dots; `[]` stands for each item of a list, `{}` for each of a mapping.
    pub name: &'static str,
    /// What it holds: `bool`, `int`, `float`, `text`, `duration`, `quantity`, `any` or `object`, after `[]` for a list and
    /// `{}` for a mapping of them.
    pub kind: &'static str,
    /// The first minor version that knows it; 20 says nothing of older ones.
    pub first: u16,
    /// The last one; the newest supported says nothing of newer ones.
    pub last: u16,
    /// The minor version from which on it is deprecated.
    pub deprecated: Option<u16>,
    /// The field that a flag sets.
    pub field: Option<&'static str>,
    /// What the component says of the deprecation.
    pub text: Option<&'static str>,
}

impl Setting {
    /// Whether this version knows it. What is older or newer than what is supported counts as the oldest or newest.
    pub fn is_known_to(&self, version: Version) -> bool {
        let minor = version.minor.clamp(SUPPORTED.0, SUPPORTED.1);
        (self.first..=self.last).contains(&minor)
    }

    /// Whether the newest version knows it.
    pub fn is_still_there(&self) -> bool {
        self.last == SUPPORTED.1
    }
}

/// All settings, ordered by component, sort and name. Read on first use.
pub fn settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        include_str!("settings.tsv").lines().filter(|line| !line.starts_with('#')).filter_map(read).collect()
    });
    &SETTINGS
}

fn read(line: &'static str) -> Option<Setting> {
    let mut columns = line.split('\t');
    let component = match columns.next()? {
        "kubelet" => Component::Kubelet,
        _ => Component::KubeProxy,
    };
    let sort = if columns.next()? == "flag" { Sort::Flag } else { Sort::Field };
    let (name, kind) = (columns.next()?, columns.next()?);
    let (first, last) = (columns.next()?.parse().ok()?, columns.next()?.parse().ok()?);
    let mut optional = columns.map(|column| Some(column).filter(|column| *column != "-"));
    let deprecated = optional.next()?.and_then(|minor| minor.parse().ok());
    let (field, text) = (optional.next()?, optional.next()?);
    Some(Setting { component, sort, name, kind, first, last, deprecated, field, text })
}

/// What is known of `name`, of every version.
pub(super) fn spans(
    component: Component,
    sort: Sort,
    name: &str,
) -> impl Iterator<Item = &'static Setting> + use<'_> {
    settings().iter().filter(move |s| s.name == name && s.component == component && s.sort == sort)
}

/// The setting as this version knows it.
pub(super) fn find(
    component: Component,
    sort: Sort,
    name: &str,
    version: Version,
) -> Option<&'static Setting> {
    spans(component, sort, name).find(|setting| setting.is_known_to(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_data_is_a_setting() {
        let lines = include_str!("settings.tsv").lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines > 400 && settings().len() == lines, "{lines} lines, {} settings", settings().len());
        for setting in settings() {
            assert!(SUPPORTED.0 <= setting.first && setting.first <= setting.last, "{setting:?}");
            assert!(setting.last <= SUPPORTED.1, "{setting:?}");
            assert!(
                setting
                    .field
                    .is_none_or(|field| { spans(setting.component, Sort::Field, field).next().is_some() })
            );
        }
    }

    #[test]
    fn each_minor_version_has_settings_of_its_own() {
        for component in [Component::Kubelet, Component::KubeProxy] {
            for minor in SUPPORTED.0..=SUPPORTED.1 {
                let version = Version { major: 1, minor, patch: 0 };
                let known = settings().iter().filter(|s| s.component == component && s.is_known_to(version));
                assert!(known.count() > 100, "{component:?} 1.{minor}");
            }
        }
    }

    #[test]
    fn versions_beyond_those_supported_count_as_the_nearest() {
        let setting = spans(Component::Kubelet, Sort::Field, "maxPods").next().unwrap();
        for minor in [1, 19, 37, 99] {
            assert!(setting.is_known_to(Version { major: 1, minor, patch: 0 }), "{minor}");
        }
    }
}
