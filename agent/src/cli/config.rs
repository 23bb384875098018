//! `kn-agent config`: shows, checks and explains the configuration.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use super::output;
use crate::config::sources::read_text;
use crate::config::{ConfigErrors, HostFacts, Loaded, Provenance, STARTER, Sources, load, schema};
use crate::desired::versions::check::{self, Versions};
use crate::desired::versions::{Version, is_supported};
use crate::import;
use crate::observe::facts;
use crate::ports::root::Root;

/// Show, check, explain and import the configuration.
///
/// It is read from /etc/kn-agent/config.yaml, then /etc/kn-agent/config.d/*.yaml in order, over
/// /usr/lib/kn-agent/config.d/*.yaml; then from the environment, e.g. `KN_AGENT_NODE__NAME=worker-1`. Later wins, maps
/// merge, lists replace.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent config init > config.yaml     a commented file to edit; then install -m 0600 config.yaml /etc/kn-agent/
  kn-agent config explain node.name      its meaning, its value, its source
  kn-agent config import --vars vars kubelet.service kube-proxy.service kubelet.kubeconfig > config.yaml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the effective configuration, defaults filled in, secrets redacted
    ///
    /// What all files and the environment come to, in the form of one file. `kn-agent config explain KEY` says where a
    /// value comes from.
    Show {
        /// How to print it
        #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Yaml)]
        output: Format,
    },
    /// Check the configuration, or FILE in its place, and report every problem
    ///
    /// Each problem with its file, line and key, what was expected, and the nearest key where one is unknown. Prints the
    /// files it read where nothing is wrong; ends with code 2 otherwise. kubelet.config, proxy.config and extraArgs are
    /// checked against the kubelet and kube-proxy of this machine, or against any version with --for.
    Validate {
        /// The file to check [default: everything that the daemon would read]
        file: Option<PathBuf>,
        /// Take kubelet and kube-proxy to be of this version, e.g. 1.36, and execute neither
        #[arg(long = "for", value_name = "VERSION", value_parser = Version::supported)]
        version: Option<Version>,
    },
    /// Say what a key means, its value, and where that comes from
    ///
    /// The file and line, the environment variable, the default, or how the value was computed. A group tells every value
    /// in it: `kn-agent config explain cluster`.
    Explain {
        /// The key, dotted, e.g. cluster.dns.domain
        #[arg(value_name = "KEY")]
        path: String,
    },
    /// Print the JSON Schema of a configuration file
    ///
    /// An editor that knows it completes keys and marks wrong ones: in VS Code, yaml.schemas of the YAML extension.
    Schema,
    /// Print a commented configuration to start from
    ///
    /// Three values are to be filled in: the API server, its CA and a token; every other key stands there with its
    /// default. `kn-agent token create --node NAME --print config` prints one with the three filled in.
    Init,
    /// Print a configuration made of what ran a node before
    ///
    /// FILE: unit files of kubelet, kube-proxy and docker, kubeconfigs of theirs, docker's daemon.json, a CNI configuration,
    /// requests for certificates; templates too. What each is, its content says. The configuration goes to standard output;
    /// to standard error a line for whatever is not in it as it was: file and line, why, and what stands for it. A token is
    /// never printed. Ends with code 2 where something can't be read or the result would be no valid configuration.
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// What placeholders stand for, `{{ NAME }}` and `${NAME}`: lines NAME=value
    #[arg(long, value_name = "FILE")]
    vars: Option<PathBuf>,
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// As it would be written
    Yaml,
    /// For a program
    Json,
}

/// The versions of kubelet and kube-proxy on this machine, where the command wants to know them and they can be told.
pub(super) async fn installed(args: &Args, sources: &Sources, host: &HostFacts) -> Option<Versions> {
    let Command::Validate { file, version: None } = &args.command else { return None };
    let only = file.clone().or_else(|| sources.only.clone());
    let config = load(&Sources { only, ..sources.clone() }, host).ok()?.config;
    let found = facts::quick(&Root::new("/"), &config);
    let (kubelet, proxy) = futures::join!(facts::ask(&found.kubelet, false), facts::ask(&found.proxy, false));
    let kubelet = kubelet.version.filter(|version| is_supported(*version))?;
    Some(Versions { kubelet, proxy: proxy.version.unwrap_or(kubelet) })
}

/// Refuses settings that these versions do not know.
fn settings(loaded: &Loaded, versions: Versions) -> Result<(), ConfigErrors> {
    let findings = check::all(&loaded.config, versions).into_iter().filter(|finding| finding.state.refuses());
    let problems: Vec<_> = findings
        .map(|found| loaded.provenance.problem(&found.path, &found.message, found.hint.as_deref()))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(ConfigErrors { problems, not_configured: false }) }
}

/// The machine that a configuration is for.
#[derive(Debug)]
pub struct Host<'a> {
    /// What defaults are computed from.
    pub facts: &'a HostFacts,
    /// What to validate against where no version is named.
    pub installed: Option<Versions>,
}

/// Runs the command; its answer goes to `out`, what is said beside it to `err`.
///
/// # Errors
///
/// [`crate::config::ConfigErrors`] where the configuration is wrong (exit code 2); anything else where `out` can't be written.
pub fn run(
    args: &Args,
    sources: Sources,
    host: &Host<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let &Host { facts: host, installed } = host;
    match &args.command {
        Command::Show { output: format } => {
            let effective = load(&sources, host)?.provenance;
            match format {
                Format::Yaml => out.write_all(output::yaml(effective.effective())?.as_bytes())?,
                Format::Json => out.write_all(output::json(effective.effective())?.as_bytes())?,
            }
        }
        Command::Validate { file, version } => {
            let only = file.clone().or_else(|| sources.only.clone());
            let loaded = load(&Sources { only, ..sources }, host)?;
            let versions = version.map(|version| Versions { kubelet: version, proxy: version }).or(installed);
            if let Some(versions) = versions {
                settings(&loaded, versions)?;
            }
            writeln!(out, "valid")?;
            for file in loaded.files {
                writeln!(out, "  read {}", file.display())?;
            }
            match versions {
                Some(Versions { kubelet, .. }) => {
                    writeln!(out, "  checked against Kubernetes 1.{}", kubelet.minor)?;
                }
                None => writeln!(
                    out,
                    "  fields and flags not checked: no kubelet here tells its version, --for names one"
                )?,
            }
        }
        Command::Explain { path } => {
            // What a key means is asked before anything is configured, too.
            let provenance = match load(&sources, host) {
                Ok(loaded) => loaded.provenance,
                Err(errors) if errors.not_configured => {
                    writeln!(err, "nothing is configured yet: values are the defaults")?;
                    Provenance::unconfigured(host)?
                }
                Err(errors) => return Err(errors.into()),
            };
            write!(out, "{}", provenance.explain(path)?)?;
        }
        Command::Schema => out.write_all(output::json(&schema())?.as_bytes())?,
        Command::Init => write!(out, "{STARTER}")?,
        Command::Import(args) => {
            let read =
                |file: &PathBuf| read_text(file).map(|text| import::Input { name: file.clone(), text });
            let vars = args.vars.as_ref().map(read).transpose()?;
            let inputs = args.files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let imported = import::import(&inputs, vars.as_ref())?;
            for note in &imported.notes {
                writeln!(err, "{note}")?;
            }
            out.write_all(imported.config.as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
