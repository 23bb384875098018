//! What a record in `docs/evidence` was made of: the commit, and the day.

use std::process::Command;

use anyhow::Result;

use crate::process::run;

/// The commit that is checked out, and whether anything else is: to be asked when a run begins.
pub fn commit() -> Result<String> {
    let git = |words: &[&str]| run(Command::new("git").args(words)).map(|text| text.trim().to_owned());
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    // What is being written there is no change of what is run.
    let is_changed = !git(&["status", "--porcelain", "--", ":/", ":(exclude,top)docs/evidence"])?.is_empty();
    Ok(format!("{commit}{}", if is_changed { " with changes" } else { "" }))
}

/// The day, UTC.
pub fn day() -> Result<String> {
    Ok(run(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?.trim().to_owned())
}

/// How a record begins: its title, the command that makes it, the commit that is checked out and the day.
pub fn head(title: &str, command: &str) -> Result<String> {
    Ok(format!("# {title}, last run\n\n`{command}`, commit {}, {}", commit()?, day()?))
}
