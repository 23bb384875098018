//! Programs of ours that hold or read Kubernetes' own code, in the folders of the module `kubernetes`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{cache, go, process::run};

/// The version of Kubernetes whose code [`csrcheck`] holds.
pub fn csrcheck_version() -> Result<String> {
    go::required_version("kubernetes", "k8s.io/kubernetes")
}

/// The program that says what Kubernetes' own code thinks of requests and labels (`kubernetes/csrcheck`), built where
/// it is missing or its source has changed.
pub fn csrcheck() -> Result<PathBuf> {
    let version = csrcheck_version()?;
    let source = source_of("csrcheck")?;
    let entry = cache::entry(&format!("csrcheck-{version}-{}", cache::digest(&source)), |directory| {
        go::build_package("kubernetes", "./csrcheck", &directory.join("csrcheck"), &[])
    })?;
    Ok(entry.join("csrcheck"))
}

/// What every minor version of kubelet and kube-proxy knows, as `kubernetes/settings` reads it from Kubernetes' source.
/// That takes 17 versions of six modules, which are not kept.
pub fn settings() -> Result<String> {
    let source = source_of("settings")?;
    let entry = cache::entry(&format!("settings-{}", cache::digest(&source)), |directory| {
        let (program, modules) = (directory.join("settings"), directory.join("modules"));
        go::build_package("kubernetes", "./settings", &program, &[])?;
        let text = run(Command::new(&program).env("GOMODCACHE", &modules))?;
        fs::write(directory.join("settings.tsv"), text)?;
        fs::remove_dir_all(modules)?;
        Ok(())
    })?;
    let path = entry.join("settings.tsv");
    fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// All of a program's source.
fn source_of(folder: &str) -> Result<String> {
    let folder = go::module("kubernetes").join(folder);
    let mut files = list(&folder)?;
    files.sort();
    Ok(files.iter().map(fs::read_to_string).collect::<Result<String, _>>()?)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)
        .with_context(|| format!("cannot list `{}`", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect()
}
