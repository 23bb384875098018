//! The process's edge: arguments, log, runtime, exit code.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kn_agent::cli::Cli;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Keys and tokens pass through here: no core of it, wherever cores go (a pipe ignores LimitCORE), and no debugger but
    // one with CAP_SYS_PTRACE. Where that cannot be had the limit of the unit stands.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // Two providers would be ambiguous, none a panic at the first connection: this one, before anything else.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("KN_AGENT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,kube_runtime=off"));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // The journal has its own clock; a person on a terminal wants no other either.
    log.with_ansi(std::io::stderr().is_terminal()).without_time().init();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let code = runtime.block_on(cli.run(&mut std::io::stdout(), &mut std::io::stderr()));
    // What is written to a disk is finished; a look-up of a name, which the C library does not let go of, is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}
