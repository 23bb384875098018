//! The few programs that are executed: `kubelet --version`, `--help`, and `journalctl` for log lines.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// `kubelet --version` costs 0.1 to 0.5 s, on a cold disk some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Standard output of a program that ended with 0.
///
/// # Errors
/// What is in the way, as text: it can't be executed, failed, or took more than 30 s.
pub async fn output(program: &Path, args: &[&str]) -> Result<String, String> {
    let run = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let shown = || format!("`{} {}`", program.display(), args.join(" "));
    let output = tokio::time::timeout(PATIENCE, run)
        .await
        .map_err(|_| format!("{} did not end within {PATIENCE:?}", shown()))?
        .map_err(|error| format!("cannot execute {}: {error}", shown()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{} ended with {}: {}",
            shown(),
            output.status,
            stderr.lines().next().unwrap_or("")
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last `count` log lines of a unit, oldest first; empty where the journal can't be read.
pub async fn last_lines(unit: &str, count: u8) -> Vec<String> {
    let args = ["-u", unit, "-n", &count.to_string(), "-o", "cat", "--no-pager", "-q"];
    output(Path::new("/usr/bin/journalctl"), &args)
        .await
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}
