//! `kn-agent logs`: the right journal, no unit names to remember.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use clap::ValueEnum;

use super::Error;

/// Show the journal of the kubelet, kube-proxy, the runtime or the agent.
///
/// Runs journalctl for the unit, or the units, that belong to it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent logs kubelet -f     follow the kubelet
  kn-agent logs runtime        the container runtime: docker and cri-dockerd, or containerd")]
pub(super) struct Args {
    /// Whose journal
    #[arg(value_enum, default_value_t = Whose::Agent)]
    whose: Whose,
    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Whose {
    /// kubelet.service
    Kubelet,
    /// kube-proxy.service
    Proxy,
    /// docker.service and cri-docker.service, containerd.service
    Runtime,
    /// kn-agent.service
    Agent,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let units: &[&str] = match args.whose {
        Whose::Kubelet => &["kubelet"],
        Whose::Proxy => &["kube-proxy"],
        Whose::Runtime => &["docker", "cri-docker", "containerd"],
        Whose::Agent => &["kn-agent"],
    };
    let mut journal = std::process::Command::new("journalctl");
    journal.args(units.iter().flat_map(|unit| ["-u", unit]));
    if args.follow {
        journal.arg("-f");
    }
    // Replaces this process; returning means that it failed.
    Err(Error::new(1, format!("cannot execute journalctl: {}", journal.exec())))
}
