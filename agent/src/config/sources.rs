//! Where the configuration is read from. The only part of this layer that touches the file system.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use super::check::file_layer;
use super::env::env_layer;
use super::fragment::Fragment;
use super::merge::{Layer, defaults, merge};
use super::problem::{Findings, Problem};
use super::{
    Config, ConfigErrors, HostFacts, Origin, Provenance, TokenSource, ca, reserved, validate::validate,
};
use crate::names::{Invalid, Token};

/// Directories of drop-ins and the file itself, each over those before it.
const DEFAULT_SET: [&str; 3] =
    ["/usr/lib/kn-agent/config.d", "/etc/kn-agent/config.yaml", "/etc/kn-agent/config.d"];

/// No configuration is longer; what is was named by mistake.
const LONGEST: u64 = 1 << 20;

/// Where the configuration is read from.
#[derive(Clone)]
pub struct Sources {
    /// What stands for `/`.
    pub root: PathBuf,
    /// This file instead of the default set, as it is (`--config`).
    pub only: Option<PathBuf>,
    /// The environment; only `KN_AGENT_…` counts.
    pub env: Vec<(String, String)>,
}

impl std::fmt::Debug for Sources {
    /// Without the values of the environment: one may be the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("root", &self.root).field("only", &self.only).finish_non_exhaustive()
    }
}

impl Sources {
    /// What this machine's files and this process's environment say, or `only` one file.
    pub fn of_host(only: Option<PathBuf>) -> Self {
        Self { root: "/".into(), only, env: std::env::vars().collect() }
    }

    /// The files and directories in which the configuration may appear or change, present or not.
    pub fn watched(&self) -> Vec<PathBuf> {
        match &self.only {
            Some(file) => vec![file.clone()],
            None => DEFAULT_SET.iter().map(|path| under(&self.root, Path::new(path))).collect(),
        }
    }

    /// When the newest of the files was written; `None` where there is none.
    pub fn written_at(&self) -> Option<SystemTime> {
        let entries = |directory: PathBuf| {
            let found = fs::read_dir(&directory).into_iter().flatten();
            found.filter_map(|entry| Some(entry.ok()?.path())).chain([directory])
        };
        let files = self.watched().into_iter().flat_map(entries).filter_map(|path| path.metadata().ok());
        files.filter(fs::Metadata::is_file).filter_map(|file| file.modified().ok()).max()
    }
}

/// A configuration, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where each value comes from.
    pub provenance: Provenance,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file or credential can't be read.
    #[error("cannot read the token from `{}`", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others could read the file.
    #[error(
        "`{}` holds a token and others may read it (mode {mode:04o}); run `chmod 600 {}`", path.display(), path.display()
    )]
    Exposed {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What was read is no token.
    #[error("no token in `{}`", path.display())]
    Malformed {
        /// Where it was read.
        path: PathBuf,
        /// Why. Never repeats what was read.
        #[source]
        source: Invalid,
    },
    /// systemd passed no credentials.
    #[error(
        "credential `{name}` is wanted and systemd passed none; add `LoadCredential={name}:…` to kn-agent's unit"
    )]
    NoCredentials {
        /// The credential's name.
        name: String,
    },
}

/// Reads, merges and checks the configuration.
///
/// # Errors
///
/// Every problem found; or that nothing is configured at all.
pub fn load(sources: &Sources, host: &HostFacts) -> Result<Loaded, ConfigErrors> {
    let mut findings = Findings::default();
    let mut layers = vec![defaults(host)];
    let mut files = Vec::new();
    for file in files_of(sources, &mut findings) {
        layers.extend(read_layer(&file, &mut findings));
        files.push(file.real);
    }
    layers.push(env_layer(&sources.env, &mut findings));
    if let Some(layer) = reserved::layer(&layers, host) {
        layers.insert(1, layer);
    }

    if findings.problems.is_empty() && layers.iter().skip(1).all(Layer::is_empty) {
        return Err(not_configured(sources));
    }
    let loaded = resolve(layers, &sources.root, &mut findings);
    match loaded {
        Some((config, provenance)) if findings.problems.is_empty() => {
            Ok(Loaded { config, provenance, files })
        }
        _ => Err(ConfigErrors { problems: findings.problems, not_configured: false }),
    }
}

/// Layers → configuration, with the files that it names.
fn resolve(layers: Vec<Layer>, root: &Path, findings: &mut Findings) -> Option<(Config, Provenance)> {
    let (config, provenance) = resolved(layers, findings)?;
    for path in ["cluster.ca.file", "cluster.clientCA.file"] {
        check_ca_file(path, &provenance, root, findings);
    }
    check_token_file(&provenance, root, findings);
    Some((config?, provenance))
}

/// Layers → configuration, nothing read. The configuration is missing where something in it is.
pub(super) fn resolved(layers: Vec<Layer>, findings: &mut Findings) -> Option<(Option<Config>, Provenance)> {
    // Each value has the type of its key by now, so neither step should fail; the text of the error could hold a value.
    let Ok(merged) = merge(layers) else {
        findings.add(Problem::new("", "the files cannot be merged"));
        return None;
    };
    let provenance = Provenance::of(&merged.cache);
    let fragment: Fragment = match serde_path_to_error::deserialize(merged) {
        Ok(fragment) => fragment,
        Err(error) => {
            let path = error.path().to_string();
            findings.add(Problem::new(&path, "not understood").at(provenance.locate(&path)));
            return None;
        }
    };
    let config = validate(fragment, &provenance, findings);
    Some((config, provenance))
}

