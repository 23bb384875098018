//! Kubernetes' own programs.

use std::{env, fmt, fs, os::unix::fs::symlink, path::PathBuf, process::Command, str::FromStr};

use anyhow::{Context as _, Result, bail};

use crate::{cache, debian, go, packages, process::run};

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
    /// The oldest the agent supports.
    V1_20,
    /// The newest the agent supports.
    V1_36,
}

impl fmt::Display for Minor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V1_20 => "1.20",
            Self::V1_36 => "1.36",
        })
    }
}

impl FromStr for Minor {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "1.20" => Ok(Self::V1_20),
            "1.36" => Ok(Self::V1_36),
            _ => bail!("the lab has Kubernetes 1.20 and 1.36"),
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
    /// Finds the programs in `KN_AGENT_LAB_KUBERNETES` and `KUBEBUILDER_ASSETS` (for the newest version), and builds
    /// them where one is missing.
    pub fn ensure(minor: Minor) -> Result<Self> {
        let directories = match minor {
            Minor::V1_20 => vec![build_1_20()?],
            Minor::V1_36 => {
                let given =
                    ["KN_AGENT_LAB_KUBERNETES", "KUBEBUILDER_ASSETS"].into_iter().filter_map(env::var_os);
                given.map(PathBuf::from).collect()
            }
        };
        let mut found = Self { minor, directories };
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

    /// The path of each program.
    pub fn programs(&self) -> Result<Vec<PathBuf>> {
        PROGRAMS.iter().map(|name| self.program(name)).collect()
    }

    /// What the kubelet says it is, such as `Kubernetes v1.36.3`.
    pub fn version(&self) -> Result<String> {
        Ok(run(Command::new(self.program("kubelet")?).arg("--version"))?.trim().to_owned())
    }
}

/// Debian 12's source package, which vendors everything, with Debian 11's Go 1.15: built with 1.18 or newer, the API
/// server segfaults on JSON answers that hold maps, and kubeadm crashes.
fn build_1_20() -> Result<PathBuf> {
    const VERSION: &str =
        "KUBE_GIT_VERSION=v1.20.2 KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20 KUBE_GIT_TREE_STATE=clean
KUBE_GIT_COMMIT=faecb196815e248d3ecfb03c680a4507229c2a56\n";
    let entry = cache::entry("kubernetes-1.20.2", |directory| {
        packages::ensure_programs(&[("make", "make"), ("rsync", "rsync")])?;
        let build = directory.join("build");
        let (go, source) = (build.join("go"), build.join("source"));
        let apt = debian::Apt::new(&build.join("apt"), &["deb-src bookworm", "deb bullseye"])?;
        apt.source("kubernetes", &source)?;
        apt.unpack(&["golang-1.15-go", "golang-1.15-src"], &go)?;
        fs::write(build.join("version"), VERSION)?;
        let root = go.join("usr/lib/go-1.15");
        let what = PROGRAMS.map(|program| format!("cmd/{program}")).join(" ");
        run(Command::new("make")
            .arg(format!("WHAT={what}"))
            .current_dir(&source)
            .env_clear()
            .env("HOME", &build)
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", root.join("bin").display()))
            .env("GOROOT", &root)
            .env("CGO_ENABLED", "0")
            .env("KUBE_GIT_VERSION_FILE", build.join("version")))?;
        let (out, bin) = (source.join("_output/local/go/bin"), directory.join("bin"));
        fs::create_dir(&bin)?;
        PROGRAMS.iter().try_for_each(|program| fs::rename(out.join(program), bin.join(program)))?;
        fs::remove_dir_all(build)?;
        Ok(())
    })?;
    Ok(entry.join("bin"))
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
