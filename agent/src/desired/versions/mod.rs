//! What each Kubernetes version accepts: data with sources. Nothing else compares versions.

use std::fmt;
use std::str::FromStr;

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

/// The oldest and newest minor version that is supported.
pub const SUPPORTED: (u16, u16) = (20, 36);

/// A flag or field and the minor versions that know it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Flag without dashes, or field.
    pub name: &'static str,
    /// First minor version that knows it; 0 for before 1.20.
    pub since: u16,
    /// First minor version that does not know it any more; `u16::MAX` for none.
    pub until: u16,
    /// Where that is written.
    pub source: &'static str,
}

const NEVER: u16 = u16::MAX;

/// Kubelet settings that not every supported version accepts.
pub const KUBELET: &[Setting] = &[
    Setting { name: "network-plugin", since: 0, until: 24, source: "kubernetes/kubernetes#106907" },
    Setting { name: "cni-conf-dir", since: 0, until: 24, source: "kubernetes/kubernetes#106907" },
    Setting { name: "cni-bin-dir", since: 0, until: 24, source: "kubernetes/kubernetes#106907" },
    Setting {
        name: "pod-infra-container-image",
        since: 0,
        until: 35,
        source: "kubernetes/kubernetes#133779",
    },
    Setting { name: "container-runtime", since: 0, until: 27, source: "CHANGELOG-1.27" },
    Setting { name: "container-runtime-endpoint", since: 0, until: NEVER, source: "cmd/kubelet/app/options" },
    Setting {
        name: "containerRuntimeEndpoint",
        since: 27,
        until: NEVER,
        source: "kubelet/config/v1beta1 types.go",
    },
    Setting {
        name: "registerWithTaints",
        since: 23,
        until: NEVER,
        source: "kubelet/config/v1beta1 types.go",
    },
    Setting { name: "register-with-taints", since: 0, until: NEVER, source: "cmd/kubelet/app/options" },
    Setting {
        name: "serving-file-reload",
        since: 31,
        until: NEVER,
        source: "ReloadKubeletServerCertificateFile, kubernetes/kubernetes#124574",
    },
    Setting { name: "dockershim", since: 0, until: 24, source: "KEP-2221" },
    Setting {
        name: "in-tree-aws-credentials",
        since: 0,
        until: 27,
        source: "KEP-2395, pkg/credentialprovider/aws",
    },
];

/// Whether the kubelet of this version knows `name`, which must stand in [`KUBELET`]; what does not stand there is
/// known to every version.
pub fn kubelet_knows(version: Version, name: &str) -> bool {
    KUBELET
        .iter()
        .find(|s| s.name == name)
        .is_none_or(|s| s.since <= version.minor && version.minor < s.until)
}

/// docker needs cri-dockerd where the kubelet has no dockershim.
pub fn needs_cri_dockerd(version: Version) -> bool {
    !kubelet_knows(version, "dockershim")
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
