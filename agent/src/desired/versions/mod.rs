//! What each Kubernetes version accepts: data with sources. Nothing else compares versions.

mod behaviour;
pub mod check;
mod kind;
mod notes;
mod table;

use std::fmt;
use std::str::FromStr;

pub use behaviour::{BEHAVIOURS, Behaviour, Span};
pub use table::{Component, Setting, Sort, settings};

/// A Kubernetes version; the patch level is for show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 1.
    pub major: u16,
    /// The minor version.
    pub minor: u16,
    /// The patch level.
    pub patch: u16,
}

impl FromStr for Version {
    type Err = String;

    /// Reads `Kubernetes v1.36.3`, `v1.20.2+dfsg`, `1.31.0-rc.1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{}` names no Kubernetes version", text.trim());
        let word = text.split_whitespace().last().ok_or_else(bad)?;
        let mut numbers = word.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u16>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Ok(Self { major, minor, patch }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// A minor version that is supported, as an operator names it: `1.36`, `v1.36`, `1.36.3`.
    ///
    /// # Errors
    ///
    /// It is no version, or not one that is supported.
    pub fn supported(text: &str) -> Result<Self, String> {
        let (oldest, newest) = SUPPORTED;
        let full = if text.matches('.').count() == 1 { format!("{text}.0") } else { text.to_owned() };
        match full.parse::<Self>() {
            Ok(version) if is_supported(version) => Ok(version),
            _ => Err(format!("`{text}` is no supported version; expected 1.{oldest} to 1.{newest}")),
        }
    }
}

/// The oldest and newest minor version that is supported.
pub const SUPPORTED: (u16, u16) = (20, 36);

/// Whether the kubelet of this version has this flag or this field of its configuration.
pub fn kubelet_knows(version: Version, name: &str) -> bool {
    let knows = |sort| table::find(Component::Kubelet, sort, name, version).is_some();
    debug_assert!(settings().iter().any(|s| s.name == name), "no version knows `{name}`");
    knows(Sort::Flag) || knows(Sort::Field)
}

/// docker needs cri-dockerd where the kubelet has no dockershim.
pub fn needs_cri_dockerd(version: Version) -> bool {
    !Behaviour::Dockershim.holds(version)
}

/// Whether the version is one of those supported.
pub fn is_supported(version: Version) -> bool {
    version.major == 1 && (SUPPORTED.0..=SUPPORTED.1).contains(&version.minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_print_them() {
        let version: Version = "Kubernetes v1.20.2+dfsg\n".parse().unwrap();
        assert_eq!(version.to_string(), "1.20.2");
        assert!(is_supported(version) && !needs_cri_dockerd(version));
        let version: Version = "Kubernetes v1.36.3".parse().unwrap();
        assert!(is_supported(version) && needs_cri_dockerd(version));
        assert!(!is_supported("v1.19.9".parse().unwrap()) && !is_supported("v1.37.0".parse().unwrap()));
        assert!("Kubernetes".parse::<Version>().is_err());
    }

    #[test]
    fn operators_may_leave_the_patch_level_out() {
        for text in ["1.36", "v1.36", "1.36.3", "v1.36.3"] {
            assert_eq!(Version::supported(text).unwrap().minor, 36, "{text}");
        }
        for text in ["1.19", "1.37", "36", "newest", ""] {
            let error = Version::supported(text).unwrap_err();
            assert!(error.contains("expected 1.20 to 1.36"), "{error}");
        }
    }

    #[test]
    fn removed_flags_are_known_to_old_kubelets_only() {
        let old: Version = "v1.20.2".parse().unwrap();
        let new: Version = "v1.36.3".parse().unwrap();
        for flag in ["network-plugin", "cni-bin-dir", "pod-infra-container-image", "container-runtime"] {
            assert!(kubelet_knows(old, flag) && !kubelet_knows(new, flag), "{flag}");
        }
        assert!(
            !kubelet_knows(old, "containerRuntimeEndpoint") && kubelet_knows(new, "containerRuntimeEndpoint")
        );
    }
}
