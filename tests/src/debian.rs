//! Packages of Debian releases other than the host's, from the archive the host uses, without touching its apt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{packages, process::run};

/// The keys that Debian's releases are signed with.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with sources, lists and cache of its own.
#[derive(Debug)]
pub(crate) struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Fetches the lists of `entries`, each a type and a release such as `deb-src bookworm`, into `directory`.
    pub(crate) fn new(directory: &Path, entries: &[&str]) -> Result<Self> {
        let mirror = packages::mirror()?;
        let mut sources = String::new();
        for (kind, release) in entries.iter().filter_map(|entry| entry.split_once(' ')) {
            sources.extend([kind, " [signed-by=", KEYRING, "] ", &mirror, " ", release, " main\n"]);
        }
        fs::create_dir_all(directory.join("lists/partial"))?;
        fs::create_dir_all(directory.join("cache/archives/partial"))?;
        fs::write(directory.join("sources.list"), sources)?;
        let apt = Self { directory: directory.to_owned() };
        apt.run(&["update"])?;
        Ok(apt)
    }

    /// Downloads a source package into the directory and unpacks it to `to`.
    pub(crate) fn source(&self, name: &str, to: &Path) -> Result<()> {
        self.run(&["source", "--download-only", name])?;
        fs::create_dir_all(to)?;
        for (suffix, strip) in [(".orig.tar.gz", "1"), (".debian.tar.xz", "0")] {
            for archive in self.files(suffix)? {
                let strip = format!("--strip-components={strip}");
                run(Command::new("tar")
                    .args(["--extract", &strip, "--directory"])
                    .arg(to)
                    .arg("--file")
                    .arg(archive))?;
            }
        }
        Ok(())
    }

    /// Downloads binary packages and unpacks them to `to`.
    pub(crate) fn unpack(&self, names: &[&str], to: &Path) -> Result<()> {
        self.run(&[&["download"], names].concat())?;
        for package in self.files(".deb")? {
            run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(to))?;
        }
        Ok(())
    }

    /// The first package that `name`, a package without content of its own, stands for.
    pub(crate) fn dependency(&self, name: &str) -> Result<String> {
        let listed = self.run_program("apt-cache", &["depends", name])?;
        let first = listed.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(first.with_context(|| format!("{name} depends on nothing: {listed}"))?.to_owned())
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        self.run_program("apt-get", words).map(drop)
    }

    fn run_program(&self, program: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        for (option, name) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.directory.join(name).display()));
        }
        command.args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "APT::Sandbox::User=root", "--quiet"]);
        run(command.args(words).current_dir(&self.directory))
    }

    /// The downloaded files whose names end in `suffix`.
    fn files(&self, suffix: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)) {
                found.push(path);
            }
        }
        Ok(found)
    }
}
