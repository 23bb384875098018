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
    // A Go program that is asked for its version ends at once and need not collect its garbage before. That is a quarter
    // of the processor time of `kubelet --version` (1.36: 113 ms, 90 without), beside which the engine starts.
    let mut command = Command::new(program);
    let run = command.args(args).env("GOGC", "off").stdin(Stdio::null()).kill_on_drop(true).output();
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

/// What systemd says at every start and stop, and what tells nothing of why one failed.
const ROUTINE: [&str; 5] = ["Starting ", "Started ", "Stopping ", "Stopped ", "Failed to start "];

/// The last `count` log lines of a unit that tell something, oldest first; empty where the journal can't be read.
pub async fn last_lines(unit: &str, count: u8) -> Vec<String> {
    // A restart brings five lines of routine: of three starts in a row something is left.
    let searched = (u16::from(count) * 4).to_string();
    let args = ["-u", unit, "-n", &searched, "-o", "cat", "--no-pager", "-q"];
    let text = output(Path::new("/usr/bin/journalctl"), &args).await.unwrap_or_default();
    telling(unit, &text, usize::from(count))
}

fn telling(unit: &str, text: &str, count: usize) -> Vec<String> {
    let restart = format!("{unit}: Scheduled restart job");
    let is_routine =
        |line: &&str| line.starts_with(&restart) || ROUTINE.iter().any(|start| line.starts_with(start));
    let lines: Vec<&str> = text.lines().filter(|line| !is_routine(line)).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|&line| line.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_program_said_is_left_of_its_log_and_routine_is_not() {
        let log = "Starting k.service - K...\nE1 bad maxPods\nk.service: Main process exited, status=1\n\
                   Failed to start k.service - K.\nk.service: Scheduled restart job, restart counter is at 1.\n\
                   Starting k.service - K...\n";
        let left = ["E1 bad maxPods", "k.service: Main process exited, status=1"];
        assert_eq!(super::telling("k.service", log, 5), left);
        assert_eq!(super::telling("k.service", log, 1), left[1..]);
    }
}
