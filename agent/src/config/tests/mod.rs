//! The whole way, from files in a directory to a configuration or to what is said about them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod commands;
mod layers;
mod reading;
mod secrets;
mod trust;
mod values;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::cli;

const TOKEN: &str = "abcdef.0123456789abcdef";
const MINIMUM: &str =
    "cluster: {server: 'https://10.0.0.10:6443', ca: {file: /ca.pem}}\nidentity: {token: {file: /token}}\n";

/// A machine's file system with a CA and a token, and its environment.
struct Machine {
    root: TempDir,
    env: Vec<(String, String)>,
    only: Option<PathBuf>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap(), env: Vec::new(), only: None };
        machine.write("/ca.pem", &ca_pem(), 0o644);
        machine.write("/token", TOKEN, 0o600);
        machine
    }

    /// One with `text` in its one file.
    fn with(text: &str) -> Self {
        let machine = Self::new();
        machine.write("/etc/kn-agent/config.yaml", text, 0o600);
        machine
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        let real = self.real(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(&real, text).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn real(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn set(mut self, variable: &str, value: &str) -> Self {
        self.env.push((variable.to_owned(), value.to_owned()));
        self
    }

    fn sources(&self) -> Sources {
        Sources { root: self.root.path().to_owned(), only: self.only.clone(), env: self.env.clone() }
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        load(&self.sources(), &host())
    }

    fn errors(&self) -> String {
        match self.load() {
            Ok(_) => String::new(),
            Err(errors) => errors.to_string(),
        }
    }

    /// What `kn-agent config …` prints, or why it does not.
    fn run(&self, words: &[&str]) -> Result<String, String> {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: cli::config::Args,
        }
        let line = Line::try_parse_from(std::iter::once(&"config").chain(words)).unwrap();
        let mut out = Vec::new();
        let host = cli::config::Host { facts: &host(), installed: None };
        cli::config::run(&line.args, self.sources(), &host, &mut out, &mut Vec::new())
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8(out).unwrap();
        Ok(text.replace(&self.root.path().display().to_string(), "[root]"))
    }
}

fn host() -> HostFacts {
    HostFacts { hostname: "Worker-1".to_owned(), processors: 2, memory: 8 << 30 }
}

fn ca_pem() -> String {
    rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem()
}

/// Each file's text and what is said about it, checked to hold `needle`.
fn report(cases: &[(&str, &str)]) -> String {
    let mut report = String::new();
    for (text, needle) in cases {
        let errors = Machine::with(text).errors();
        assert!(errors.contains(needle), "{text}\ngives\n{errors}\nwithout\n{needle}");
        writeln!(report, "{}\n{errors}\n", text.trim_end().replace('\n', "\n    ")).unwrap();
    }
    report
}

/// The same, below a configuration that would do.
fn report_over_minimum(cases: &[(&str, &str)]) -> String {
    let mut report = String::new();
    for (text, needle) in cases {
        let machine = Machine::new();
        machine.write("/usr/lib/kn-agent/config.d/00-minimum.yaml", MINIMUM, 0o644);
        machine.write("/etc/kn-agent/config.yaml", text, 0o600);
        let errors = machine.errors();
        assert!(errors.contains(needle), "{text}\ngives\n{errors}\nwithout\n{needle}");
        writeln!(report, "{text}\n    {}", errors.replace('\n', "\n    ")).unwrap();
    }
    report
}
