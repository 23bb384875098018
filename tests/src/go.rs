//! Go programs of the lab, built by the folders beside this crate that pin them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{packages, process::run};

/// A folder of this crate with a `go.mod`.
pub(crate) fn module(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The version that the module `name` requires of `dependency`, without the `v`.
pub(crate) fn required_version(name: &str, dependency: &str) -> Result<String> {
    let path = module(name).join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let line = text.lines().map(|line| line.trim().trim_start_matches("require "));
    // What only tools need is marked as indirect.
    line.filter_map(|line| line.strip_prefix(dependency)?.strip_prefix(" v")?.split(' ').next())
        .map(str::to_owned)
        .next()
        .with_context(|| format!("`{}` does not require {dependency}", path.display()))
}

/// Builds the module `name` into the program `out`, with the `-X` settings given.
pub(crate) fn build(name: &str, out: &Path, settings: &[(&str, &str)]) -> Result<()> {
    build_package(name, ".", out, settings)
}

/// The same for a package in a folder of the module, as `./folder`, or of a module it requires.
pub(crate) fn build_package(name: &str, package: &str, out: &Path, settings: &[(&str, &str)]) -> Result<()> {
    // Go 1.23 and later hide names of the runtime that dependencies of old Kubernetes versions may link to.
    let mut go = go(name, "-s -w -checklinkname=0", settings)?;
    run(go.arg("-o").arg(out).arg(package).env("CGO_ENABLED", "0")).map(drop)
}

/// The same for a program with parts in C, linked so that it runs in any image.
pub(crate) fn build_with_c(name: &str, package: &str, out: &Path, settings: &[(&str, &str)]) -> Result<()> {
    let mut go = go(name, "-s -w -linkmode=external -extldflags=-static", settings)?;
    // Without these tags its look-ups of names would load libraries of the machine.
    go.arg("-tags=netgo,osusergo").arg("-o").arg(out).arg(package);
    run(go.env("CGO_ENABLED", "1")).map(drop)
}

fn go(name: &str, linker: &str, settings: &[(&str, &str)]) -> Result<Command> {
    ensure!(packages::find("go").is_some(), "Go is not on PATH (tests/README.md: what the lab needs)");
    let mut linker = linker.to_owned();
    for (variable, value) in settings {
        linker.extend([" -X ", variable, "=", value]);
    }
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-ldflags", &linker]).current_dir(module(name));
    Ok(go)
}
