//! `kn-agent generate`: what a package ships beside the program. Hidden: people get it installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::Cli;

mod man;

/// Write the manual pages and shell completions that a package ships.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a manual page for each command, section 8
    Man {
        /// The directory to write to
        directory: PathBuf,
    },
    /// Write completions for bash, zsh and fish
    Completions {
        /// The directory to write to
        directory: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// A file can't be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Man { directory } => {
            for (name, page) in man::pages(Cli::command()) {
                write(directory, &name, &page)?;
            }
        }
        What::Completions { directory } => {
            let command = visible(&Cli::command());
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command.clone(), "kn-agent", &mut script);
                write(directory, file_name(shell), &script)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The command without what is hidden: completions would offer it.
fn visible(command: &Command) -> Command {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set()).map(visible);
    let mut copy = Command::new(command.get_name().to_owned())
        .args(command.get_arguments().cloned())
        .subcommands(below)
        .about(command.get_about().cloned().unwrap_or_default());
    if let Some(version) = command.get_version() {
        copy = copy.version(version.to_owned());
    }
    copy
}

/// As the shell looks for it.
fn file_name(shell: Shell) -> &'static str {
    match shell {
        Shell::Zsh => "_kn-agent",
        Shell::Fish => "kn-agent.fish",
        _ => "kn-agent",
    }
}

fn write(directory: &Path, name: &str, content: &[u8]) -> anyhow::Result<()> {
    let path = directory.join(name);
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, content))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(what: &str) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("new");
        let words = ["kn-agent", "generate", what, directory.to_str().unwrap()];
        let crate::cli::Command::Generate(args) = <Cli as clap::Parser>::parse_from(words).command else {
            panic!("{words:?}");
        };
        run(&args).unwrap();
        let mut files: Vec<(String, String)> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn every_visible_command_has_a_page() {
        let names: Vec<String> = written("man").into_iter().map(|(name, _)| name).collect();
        insta::assert_snapshot!("pages", names.join("\n"));
    }

    #[test]
    fn completions_know_the_commands_and_their_options() {
        let files = written("completions");
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["_kn-agent", "kn-agent", "kn-agent.fish"]);
        for (name, script) in &files {
            assert!(script.contains("timeline") && script.contains("auto-approve"), "{name}");
            assert!(!script.contains("generate"), "{name} offers what is hidden");
        }
    }
}
