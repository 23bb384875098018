//! Each configuration that is wrong, as a person meets it: `kn-agent config validate` ends with 2 and names what is wrong,
//! and nothing on disk is another after.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, all about the world")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

/// A right one; `@@` is the directory it is in.
const RIGHT: &str = "\
cluster:
  server: https://10.0.0.1:6443
  ca: {file: '@@/ca.pem'}
  podCIDR: 10.244.0.0/16
  serviceCIDR: 10.96.0.0/12
identity: {token: {file: '@@/token'}}
node: {name: worker-1}
";

/// What of it is replaced, by what, and what is said then.
const WRONG: &[(&str, &str, &[&str])] = &[
    ("node: {", "nodee: {", &["config.yaml:7: nodee: unknown key", "did you mean `node`"]),
    ("name: worker-1", "name: worker-1, labels: 7", &["node.labels", "config.yaml:7"]),
    ("  server: https://10.0.0.1:6443\n", "", &["cluster.server"]),
    ("@@/ca.pem", "@@/absent.pem", &["cluster.ca.file", "absent.pem"]),
    ("@@/ca.pem", "@@/token", &["cluster.ca.file", "certificate"]),
    ("{file: '@@/token'}", "{value: abcdef.0123}", &["identity.token.value"]),
    ("{file: '@@/token'}", "{value: ABCDEF.0123456789abcdef}", &["identity.token.value"]),
    ("@@/token", "@@/open-token", &["open-token", "chmod 600"]),
    ("worker-1", "Worker-1", &["node.name", "Worker-1"]),
    ("worker-1", "worker_1", &["node.name", "worker_1"]),
    ("name: worker-1", "name: worker-1, labels: {node-role.kubernetes.io/x: ''}", &["NodeRestriction"]),
    ("10.244.0.0/16", "10.100.0.0/16", &["cluster.podCIDR", "cluster.serviceCIDR"]),
    ("node: {", "proxy: {config: {hostnameOverride: other}}\nnode: {", &["hostnameOverride", "other"]),
];

/// A directory with the configuration, its CA and tokens.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &str, mode: u32| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
        put("ca.pem", &ca, 0o644);
        put("token", "abcdef.0123456789abcdef\n", 0o600);
        put("open-token", "abcdef.0123456789abcdef\n", 0o644);
        put("config.yaml", &text.replace("@@", &directory.path().display().to_string()), 0o600);
        Self(directory)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("config.yaml")
    }

    fn validate(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kn-agent"));
        // Variables that begin with `KN_AGENT_` are configuration, too, and the tests have some of their own.
        command.env_clear();
        command.args(["config", "validate"]).arg(self.file()).current_dir(self.0.path()).output().unwrap()
    }

    /// Every file: content, mode, when it was written.
    fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, SystemTime)> {
        let of = |path: &Path| {
            let meta = path.metadata().unwrap();
            (std::fs::read(path).unwrap(), meta.permissions().mode(), meta.modified().unwrap())
        };
        let entries = std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), of(&path))).collect()
    }
}

#[test]
fn each_wrong_configuration_ends_with_two_and_is_told() {
    let right = Machine::new(RIGHT).validate();
    assert_eq!(right.status.code(), Some(0), "the control: {right:?}");
    let troubles: Vec<String> = WRONG.iter().flat_map(troubles).collect();
    assert!(troubles.is_empty(), "{}", troubles.join("\n"));
}

/// What is not as it should be where `from` is replaced by `to`.
fn troubles((from, to, said): &(&str, &str, &[&str])) -> Vec<String> {
    assert!(RIGHT.contains(from), "`{from}` is nowhere");
    let machine = Machine::new(&RIGHT.replacen(from, to, 1));
    let before = machine.files();
    let output = machine.validate();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut troubles = Vec::new();
    if output.status.code() != Some(2) || !output.stdout.is_empty() {
        troubles.push(format!("{output:?}"));
    }
    let missing = said.iter().filter(|word| !stderr.contains(*word));
    troubles.extend(missing.map(|word| format!("`{word}` is not in: {stderr}")));
    // The secret is not among what is told.
    if stderr.contains("0123456789abcdef") {
        troubles.push(format!("the token is told: {stderr}"));
    }
    if machine.files() != before {
        troubles.push("something on disk was changed".to_owned());
    }
    troubles.into_iter().map(|trouble| format!("`{}`: {trouble}", to.trim_end())).collect()
}
