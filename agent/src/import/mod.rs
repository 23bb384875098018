//! `kn-agent config import`: what ran a node before → a configuration, and what became of everything that is not in it.
//!
//! Pure. Unit files of kubelet, kube-proxy and docker, kubeconfigs, docker's `daemon.json`, a CNI configuration and
//! requests for certificates, each known by what it holds. No flag is lost unsaid: it becomes a key, a field or a line
//! that says why it is gone and what stands for it.

mod document;
mod draft;
mod flags;
mod given;
mod identity;
mod kubeconfig;
mod kubelet;
mod proxy;
mod service;
#[cfg(test)]
mod tests;
mod unit;
mod values;
mod vars;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use draft::Note;
use draft::{Draft, Place};
use given::Given;
use kubeconfig::Kubeconfig;
use vars::Vars;

use crate::config::{ConfigErrors, verify};

/// A file, as the operator names it.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name.
    pub name: PathBuf,
    /// What it holds.
    pub text: String,
}

/// What an import came to.
#[derive(Debug)]
pub struct Imported {
    /// The configuration, as a file.
    pub config: String,
    /// What is not in it as it was, and why.
    pub notes: Vec<Note>,
}

/// A program whose flags are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    Kubelet,
    Proxy,
    Dockerd,
}

impl Program {
    fn of(name: &str) -> Option<Self> {
        match name {
            "kubelet" => Some(Self::Kubelet),
            "kube-proxy" => Some(Self::Proxy),
            "dockerd" => Some(Self::Dockerd),
            _ => None,
        }
    }

    /// The group of ours that holds its configuration.
    fn group(self) -> [&'static str; 2] {
        match self {
            Self::Kubelet => ["kubelet", "config"],
            Self::Proxy => ["proxy", "config"],
            Self::Dockerd => ["runtime", "daemonJson"],
        }
    }
}

/// What was found in all files, before it is decided what it means together.
#[derive(Debug, Default)]
struct Gathered {
    flags: BTreeMap<(Program, &'static str), Given>,
    kubeconfigs: Vec<Kubeconfig>,
}

impl Gathered {
    fn flag(&self, program: Program, name: &'static str) -> Option<&Given> {
        self.flags.get(&(program, name))
    }
}

/// Imports `inputs`, with `vars` for their placeholders.
///
/// # Errors
///
/// Everything that is wrong, with file and line; among it a result that would be no valid configuration.
pub fn import(inputs: &[Input], vars: Option<&Input>) -> Result<Imported, ConfigErrors> {
    let mut draft = Draft::default();
    let vars = vars.map(|input| Vars::read(input, &mut draft)).unwrap_or_default();
    let mut gathered = Gathered::default();
    for input in inputs {
        let known = draft.problems.len();
        let filled = Input { name: input.name.clone(), text: vars.fill_jinja(input, &mut draft) };
        if draft.problems.len() == known {
            read(&filled, &vars, &mut gathered, &mut draft);
        }
    }
    if !draft.problems.is_empty() {
        // What else would be missed is a consequence of these.
        return Err(draft.into_errors());
    }
    kubelet::settle(&gathered, &mut draft);
    let mode = identity::settle(&gathered, &mut draft);
    proxy::settle(&gathered, mode, &mut draft);
    let files: Vec<&Path> = inputs.iter().map(|input| input.name.as_path()).collect();
    let (config, notes) = draft.finish(&files)?;
    let config = written(&files, &Value::Object(config));
    verify(Path::new("what was imported"), &config)?;
    Ok(Imported { config, notes })
}

/// Reads a file as what it is.
fn read(input: &Input, vars: &Vars, gathered: &mut Gathered, draft: &mut Draft) {
    if unit::is_unit(&input.text) {
        service::read(input, vars, gathered, draft);
        return;
    }
    let filled = Input { name: input.name.clone(), text: fill_lines(input, vars, draft) };
    let json = filled.text.trim_start().starts_with('{').then(|| document::parse(&filled, draft));
    match json {
        Some(None) => {}
        // Kubernetes' own objects may be written as JSON, too.
        Some(Some(map)) if !map.contains_key("kind") && !map.contains_key("apiVersion") => {
            document::read(&filled, map, draft);
        }
        None | Some(Some(_)) => gathered.kubeconfigs.extend(Kubeconfig::read(&filled, draft)),
    }
}

/// Fills what a shell would, in a file that is no unit.
fn fill_lines(input: &Input, vars: &Vars, draft: &mut Draft) -> String {
    let mut text = String::with_capacity(input.text.len());
    for (number, line) in (1u32..).zip(input.text.lines()) {
        let place = Place::line(&input.name, number);
        let is_comment = unit::is_comment(line);
        text.push_str(&if is_comment { line.to_owned() } else { vars.fill_shell(line, &place, draft) });
        text.push('\n');
    }
    text
}

/// The configuration as a file that says where it came from.
fn written(files: &[&Path], config: &Value) -> String {
    let mut text = "# Made by `kn-agent config import` from".to_owned();
    for (index, file) in files.iter().enumerate() {
        let _ = write!(text, "{} {}", if index == 0 { "" } else { "," }, file.display());
    }
    text.push('\n');
    text + &serde_saphyr::to_string(config).unwrap_or_else(|_| config.to_string())
}
