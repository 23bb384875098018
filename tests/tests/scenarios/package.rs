//! What the Debian package holds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Runs a program; its answer.
fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

struct Package {
    file: String,
    /// What `dpkg-deb -c` says: mode, owner, path.
    entries: Vec<(String, String, String)>,
}

impl Package {
    fn open() -> Result<Self> {
        let file = std::env::var("KN_AGENT_DEB").context("$KN_AGENT_DEB is not set: run `make test`")?;
        let list = run("dpkg-deb", &["--contents", &file])?;
        let entry = |line: &str| {
            let mut words = line.split_whitespace();
            let (mode, owner) = (words.next()?.to_owned(), words.next()?.to_owned());
            Some((mode, owner, words.nth(3)?.trim_start_matches('.').to_owned()))
        };
        let entries = list.lines().map(|line| entry(line).with_context(|| format!("what is `{line}`?")));
        Ok(Self { file, entries: entries.collect::<Result<_>>()? })
    }

    fn paths(&self) -> BTreeSet<&str> {
        self.entries.iter().map(|(_, _, path)| path.as_str()).collect()
    }
}

#[test]
fn package_holds_program_units_manuals_and_completions() -> Result<()> {
    let package = Package::open()?;
    let paths = package.paths();
    for wanted in [
        "/usr/bin/kn-agent",
        "/lib/systemd/system/kn-agent.service",
        "/lib/systemd/system/kn-agent-approver.service",
        "/etc/kn-agent/config.d/",
        "/usr/share/man/man8/kn-agent.8.gz",
        "/usr/share/man/man8/kn-agent-token-create.8.gz",
        "/usr/share/bash-completion/completions/kn-agent",
        "/usr/share/zsh/vendor-completions/_kn-agent",
        "/usr/share/fish/vendor_completions.d/kn-agent.fish",
    ] {
        ensure!(paths.contains(wanted), "the package lacks {wanted}: {paths:?}");
    }
    for (mode, owner, path) in &package.entries {
        ensure!(owner == "root/root", "{path} belongs to {owner}");
        let executable = path == "/usr/bin/kn-agent";
        let wanted = match mode.chars().next() {
            Some('d') => "drwxr-xr-x",
            _ if executable => "-rwxr-xr-x",
            _ => "-rw-r--r--",
        };
        ensure!(mode == wanted, "{path} has mode {mode}");
    }
    Ok(())
}

#[test]
fn manual_pages_that_units_name_are_there() -> Result<()> {
    let package = Package::open()?;
    let directory = tempfile::tempdir()?;
    let root = directory.path().to_str().context("an odd temporary directory")?;
    run("dpkg-deb", &["--extract", &package.file, root])?;
    let units = PathBuf::from(root).join("lib/systemd/system");
    let mut named = 0;
    for unit in std::fs::read_dir(units)? {
        let text = std::fs::read_to_string(unit?.path())?;
        for page in text.lines().filter_map(|line| line.strip_prefix("Documentation=man:")) {
            let (name, section) =
                page.trim_end_matches(')').split_once('(').context("a page without a section")?;
            let path = format!("/usr/share/man/man{section}/{name}.{section}.gz");
            ensure!(package.paths().contains(path.as_str()), "the package lacks {path}");
            named += 1;
        }
    }
    ensure!(named > 0, "no unit names a manual page");
    Ok(())
}
