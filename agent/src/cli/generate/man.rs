//! Manual pages from the command line's own description.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Administration commands.
const SECTION: &str = "8";

/// A page a command that is not hidden, by file name.
pub(super) fn pages(command: Command) -> Vec<(String, Vec<u8>)> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages);
    pages
}

fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) {
    let man = Man::new(command.clone()).section(SECTION).source(source(command)).manual("kn-agent");
    let mut page = Vec::new();
    // A vector takes everything.
    let _ = render(&man, command, &mut page);
    pages.push((man.get_filename(), page));
    command.get_subcommands().filter(|below| !below.is_hide_set()).for_each(|below| collect(below, pages));
}

fn source(command: &Command) -> String {
    format!("kn-agent {}", command.get_version().unwrap_or(env!("CARGO_PKG_VERSION")))
}

fn render(man: &Man, command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(page)?;
    }
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(page)?;
    }
    let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    after_help(after.as_deref().unwrap_or_default()).to_writer(page)?;
    if command.get_name() == "kn-agent" {
        files().to_writer(page)?;
    }
    Ok(())
}

/// Each paragraph of what stands after the options, `Heading:` and lines or `Heading: text`, is a section of its own.
fn after_help(text: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in text.split("\n\n") {
        let Some((heading, body)) = paragraph.split_once(':') else { continue };
        roff.control("SH", [heading.to_uppercase().as_str()]);
        let lines = body.trim_matches('\n');
        if lines.contains('\n') || lines.starts_with("  ") {
            // Columns of a table and command lines stand as they are written.
            roff.control("nf", []);
            for line in lines.lines() {
                roff.text([roman(line.trim_start())]);
            }
            roff.control("fi", []);
        } else {
            roff.text([roman(lines.trim())]);
        }
    }
    roff
}

fn files() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    for (path, what) in [
        ("/etc/kn-agent/config.yaml", "the configuration"),
        ("/etc/kn-agent/config.d/*.yaml", "more of it, in order, each over what came before"),
        ("/usr/lib/kn-agent/config.d/*.yaml", "what a machine image brings along, below both"),
        ("/run/kn-agent/status.json", "what the daemon last published"),
        (
            "/var/lib/kn-agent/",
            "keys that wait for their certificate, and the note that this machine is a node",
        ),
    ] {
        roff.control("TP", []);
        roff.text([roman(path)]);
        roff.text([roman(what)]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Cli;
    use super::*;

    fn page(name: &str) -> String {
        let pages = pages(Cli::command());
        let (_, page) = pages.into_iter().find(|(known, _)| known == name).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn examples_and_exit_codes_are_sections_with_lines_of_their_own() {
        let page = page("kn-agent-status.8");
        assert!(page.contains(".SH EXAMPLES\n.nf\nkn\\-agent status \\-\\-wait"), "{page}");
        assert!(page.contains(".fi\n.SH \"EXIT CODES\"\n0 Ready; 3 on its way"), "{page}");
    }

    #[test]
    fn the_program_has_its_files_and_names_its_commands() {
        let page = page("kn-agent.8");
        assert!(page.contains(".TH kn-agent 8"), "{page}");
        for needle in [".SH FILES", "kn\\-agent\\-status(8)", "5  the daemon is not running"] {
            assert!(page.contains(needle), "{needle} in {page}");
        }
        assert!(!page.contains("generate"), "{page}");
    }
}
