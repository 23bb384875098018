//! `kn-agent certs`: every certificate on the node, and the wish for a new one.

use std::io::Write;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;

use super::output::{self, OutputArgs};
use super::status::published;
use super::{Error, configuration};
use crate::config::{Config, Sources};
use crate::desired::{paths, units};
use crate::observe::{certificates, supplied, token, trust};
use crate::ports::root::Root;
use crate::ports::systemd::{Systemd, UnitState};
use crate::reconcile::daemon_runs;
use crate::status::certs::{Certs, Looked};

/// Show every certificate on the node: whose, until when, who renews it and whether that can work.
///
/// Reads the files themselves, so it works with the daemon dead; what the daemon waits for is told where it runs.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  kn-agent certs -o json                  the document, for a program
  kn-agent certs renew kube-proxy         a new key and certificate now

Exit codes: 0 all is well; 3 something is to come; 4 something has expired, or somebody must act"
)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask for a new certificate now
    ///
    /// The daemon asks for kube-proxy's with the node's certificate and puts it in the place of the old one when it is
    /// there; kube-proxy reads it within five minutes. The kubelet's are the kubelet's own to renew: for them this says
    /// when it does.
    Renew {
        /// Which certificate
        #[arg(value_enum, value_name = "NAME")]
        name: Name,
    },
}

/// A certificate's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The kubelet's client certificate, which is the node's own
    KubeletClient,
    /// The kubelet's serving certificate
    KubeletServing,
    /// kube-proxy's client certificate
    KubeProxy,
}

pub(super) async fn run(args: &Args, sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let config = configuration(sources)?;
    let root = Root::new("/");
    match args.command {
        Some(Command::Renew { name: Name::KubeProxy }) => renew_proxy(&config, &root, out),
        Some(Command::Renew { name }) => Err(kubelets(name)),
        None => {
            let document = Certs::of(&look(&config, &root).await, Timestamp::now());
            output::print(args.output.output, &document, Certs::text, out)?;
            Ok(ExitCode::from(document.exit_code()))
        }
    }
}

async fn look<'a>(config: &'a Config, root: &Root) -> Looked<'a> {
    let client = match &config.identity.supplied {
        Some(files) => supplied::pair(root, files).map(|pair| Some(pair.certificate)),
        None => certificates::read(root, paths::kubelet_client()),
    };
    Looked {
        config,
        client,
        serving: certificates::read(root, paths::kubelet_server()),
        proxy: certificates::read(root, paths::proxy_client()),
        ca: trust::bundle(root, config),
        token: token::look(root, config),
        kubelet_runs: kubelet_runs().await,
        daemon: published(root).filter(|_| daemon_runs(root)),
    }
}

async fn kubelet_runs() -> Option<bool> {
    let mut units = Systemd::connect(None).await.ok()?.units(&[units::KUBELET], |_| false).await;
    units.remove(units::KUBELET)?.ok().as_ref().map(UnitState::is_active)
}

/// The wish is an empty file: the daemon sees it appear, and takes it away when it is fulfilled.
fn renew_proxy(config: &Config, root: &Root, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let elsewhere = match &config.proxy.kubeconfig {
        _ if !config.proxy.enabled => Some("proxy.enabled is false"),
        Some(_) => Some("proxy.kubeconfig names one made elsewhere"),
        None => None,
    };
    if let Some(why) = elsewhere {
        return Err(Error::new(2, format!("kube-proxy's certificate is not kn-agent's here: {why}")));
    }
    root.write(paths::renew_proxy(), b"", 0o600).map_err(|failure| Error::new(1, failure.message))?;
    if daemon_runs(root) {
        writeln!(out, "asked for; `kn-agent certs` shows what becomes of it")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "noted for the daemon's next start: systemctl start kn-agent")?;
    Ok(ExitCode::from(5))
}

fn kubelets(name: Name) -> Error {
    let more = match name {
        Name::KubeletServing => {
            "somebody approves its request; after `rm /var/lib/kubelet/pki/kubelet-server-current.pem` and \
             `systemctl restart kubelet` it asks at once"
        }
        _ => "it keeps the one it has in memory, so that a file put in its place would not be used",
    };
    let when =
        "the kubelet renews this certificate itself, at 70 to 90 % of its life (`kn-agent certs` shows when)";
    Error::new(1, format!("{when}; {more}"))
}