/// Reads the bootstrap token, wherever it is. `credentials` is `$CREDENTIALS_DIRECTORY`.
///
/// # Errors
///
/// It can't be read, others can read it, or it is no token.
pub fn read_token(
    source: &TokenSource,
    root: &Path,
    credentials: Option<&Path>,
) -> Result<Token, TokenError> {
    let (path, checked) = match source {
        TokenSource::Value(token) => return Ok(token.clone()),
        TokenSource::File(path) => (under(root, path), true),
        TokenSource::Credential(name) => {
            let directory = credentials.ok_or_else(|| TokenError::NoCredentials { name: name.clone() })?;
            // systemd sees to it that the unit alone can read these.
            (directory.join(name), false)
        }
    };
    let (text, mode) = read(&path).map_err(|source| TokenError::Read { path: path.clone(), source })?;
    if checked && is_exposed(mode) {
        return Err(TokenError::Exposed { path, mode });
    }
    text.parse().map_err(|source| TokenError::Malformed { path, source })
}

/// A file of the configuration.
struct SourceFile {
    /// Where it is.
    real: PathBuf,
    /// What the operator calls it.
    named: PathBuf,
}

/// The files there are, in order.
fn files_of(sources: &Sources, findings: &mut Findings) -> Vec<SourceFile> {
    if let Some(file) = &sources.only {
        return vec![SourceFile { real: file.clone(), named: file.clone() }];
    }
    let mut files = Vec::new();
    for path in DEFAULT_SET {
        let named = Path::new(path);
        let real = under(&sources.root, named);
        if is_yaml(named) {
            if real.exists() {
                files.push(SourceFile { real, named: named.to_owned() });
            }
            continue;
        }
        match drop_ins(&real) {
            Ok(found) => files.extend(
                found.iter().map(|name| SourceFile { real: real.join(name), named: named.join(name) }),
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => findings.add(unreadable(named, &error)),
        }
    }
    files
}

fn is_yaml(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("yaml"))
}

/// Reads a file that is to be imported.
///
/// # Errors
///
/// It can't be read.
pub fn read_text(path: &Path) -> Result<String, ConfigErrors> {
    match read(path) {
        Ok((text, _)) => Ok(text),
        Err(error) => Err(ConfigErrors { problems: vec![unreadable(path, &error)], not_configured: false }),
    }
}

/// The names of a directory's `*.yaml`, in lexical order, hidden ones left out.
fn drop_ins(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && is_yaml(Path::new(&name)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read_layer(file: &SourceFile, findings: &mut Findings) -> Option<Layer> {
    let (text, mode) = match read(&file.real) {
        Ok(read) => read,
        Err(error) => {
            findings.add(unreadable(&file.named, &error));
            return None;
        }
    };
    let layer = file_layer(&file.named, &text, findings);
    if let Some(value) = layer.get("identity.token.value").filter(|_| is_exposed(mode)) {
        let message = format!("the file holds a token and others may read it (mode {mode:04o})");
        let hint = format!("run `chmod 600 {}`", file.named.display());
        let origin = Origin::of(value);
        findings.add(Problem::new("identity.token.value", &message).at(origin.as_ref()).hint(&hint));
    }
    Some(layer)
}

fn check_ca_file(path: &str, provenance: &Provenance, root: &Path, findings: &mut Findings) {
    let Some(file) = provenance.text(path).filter(|file| file.starts_with('/')) else { return };
    let message = match read(&under(root, Path::new(file))) {
        Ok((pem, _)) => match ca::check_pem(&pem) {
            Ok(()) => return,
            Err(error) => format!("`{file}`: {error}"),
        },
        Err(error) => format!("cannot read `{file}`: {error}"),
    };
    findings.add(Problem::new(path, &message).at(provenance.locate(path)).hint(
        "copy the cluster's CA there; kubeadm keeps it in /etc/kubernetes/pki/ca.crt on the control plane",
    ));
}

/// A token file that is there must be private and hold a token. It may be missing or empty: once the node has its
/// certificate nobody needs it.
fn check_token_file(provenance: &Provenance, root: &Path, findings: &mut Findings) {
    let path = "identity.token.file";
    let Some(file) = provenance.text(path).filter(|file| file.starts_with('/')) else { return };
    let real = under(root, Path::new(file));
    let Ok(metadata) = fs::metadata(&real) else { return };
    let origin = provenance.locate(path);
    let mode = metadata.mode() & 0o7777;
    if is_exposed(mode) {
        let message = format!("`{file}` holds a token and others may read it (mode {mode:04o})");
        findings.add(Problem::new(path, &message).at(origin).hint(&format!("run `chmod 600 {file}`")));
        return;
    }
    let text = match read(&real) {
        Ok((text, _)) if !text.trim().is_empty() => text,
        _ => return,
    };
    if let Err(error) = text.parse::<Token>() {
        findings.add(Problem::new(path, &format!("`{file}`: {error}")).at(origin));
    }
}

/// A file's text and permission bits, both of the same open file.
fn read(path: &Path) -> io::Result<(String, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o7777;
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB"));
    }
    Ok((text, mode))
}

/// Whether anybody but the owner may do anything with the file.
fn is_exposed(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// `path` with `root` for `/`.
fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn unreadable(named: &Path, error: &io::Error) -> Problem {
    let origin = Origin::File { path: named.to_owned(), line: None };
    Problem::new("", &format!("cannot read: {error}")).at(Some(&origin))
}

fn not_configured(sources: &Sources) -> ConfigErrors {
    let place = match &sources.only {
        Some(file) => format!("`{}` sets nothing", file.display()),
        None => "nothing is set in /etc/kn-agent/config.yaml, /etc/kn-agent/config.d/*.yaml, \
                 /usr/lib/kn-agent/config.d/*.yaml and the environment"
            .to_owned(),
    };
    let problem = Problem::new("", &format!("not configured: {place}"))
        .hint("`kn-agent config init` prints a file to start from");
    ConfigErrors { problems: vec![problem], not_configured: true }
}
