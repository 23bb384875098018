//! kubelet and kube-proxy in more minor versions than a control plane is made of: for what is asked of the programs alone.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    cache, go,
    kubernetes::{Kubernetes, Minor},
};

/// Minor versions with a folder in `kubernetes-matrix`, beside those of [`Minor`].
const MORE: [u16; 3] = [24, 28, 32];

/// kubelet and kube-proxy of one version.
#[derive(Debug, Clone)]
pub struct Pair {
    /// 20 for 1.20.
    pub minor: u16,
    /// Their version, without the `v`.
    pub version: String,
    /// The kubelet.
    pub kubelet: PathBuf,
    /// kube-proxy.
    pub proxy: PathBuf,
}

/// Those of which the lab makes clusters.
pub fn pairs() -> Result<Vec<Pair>> {
    let pair = |minor: Minor| {
        let kubernetes = Kubernetes::ensure(minor)?;
        let version = kubernetes.version()?;
        let version = version.rsplit('v').next().context("the kubelet tells no version")?.to_owned();
        let number = minor.to_string().rsplit('.').next().context("no minor version")?.parse()?;
        let (kubelet, proxy) = (kubernetes.program("kubelet")?, kubernetes.program("kube-proxy")?);
        Ok(Pair { minor: number, version, kubelet, proxy })
    };
    [Minor::V1_20, Minor::V1_36].into_iter().map(pair).collect()
}

/// Those and the versions between them; each takes 5 to 10 minutes to build.
pub fn all_pairs() -> Result<Vec<Pair>> {
    let mut pairs = pairs()?;
    for minor in MORE {
        pairs.push(build(minor)?);
    }
    pairs.sort_by_key(|pair| pair.minor);
    Ok(pairs)
}

fn build(minor: u16) -> Result<Pair> {
    let module = format!("kubernetes-matrix/1.{minor}");
    let version = go::required_version(&module, "k8s.io/kubernetes")?;
    let entry = cache::entry(&format!("kubelet-{version}"), |directory| {
        for program in ["kubelet", "kube-proxy"] {
            go::build_package(
                &module,
                &format!("k8s.io/kubernetes/cmd/{program}"),
                &directory.join(program),
                &[
                    ("k8s.io/component-base/version.gitVersion", &format!("v{version}")),
                    ("k8s.io/component-base/version.gitMajor", "1"),
                    ("k8s.io/component-base/version.gitMinor", &minor.to_string()),
                ],
            )?;
        }
        Ok(())
    })?;
    Ok(Pair { minor, version, kubelet: entry.join("kubelet"), proxy: entry.join("kube-proxy") })
}
