//! Where the configuration stands: directories, order, environment. The only file that reads it.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use config::{Case, Config as Layers, Environment, File, FileFormat};
use thiserror::Error;

use super::fragment::Fragment;
use super::{Config, Problem, TokenSource, validate};
use crate::names::Token;

/// Directory of the operator's configuration.
pub const ETC: &str = "/etc/kn-agent";

/// Where to read from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// All paths are below this.
    pub root: PathBuf,
    /// This file alone, instead of the default set.
    pub only: Option<PathBuf>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// The default set on this machine, or one file, and this process's environment.
    pub fn of_host(only: Option<PathBuf>) -> Self {
        Self { root: "/".into(), only, environment: std::env::vars().collect() }
    }

    /// The files there are, in the order in which later ones win.
    pub fn files(&self) -> Vec<PathBuf> {
        if let Some(only) = &self.only {
            return vec![only.clone()];
        }
        let mut files = drop_ins(&self.root.join("usr/lib/kn-agent/config.d"));
        files.extend([self.root.join("etc/kn-agent/config.yaml")].into_iter().filter(|f| f.exists()));
        files.extend(drop_ins(&self.root.join("etc/kn-agent/config.d")));
        files
    }
}

fn drop_ins(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
                .collect()
        })
        .unwrap_or_default();
    files.sort();
    files
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum LoadError {
    /// There is no file at all.
    NotConfigured,
    /// What is wrong, all of it.
    Problems(Vec<Problem>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => write!(
                f,
                "not configured: there is no {ETC}/config.yaml\n  on an admin machine: kn-agent token create --print config > config.yaml, \
                 then put it there with mode 0600"
            ),
            Self::Problems(problems) => {
                let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

/// Reads, merges and checks.
///
/// # Errors
/// There is no configuration, or every problem found in it.
pub fn load(sources: &Sources) -> Result<Config, LoadError> {
    let files = sources.files();
    if files.is_empty() {
        return Err(LoadError::NotConfigured);
    }
    let mut problems = Vec::new();
    let mut layers = Layers::builder();
    for file in &files {
        match read(file) {
            Ok(fragment) => layers = layers.add_source(File::from_str(&fragment, FileFormat::Json)),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(LoadError::Problems(problems));
    }
    // A prefix of its own for settings; KN_AGENT_LOG is the log filter.
    let ours = sources
        .environment
        .iter()
        .filter(|(key, _)| key.starts_with("KN_AGENT_") && key != "KN_AGENT_LOG")
        .cloned()
        .collect();
    let environment = Environment::with_prefix("KN_AGENT")
        .prefix_separator("_")
        .separator("__")
        .convert_case(Case::Camel)
        .source(Some(ours));
    let merged = layers
        .add_source(environment)
        .build()
        .map_err(|error| LoadError::Problems(vec![Problem::at("", error.to_string())]))?;
    let fragment: Fragment = serde_path_to_error::deserialize(merged).map_err(|error| {
        LoadError::Problems(vec![Problem::at(&error.path().to_string(), error.inner().to_string())])
    })?;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    validate::validate(&fragment, &hostname).map_err(|problems| {
        let file = files.last().filter(|_| files.len() == 1).cloned();
        LoadError::Problems(problems.into_iter().map(|p| Problem { file: file.clone(), ..p }).collect())
    })
}

/// One file as JSON, checked on its own so that a problem has its file and line.
fn read(file: &Path) -> Result<String, Problem> {
    let in_file = |message: String| Problem { file: Some(file.to_owned()), ..Problem::at("", message) };
    let text = std::fs::read_to_string(file).map_err(|error| in_file(format!("cannot be read: {error}")))?;
    let fragment: Fragment = if text.trim().is_empty() {
        Fragment::default()
    } else {
        serde_saphyr::from_str(&text)
            .map_err(|error| in_file(super::explain_parse_error(&error.to_string())))?
    };
    let holds_token =
        fragment.identity.as_ref().and_then(|i| i.token.as_ref()).is_some_and(|t| t.value.is_some());
    if holds_token {
        check_mode(file).map_err(in_file)?;
    }
    serde_json::to_string(&fragment).map_err(|error| in_file(error.to_string()))
}

fn check_mode(file: &Path) -> Result<(), String> {
    let mode = std::fs::metadata(file).map_err(|error| error.to_string())?.mode() & 0o777;
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(format!(
        "holds a token and has mode {mode:04o}: others can read it; run `chmod 600 {}`",
        file.display()
    ))
}

/// Why a token can't be read. The text never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TokenError(String);

/// Reads the token from its source, anew each time.
///
/// # Errors
/// Its file is absent, readable by others, or holds something else.
pub fn read_token(
    source: &TokenSource,
    root: &Path,
    credentials: Option<&Path>,
) -> Result<Token, TokenError> {
    let file = match source {
        TokenSource::Value(token) => return Ok(token.clone()),
        TokenSource::File(path) => root.join(path.strip_prefix("/").unwrap_or(path)),
        TokenSource::Credential(name) => match credentials {
            Some(directory) => directory.join(name),
            None => {
                return Err(TokenError(format!(
                    "kn-agent.service has no systemd credential `{name}`; give it one with LoadCredential={name}:FILE"
                )));
            }
        },
    };
    let shown = file.display();
    if matches!(source, TokenSource::File(_)) && file.exists() {
        check_mode(&file).map_err(|why| TokenError(format!("`{shown}` {why}")))?;
    }
    let text = std::fs::read_to_string(&file)
        .map_err(|error| TokenError(format!("cannot read the token file `{shown}`: {error}")))?;
    text.parse().map_err(|error| TokenError(format!("`{shown}`: {error}")))
}

/// Where systemd put this process's credentials.
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}
