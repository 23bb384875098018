//! Everything a run starts from, ready on disk.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{Kubernetes, Minor, cache, go, images, node::NodeSpec, packages, root};

/// What runs containers on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Engine {
    /// docker, through dockershim or cri-dockerd.
    #[default]
    Docker,
    /// containerd, as the distribution has it.
    Containerd,
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
        packages::ensure_host()?;
        let kubernetes = Kubernetes::ensure(minor)?;
        let root = root::ensure(minor)?;
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
        let mut artefacts = Self::ensure(minor)?;
        if engine != Engine::Docker {
            let root = artefacts.node.root.parent().and_then(|entry| entry.file_name());
            let root = root.context("the root has no name")?.to_string_lossy();
            artefacts.node.containerd = Some(images::ensure_for_containerd(&root, &artefacts.node)?);
        }
        if engine == Engine::Containerd2 {
            artefacts.node.programs.extend(containerd_2()?);
        }
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
fn containerd_2() -> Result<[PathBuf; 2]> {
    const MODULE: &str = "github.com/containerd/containerd/v2";
    let version = go::required_version("containerd", MODULE)?;
    let programs = ["containerd", "containerd-shim-runc-v2"];
    let entry = cache::entry(&format!("containerd-{version}"), |directory| {
        let setting = format!("{MODULE}/version.Version");
        programs.iter().try_for_each(|program| {
            let package = format!("{MODULE}/cmd/{program}");
            go::build_package("containerd", &package, &directory.join(program), &[(&setting, &version)])
        })
    })?;
    Ok(programs.map(|program| entry.join(program)))
}
