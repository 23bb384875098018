//! Everything a run starts from, ready on disk.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{Kubernetes, Minor, Suite, cache, go, images, node::NodeSpec, packages, root};

/// What runs containers on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Engine {
    /// docker, through dockershim or cri-dockerd.
    #[default]
    Docker,
    /// containerd, as the distribution has it.
    Containerd,
    /// containerd 1.7, in `/usr/local/bin` before the distribution's, for one that has 1.6.
    #[value(name = "containerd-1.7")]
    Containerd17,
    /// containerd 2, in `/usr/local/bin` before the distribution's.
    Containerd2,
}

/// Programs, a node's root and its images.
#[derive(Debug, Clone)]
pub struct Artefacts {
    pub(crate) kubernetes: Kubernetes,
    pub(crate) node: NodeSpec,
}

impl Artefacts {
    /// Finds, fetches or builds all of it. Minutes the first time, nothing after that.
    pub fn ensure(minor: Minor) -> Result<Self> {
        Self::ensure_docker(minor, Suite::of(minor))
    }

    fn ensure_docker(minor: Minor, suite: Suite) -> Result<Self> {
        packages::ensure_host()?;
        let kubernetes = Kubernetes::ensure(minor)?;
        let root = root::ensure(suite)?;
        let mut node = NodeSpec { root, docker: None, containerd: None, programs: Vec::new() };
        let root_name =
            node.root.parent().and_then(|entry| entry.file_name()).context("the root has no name")?;
        node.docker = Some(images::ensure(&root_name.to_string_lossy(), node.clone())?);
        node.programs = vec![kubernetes.program("kubelet")?, kubernetes.program("kube-proxy")?];
        if minor != Minor::V1_20 {
            node.programs.push(cri_dockerd()?);
        }
        packages::etcd()?;
        Ok(Self { kubernetes, node })
    }

    /// The same for nodes on which `engine` runs containers.
    pub fn ensure_for(minor: Minor, engine: Engine) -> Result<Self> {
        Self::ensure_on(minor, engine, Suite::of(minor))
    }

    /// The same on nodes of another release.
    pub fn ensure_on(minor: Minor, engine: Engine, suite: Suite) -> Result<Self> {
        let mut artefacts = Self::ensure_docker(minor, suite)?;
        if engine != Engine::Docker {
            let root = artefacts.node.root.parent().and_then(|entry| entry.file_name());
            let root = root.context("the root has no name")?.to_string_lossy();
            artefacts.node.containerd = Some(images::ensure_for_containerd(&root, &artefacts.node)?);
        }
        artefacts.node.programs.extend(match engine {
            Engine::Docker | Engine::Containerd => Vec::new(),
            Engine::Containerd17 => containerd("containerd-1.7", "github.com/containerd/containerd")?,
            Engine::Containerd2 => containerd("containerd", "github.com/containerd/containerd/v2")?,
        });
        Ok(artefacts)
    }

    /// Kubernetes' programs.
    pub fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }
}

fn cri_dockerd() -> Result<PathBuf> {
    let version = go::required_version("cri-dockerd", "github.com/Mirantis/cri-dockerd")?;
    let entry = cache::entry(&format!("cri-dockerd-{version}"), |directory| {
        let setting = ("github.com/Mirantis/cri-dockerd/cmd/version.Version", version.as_str());
        go::build("cri-dockerd", &directory.join("cri-dockerd"), &[setting])
    })?;
    Ok(entry.join("cri-dockerd"))
}

/// As its own repository builds it, with its shim.
fn containerd(folder: &str, module: &str) -> Result<Vec<PathBuf>> {
    let version = go::required_version(folder, module)?;
    let programs = ["containerd", "containerd-shim-runc-v2"];
    let entry = cache::entry(&format!("containerd-{version}"), |directory| {
        let setting = format!("{module}/version.Version");
        programs.iter().try_for_each(|program| {
            let package = format!("{module}/cmd/{program}");
            go::build_package(folder, &package, &directory.join(program), &[(&setting, &version)])
        })
    })?;
    Ok(programs.map(|program| entry.join(program)).into())
}
