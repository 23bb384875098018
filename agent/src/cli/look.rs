//! `plan`, `check`, `logs`: looking without changing anything.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use jiff::Timestamp;

use super::{Error, configuration};
use crate::config::Sources;
use crate::plan::{Verdict, View, preflight};
use crate::ports::root::Root;
use crate::reconcile::Reconciler;

#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    /// Whose
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
    /// docker.service and cri-docker.service
    Runtime,
    /// kn-agent.service
    Agent,
}

async fn looking(sources: &Sources) -> Result<Reconciler, Error> {
    let config = configuration(sources)?;
    Ok(Reconciler::new(Arc::new(config), Root::new("/"), None, Timestamp::now()).await)
}

pub(super) async fn plan(sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let mut reconciler = looking(sources).await?;
    let (_, plan, _) = reconciler.look_once().await;
    if plan.steps().next().is_none() {
        writeln!(out, "nothing to do")?;
    }
    for (phase, verdict) in &plan.verdicts {
        match verdict {
            Verdict::Act(steps) => {
                for step in steps {
                    let consequence = if step.interrupts() { "  (interrupts what runs)" } else { "" };
                    writeln!(out, "{phase:<14} {}{consequence}", step.key())?;
                }
            }
            Verdict::Waiting { reason, message, .. } | Verdict::Blocked { reason, message } => {
                writeln!(out, "{phase:<14} {reason}: {message}")?;
            }
            Verdict::Held => writeln!(out, "{phase:<14} waits for {:?}", phase.requires())?,
            Verdict::Satisfied(_) => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn check(sources: &Sources, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let mut reconciler = looking(sources).await?;
    let (observed, _, _) = reconciler.look_once().await;
    let view =
        View { config: reconciler.config(), desired: None, observed: &observed, now: Timestamp::now() };
    let checks = preflight::checks(view);
    for check in &checks {
        let sign = match (&check.problem, check.ignored) {
            (None, _) => "✓",
            (Some(_), true) => "ignored",
            (Some(_), false) => "✗",
        };
        writeln!(out, "{sign} {:<14} {}", check.name, check.found)?;
        if let Some(problem) = &check.problem {
            writeln!(out, "  → {}: {}", problem.0, problem.0.remedy())?;
        }
    }
    let failed = checks.iter().any(|check| check.problem.is_some() && !check.ignored);
    Ok(ExitCode::from(if failed { 4 } else { 0 }))
}

pub(super) fn logs(args: &LogsArgs) -> Result<ExitCode, Error> {
    let units: &[&str] = match args.whose {
        Whose::Kubelet => &["kubelet"],
        Whose::Proxy => &["kube-proxy"],
        Whose::Runtime => &["docker", "cri-docker"],
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
