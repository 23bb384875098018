//! kubelet or kube-proxy, asked for what it knows. Given a file and no API server, either reads its flags and its file, says
//! what it does not know, and ends: in a network and a mount namespace of its own, where it could do nothing else.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kn_agent::desired::versions::{Component, Setting, Sort, Version, settings};
use lab::Pair;
use serde_json::{Value, json};

use crate::rendering::Rendered;
use crate::sample;

/// Flags that cAdvisor gives to every program that links it: `boot-id-file` and `machine-id-file` to kube-proxy, and all of
/// them to the lab's own kube-proxy, which is one program with the kubelet.
const CADVISOR: [&str; 27] = [
    "allow-dynamic-housekeeping",
    "application-metrics-count-limit",
    "boot-id-file",
    "container-hints",
    "containerd",
    "containerd-env-metadata-whitelist",
    "containerd-namespace",
    "crio-client-timeout",
    "disable-root-cgroup-stats",
    "docker-only",
    "enable-load-reader",
    "event-storage-age-limit",
    "event-storage-event-limit",
    "global-housekeeping-interval",
    "housekeeping-interval",
    "log-cadvisor-usage",
    "machine-id-file",
    "max-housekeeping-interval",
    "referenced-reset-interval",
    "storage-driver-buffer-duration",
    "storage-driver-db",
    "storage-driver-host",
    "storage-driver-password",
    "storage-driver-secure",
    "storage-driver-table",
    "storage-driver-user",
    "update-machine-info-interval",
];

/// One program in one version.
pub(crate) struct Program {
    pub(crate) component: Component,
    pub(crate) version: Version,
    path: PathBuf,
}

/// What a program said before it ended.
struct Said(String);

impl Said {
    fn has(&self, needle: &str) -> bool {
        self.0.to_lowercase().contains(needle)
    }

    fn knows_not_a_field(&self) -> bool {
        self.has("unknown field") && self.has("lenient decoding")
    }

    fn cannot_read_its_file(&self) -> bool {
        self.has("failed to load kubelet config file") || self.has("failed complete")
    }

    /// It came as far as to look for what is missing on purpose.
    fn is_past_its_file(&self) -> bool {
        self.has("no such file or directory") && !self.cannot_read_its_file()
    }
}

impl Program {
    pub(crate) fn both(pair: &Pair) -> [Self; 2] {
        let version = Version { major: 1, minor: pair.minor, patch: 0 };
        [
            Self { component: Component::Kubelet, version, path: pair.kubelet.clone() },
            Self { component: Component::KubeProxy, version, path: pair.proxy.clone() },
        ]
    }

    /// Runs it to its end with this file and these flags, all paths below a directory where nothing is.
    fn run(&self, file: &str, flags: &[(String, String)]) -> Result<Said> {
        let directory = tempfile::tempdir()?;
        let below = |text: &str| {
            let place = directory.path().display().to_string();
            text.replace("/etc/kubernetes", &place).replace("/var/lib/kubelet", &place)
        };
        let config = directory.path().join("config");
        fs::write(&config, below(file))?;
        let mut command = Command::new("timeout");
        command.args(["30", "unshare", "--net", "--mount"]).arg(&self.path);
        command.arg(format!("--config={}", config.display()));
        if self.component == Component::Kubelet {
            command.arg(format!("--kubeconfig={}/none", directory.path().display()));
            command.arg(format!("--root-dir={}", directory.path().display()));
        }
        let flags = flags.iter().filter(|(flag, _)| flag != "config" && flag != "kubeconfig");
        command.args(flags.map(|(flag, value)| format!("--{flag}={}", below(value))));
        let output = command.output().context("cannot run `timeout`")?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(output.status.code() != Some(124), "{} did not end: {said}", self.path.display());
        Ok(Said(said))
    }

    fn run_document(&self, document: &Value) -> Result<Said> {
        self.run(&document.to_string(), &[])
    }

    pub(crate) fn takes(&self, rendered: &Rendered) -> Result<()> {
        let said = self.run(&rendered.file, &rendered.flags)?;
        let is_content = said.is_past_its_file() && !said.knows_not_a_field() && !said.has("unknown flag");
        ensure!(
            is_content && !said.has("lenient decoding"),
            "what we write is not taken:\n{}\n{}",
            rendered.file,
            said.0
        );
        Ok(())
    }

    pub(crate) fn refuses_a_misspelt_field(&self, rendered: &Rendered) -> Result<()> {
        let said = self.run(&format!("{}misspeltOnPurpose: true\n", rendered.file), &rendered.flags)?;
        ensure!(said.knows_not_a_field() && said.has("misspeltonpurpose"), "not told: {}", said.0);
        Ok(())
    }

