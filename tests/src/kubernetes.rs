//! Kubernetes' own programs.

use std::{env, fmt, fs, os::unix::fs::symlink, path::PathBuf, process::Command, str::FromStr};

use anyhow::{Context as _, Result, bail};

use crate::{cache, go, process::run};

/// Every program a lab uses, in one version.
const PROGRAMS: [&str; 7] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubeadm",
    "kubectl",
];

/// The Kubernetes minor versions the lab can build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minor {
    /// The newest the agent supports.
    V1_36,
}

impl fmt::Display for Minor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V1_36 => "1.36",
        })
    }
}

impl FromStr for Minor {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "1.36" => Ok(Self::V1_36),
            _ => bail!("the lab has Kubernetes 1.36"),
        }
    }
}

/// Directories that hold the programs, the first that has one wins.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    minor: Minor,
    directories: Vec<PathBuf>,
}

impl Kubernetes {
    /// Finds the programs in `KN_AGENT_LAB_KUBERNETES` and `KUBEBUILDER_ASSETS`, and builds them where one is missing.
    pub fn ensure(minor: Minor) -> Result<Self> {
        let given = ["KN_AGENT_LAB_KUBERNETES", "KUBEBUILDER_ASSETS"].into_iter().filter_map(env::var_os);
        let mut found = Self { minor, directories: given.map(PathBuf::from).collect() };
        if PROGRAMS.iter().any(|program| found.program(program).is_err()) {
            found.directories.push(build_1_36()?);
        }
        Ok(found)
    }

    /// The minor version asked for.
    pub fn minor(&self) -> Minor {
        self.minor
    }

    /// The path of one program.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let candidates = self.directories.iter().map(|directory| directory.join(name));
        candidates
            .into_iter()
            .find(|path| path.is_file())
            .with_context(|| format!("no {name} in {:?}", self.directories))
    }

    /// What the kubelet says it is, such as `Kubernetes v1.36.3`.
    pub fn version(&self) -> Result<String> {
        Ok(run(Command::new(self.program("kubelet")?).arg("--version"))?.trim().to_owned())
    }
}

/// One binary with a link per program: seven programs then link once.
fn build_1_36() -> Result<PathBuf> {
    let version = go::required_version("kubernetes", "k8s.io/kubernetes")?;
    let entry = cache::entry(&format!("kubernetes-{version}"), |directory| {
        let out = directory.join("bin/kubernetes");
        go::build(
            "kubernetes",
            &out,
            &[
                ("k8s.io/component-base/version.gitVersion", &format!("v{version}")),
                ("k8s.io/component-base/version.gitMajor", "1"),
                ("k8s.io/component-base/version.gitMinor", "36"),
                ("k8s.io/client-go/pkg/version.gitVersion", &format!("v{version}")),
            ],
        )
    })?;
    let bin = entry.join("bin");
    for program in PROGRAMS {
        let link = bin.join(program);
        if fs::symlink_metadata(&link).is_err() {
            symlink("kubernetes", &link).with_context(|| format!("cannot make `{}`", link.display()))?;
        }
    }
    Ok(bin)
}
