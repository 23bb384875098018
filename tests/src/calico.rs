//! calico's own manifests, out of the Go module that its repository is.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{go, process::run};

const MODULE: &str = "github.com/projectcalico/calico";

/// One of its manifests, such as `calico.yaml`.
pub fn calico_manifest(name: &str) -> Result<String> {
    let mut download = Command::new("go");
    download.args(["mod", "download", "-json", MODULE]).current_dir(go::module("calico"));
    let module: serde_json::Value = serde_json::from_str(&run(&mut download)?)?;
    let path = PathBuf::from(module["Dir"].as_str().context("no directory")?).join("manifests").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
}