    pub(crate) fn refuses_a_misspelt_flag(&self, rendered: &Rendered) -> Result<()> {
        let flags = [rendered.flags.as_slice(), &[("misspelt-on-purpose".into(), "1".into())]].concat();
        let said = self.run(&rendered.file, &flags)?;
        ensure!(said.has("unknown flag: --misspelt-on-purpose"), "not told: {}", said.0);
        Ok(())
    }

    /// All fields at once that the data say are known: none of them is unknown to the program, and each can be read.
    pub(crate) fn knows_the_fields_that_the_data_know(&self) -> Result<usize> {
        let mut document = sample::empty(self.component);
        let known = sample::fields(self).filter(|setting| setting.is_known_to(self.version));
        let known: Vec<&Setting> = known.filter(|s| s.name != "apiVersion" && s.name != "kind").collect();
        for setting in &known {
            sample::set(&mut document, setting.name, sample::of_kind(setting, setting.kind));
        }
        let said = self.run_document(&document)?;
        ensure!(
            !said.knows_not_a_field() && !said.has("lenient decoding") && !said.cannot_read_its_file(),
            "{document}\n{}",
            said.0
        );
        Ok(known.len())
    }

    /// Each field that only other versions know is unknown to the program.
    pub(crate) fn knows_no_other_field(&self) -> Result<usize> {
        let knows = |name: &str| sample::fields(self).any(|s| s.name == name && s.is_known_to(self.version));
        let is_below_known = |name: &str| {
            name.rsplit_once('.')
                .is_none_or(|(above, _)| knows(above.trim_end_matches("[]").trim_end_matches("{}")))
        };
        let other = sample::fields(self).filter(|s| !knows(s.name) && is_below_known(s.name));
        let mut count = 0;
        for setting in other {
            let mut document = sample::empty(self.component);
            sample::set(&mut document, setting.name, sample::of_kind(setting, setting.kind));
            let said = self.run_document(&document)?;
            ensure!(said.knows_not_a_field(), "{} is known after all: {}", setting.name, said.0);
            count += 1;
        }
        Ok(count)
    }

    /// Each known field with a value of another kind: the program can't read its file.
    pub(crate) fn refuses_other_kinds(&self) -> Result<usize> {
        let said = self.run_document(&sample::empty(self.component))?;
        ensure!(!said.cannot_read_its_file(), "an empty file is refused: {}", said.0);
        let mut count = 0;
        for setting in sample::fields(self).filter(|setting| setting.is_known_to(self.version)) {
            let Some(value) = sample::of_another_kind(setting.kind) else { continue };
            if setting.name == "apiVersion" || setting.name == "kind" {
                continue;
            }
            let mut document = sample::empty(self.component);
            sample::set(&mut document, setting.name, value);
            let said = self.run_document(&document)?;
            ensure!(said.cannot_read_its_file(), "{} takes another kind: {}", setting.name, said.0);
            count += 1;
        }
        ensure!(count > 40, "{count} fields only");
        Ok(count)
    }

    /// The data know every flag that `--help` lists, and the program every flag that the data know.
    pub(crate) fn lists_no_flag_that_the_data_do_not_know(&self) -> Result<usize> {
        let output = Command::new(&self.path).arg("--help").output()?;
        let help = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let listed: Vec<&str> = help.lines().filter_map(listed).collect();
        ensure!(listed.len() > 40, "{} flags only: {help}", listed.len());
        let known = settings()
            .iter()
            .filter(|s| s.component == self.component && s.sort == Sort::Flag && s.is_known_to(self.version));
        let known: Vec<&str> = known.map(|setting| setting.name).collect();
        for flag in &listed {
            let is_cadvisors = self.component == Component::KubeProxy && CADVISOR.contains(flag);
            ensure!(known.contains(flag) || is_cadvisors, "the data do not know --{flag}");
        }
        let file = sample::empty(self.component).to_string();
        for flag in known.iter().filter(|flag| !listed.contains(flag)) {
            let said = self.run(&file, &[((*flag).to_owned(), "1".to_owned())])?;
            ensure!(!said.has("unknown flag"), "--{flag} is unknown: {}", said.0);
        }
        Ok(listed.len())
    }
}

/// The flag that a line of `--help` is about.
fn listed(line: &str) -> Option<&str> {
    let line = line.strip_prefix(' ')?.trim_start();
    let line = if line.starts_with("--") { line } else { line.split_once(", ")?.1 };
    let name = line.strip_prefix("--")?;
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(name.len());
    name.get(..end).filter(|name| !name.is_empty())
}

#[test]
fn flags_are_read_from_help() {
    assert_eq!(listed("      --config string   a, --b"), Some("config"));
    assert_eq!(listed("  -v, --v Level   c"), Some("v"));
    assert_eq!(listed("  text --not-a-flag"), None);
    assert_eq!(json!(listed("Usage: x, --y")), Value::Null);
}
