//! `docs/reference/commands.md`: what `--help` says.

use std::fmt::Write;

use clap::{Command, CommandFactory};
use kn_agent::cli::Cli;

pub(crate) fn text() -> String {
    let mut command = Cli::command().disable_help_subcommand(true).term_width(100);
    command.build();
    let mut text = "What `--help` says of each command; the package has the same as manual pages (`man kn-agent-status`).\n"
        .to_owned();
    section(&command, &mut text);
    text
}

fn section(command: &Command, text: &mut String) {
    let name =
        command.get_display_name().unwrap_or(command.get_name()).replace('-', " ").replacen(' ', "-", 1);
    let mut command = command.clone().term_width(100);
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(text, "\n## {name}\n\n```text\n{}\n```", lines.join("\n").trim());
    command.get_subcommands().filter(|below| !below.is_hide_set()).for_each(|below| section(below, text));
}
