//! The whole way, from files in a directory to a configuration or to what is said about them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use proptest::prelude::*;
use serde_json::json;
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
        cli::config::run(&line.args, self.sources(), &host(), &mut out).map_err(|error| error.to_string())?;
        let text = String::from_utf8(out).unwrap();
        Ok(text.replace(&self.root.path().display().to_string(), "[root]"))
    }
}

fn host() -> HostFacts {
    HostFacts { hostname: "Worker-1".to_owned() }
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

#[test]
fn minimum_gets_every_default() {
    let loaded = Machine::with(MINIMUM).load().unwrap();
    let config = loaded.config;
    assert_eq!(config.cluster.server.as_str(), "https://10.0.0.10:6443");
    assert_eq!(config.cluster.name, "kubernetes");
    assert_eq!(config.cluster.ca, CaSource::File("/ca.pem".into()));
    assert_eq!(config.cluster.dns, Dns { address: None, domain: "cluster.local".to_owned() });
    assert!(matches!(config.identity.token, Some(TokenSource::File(path)) if path == Path::new("/token")));
    assert_eq!(config.identity.key, KeyAlgorithm::EcdsaP256);
    assert_eq!(config.node.name.as_str(), "worker-1");
    assert_eq!(config.runtime.sandbox_image, "registry.k8s.io/pause:3.10");
    assert_eq!(config.network.plugin, NetworkPlugin::None);
    assert_eq!(config.network.conf_dir, Path::new("/etc/cni/net.d"));
    assert!(config.proxy.enabled && config.proxy.mode == ProxyMode::Iptables);
    assert_eq!(loaded.files.len(), 1);
}

#[test]
fn every_key_arrives() {
    let text = r#"
apiVersion: kn-agent.io/v1alpha1
kind: NodeConfig
cluster:
  server: https://api.example.com
  ca: {file: /ca.pem}
  name: "1.30"
  dns: {address: [10.96.0.10], domain: example.com.}
  podCIDR: 10.244.0.0/16
  serviceCIDR: 10.96.0.0/16
identity: {mode: bootstrap, token: {credential: kn}, key: rsa-2048}
node:
  name: a.example.com
  address: 10.0.0.11
  labels: {example.com/rack: 07, gpu: true, empty: }
  taints: ["a=b:NoSchedule", "c:NoExecute"]
runtime: {kind: docker, sandboxImage: "p:1", images: /i, criDockerd: /c, daemonJson: {log-opts: {max-size: 10m}}}
network: {plugin: calico, confDir: /d, binDir: /b}
kubelet: {binary: /k, config: {maxPods: 200, authentication: {webhook: {cacheTTL: 1m0s}}}, extraArgs: {v: 4}}
proxy: {enabled: false, binary: /p, mode: nftables, config: {hostnameOverride: a.example.com}, extraArgs: {v: "2"}}
preflight: {ignore: [swap, ports]}
"#;
    let config = Machine::with(text).load().unwrap().config;
    assert_eq!(config.cluster.name, "1.30");
    assert_eq!(
        config.cluster.dns,
        Dns { address: Some("10.96.0.10".parse().unwrap()), domain: "example.com".to_owned() }
    );
    assert!(matches!(&config.identity.token, Some(TokenSource::Credential(name)) if name == "kn"));
    assert_eq!(config.identity.key, KeyAlgorithm::Rsa2048);
    // As written: `07` is no 7 and `true` no boolean where text is wanted.
    let labels: Vec<_> =
        config.node.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("empty", ""), ("example.com/rack", "07"), ("gpu", "true")]);
    assert_eq!(config.node.taints.len(), 2);
    assert_eq!(config.runtime.daemon_json["log-opts"]["max-size"], "10m");
    assert_eq!(config.network.plugin, NetworkPlugin::Calico);
    assert_eq!(config.kubelet.config["maxPods"], 200);
    assert_eq!(config.kubelet.extra_args["v"], "4");
    assert!(!config.proxy.enabled && config.proxy.mode == ProxyMode::Nftables);
    assert!(config.preflight.ignore.contains("swap"));
}

#[test]
fn files_lie_over_one_another_in_order() {
    let machine =
        Machine::new().set("KN_AGENT_NODE__NAME", "from-env").set("KN_AGENT_LOG", "debug").set("PATH", "/");
    let file = |path: &str, name: &str, more: &str| {
        machine.write(
            path,
            &format!("node: {{name: {name}, labels: {{{name}: x}}, taints: ['{name}:NoExecute']}}\n{more}"),
            0o600,
        );
    };
    file("/usr/lib/kn-agent/config.d/50.yaml", "vendor", MINIMUM);
    file("/etc/kn-agent/config.yaml", "main", "");
    file("/etc/kn-agent/config.d/20.yaml", "second", "");
    file("/etc/kn-agent/config.d/10.yaml", "first", "");
    file("/etc/kn-agent/config.d/.30.yaml", "hidden", "");
    file("/etc/kn-agent/config.d/30.yml", "other", "");
    let loaded = machine.load().unwrap();
    assert_eq!(loaded.config.node.name.as_str(), "from-env");
    assert_eq!(loaded.config.node.labels.keys().collect::<Vec<_>>(), ["first", "main", "second", "vendor"]);
    assert_eq!(
        loaded.config.node.taints.iter().map(|taint| taint.key.as_str()).collect::<Vec<_>>(),
        ["second"]
    );
    let names: Vec<_> =
        loaded.files.iter().map(|path| path.strip_prefix(machine.root.path()).unwrap()).collect();
    assert_eq!(
        names,
        [
            "usr/lib/kn-agent/config.d/50.yaml",
            "etc/kn-agent/config.yaml",
            "etc/kn-agent/config.d/10.yaml",
            "etc/kn-agent/config.d/20.yaml"
        ]
        .map(Path::new)
    );
}

#[test]
fn one_named_file_stands_for_the_default_set() {
    let mut machine = Machine::with("nonsense");
    machine.write("/other.yaml", MINIMUM, 0o644);
    machine.only = Some(machine.real("/other.yaml"));
    assert_eq!(machine.load().unwrap().files, [machine.real("/other.yaml")]);
    machine.only = Some(machine.real("/missing.yaml"));
    let errors = machine.load().unwrap_err();
    assert!(!errors.not_configured && errors.to_string().contains("missing.yaml: cannot read: No such file"));
}

#[test]
fn nothing_configured_is_told_apart() {
    for machine in [Machine::new(), Machine::with(""), Machine::with("# nothing\n"), Machine::with("{}")] {
        let errors = machine.load().unwrap_err();
        assert!(errors.not_configured, "{errors}");
    }
    let errors = Machine::with("node: {name: a}").load().unwrap_err();
    assert!(!errors.not_configured, "{errors}");
    insta::assert_snapshot!("not_configured", Machine::new().errors());
}

#[test]
fn environment_is_read_by_type() {
    let loaded = Machine::with(MINIMUM)
        .set("KN_AGENT_CLUSTER__POD_CIDR", "10.244.0.0/16")
        .set("KN_AGENT_CLUSTER__SERVICECIDR", "10.96.0.0/16")
        .set("KN_AGENT_CLUSTER__DNS__ADDRESS", "10.96.0.10")
        .set("KN_AGENT_NODE__NAME", "007")
        .set("KN_AGENT_NODE__TAINTS", "a=b:NoSchedule, c:NoExecute")
        .set("KN_AGENT_NODE__LABELS", "{rack: 07}")
        .set("KN_AGENT_KUBELET__CONFIG", "{maxPods: 50}")
        .set("KN_AGENT_PROXY__ENABLED", "false")
        .set("KN_AGENT_IDENTITY__KEY", "")
        .set("KN_AGENT_IDENTITY__TOKEN__VALUE", TOKEN)
        .load()
        .unwrap();
    let config = loaded.config;
    assert_eq!(config.cluster.pod_cidr.unwrap().to_string(), "10.244.0.0/16");
    assert_eq!(config.node.name.as_str(), "007");
    assert_eq!(config.node.taints.len(), 2);
    assert_eq!(config.node.labels["rack"], "07");
    assert_eq!(config.kubelet.config["maxPods"], 50);
    assert!(!config.proxy.enabled);
    assert!(matches!(config.identity.token, Some(TokenSource::Value(token)) if token.expose() == TOKEN));
}

#[test]
fn environment_errors_name_the_variable() {
    let mut report = String::new();
    for (variable, value, needle) in [
        ("KN_AGENT_CLUSTER__SEVER", "x", "did you mean KN_AGENT_CLUSTER__SERVER?"),
        ("KN_AGENT_SERVER", "x", "nested with `__`"),
        ("KN_AGENT_CLUSTER", "x", "KN_AGENT_CLUSTER__CA"),
        ("KN_AGENT_CLUSTER_SERVER", "", "KN_AGENT_CLUSTER__SERVER"),
        ("KN_AGENT_KUBELET__CONFIG__MAXPODS", "5", "set KN_AGENT_KUBELET__CONFIG to a mapping"),
        ("KN_AGENT_PROXY__ENABLED", "maybe", "expected `true` or `false`"),
        ("KN_AGENT_NODE__NAME", "Worker", "write `worker`"),
        ("KN_AGENT_NODE__LABELS", "{a", "no valid YAML"),
        ("KN_AGENT_IDENTITY__TOKEN__VALUE", "secret", "malformed token (6 characters, not shown)"),
    ] {
        let errors = Machine::with(MINIMUM).set(variable, value).errors();
        assert!(errors.contains(needle) && errors.starts_with(variable), "{variable}={value}\n{errors}");
        assert!(!errors.contains("secret"));
        writeln!(report, "{variable}={value}\n    {errors}").unwrap();
    }
    insta::assert_snapshot!("environment", report);
}

#[test]
fn shape_errors_name_file_line_and_remedy() {
    let report = report_over_minimum(&[
        (
            "kubelet:\n  confg: {}",
            "/etc/kn-agent/config.yaml:2: kubelet.confg: unknown key; did you mean `config`?",
        ),
        ("server: x", "server: unknown key; known here: `apiVersion`"),
        ("apiVersion: v1", "expected `kn-agent.io/v1alpha1`, found `v1`"),
        ("kind: Node", "expected `NodeConfig`, found `Node`"),
        ("cluster: [1]", "expected a mapping with `ca`"),
        ("proxy: {enabled: 5}", "expected `true` or `false`, found `5`"),
        ("proxy: {mode: ipvs}", "expected `iptables` or `nftables`, found `ipvs`"),
        ("proxy: {mode: nftable}", "did you mean `nftables`?"),
        ("runtime: {kind: containerd}", "expected `docker`, found `containerd`"),
        ("node: {labels: [a]}", "node.labels: expected a mapping of names to text, found a list"),
        ("node: {labels: {a: [b]}}", "node.labels.a: expected text, found a list"),
        ("node: {taints: a}", "node.taints: expected a list of texts, found `a`"),
        ("node: {taints: [{key: a}]}", "node.taints[0]: expected text, found a mapping"),
        ("node: {name: [a]}", "node.name: expected text, found a list"),
        ("kubelet: {config: 5}", "kubelet.config: expected a mapping, found `5`"),
        ("just text", "expected a mapping with"),
    ]);
    insta::assert_snapshot!("shape", report);
}

#[test]
fn syntax_errors_name_file_and_line() {
    let report = report_over_minimum(&[
        ("node:\n  name: a\n bad: b", "/etc/kn-agent/config.yaml:3: no valid YAML"),
        ("node: {name: a", "no valid YAML"),
        (
            "node: {name: a}\nnode: {name: b}",
            "/etc/kn-agent/config.yaml:2: no valid YAML: a key is written twice",
        ),
        ("node: {name: a}\n---\nnode: {name: b}", "more than one document"),
        ("node: *name", "has no anchor"),
        ("node:\n\tname: a", "no valid YAML"),
        ("a: \"open", "no valid YAML"),
    ]);
    insta::assert_snapshot!("syntax", report);
}

#[test]
fn missing_keys_come_with_an_example() {
    let report = report(&[
        (
            "node: {name: a}",
            "cluster.server: missing; write e.g. `cluster: {server: https://10.0.0.10:6443}`",
        ),
        ("cluster: {server: 'https://a'}", "cluster.ca: missing"),
        ("cluster: {server: 'https://a', ca: {}}", "cluster.ca: missing"),
        // The cause is named, not its consequence.
        ("cluster: {sever: 'https://a', ca: {file: /ca.pem}}", "did you mean `server`?"),
        ("cluster: nonsense", "cluster: expected a mapping"),
    ]);
    insta::assert_snapshot!("missing", report);
    for text in ["cluster: {sever: 'https://a', ca: {file: /ca.pem}}", "cluster: nonsense", "cluster: {"] {
        assert!(!Machine::with(text).errors().contains("missing"), "{text}");
    }
}

#[test]
fn value_errors_say_what_was_found() {
    let report = report_over_minimum(&[
        ("cluster: {server: 'http://a'}", "it must begin with https://"),
        ("cluster: {server: 'https://a/b'}", "it must not have a path"),
        ("cluster: {name: ''}", "config.yaml:1: cluster.name: empty"),
        ("cluster: {podCIDR: 10.244.0.1/16}", "write 10.244.0.0/16"),
        (
            "cluster:\n  podCIDR: 10.96.0.0/12\n  serviceCIDR: 10.96.0.0/16",
            "config.yaml:2: cluster.podCIDR: 10.96.0.0/12 overlaps",
        ),
        ("cluster: {dns: {address: dns.example.com}}", "`dns.example.com` is no IP address"),
        ("cluster: {dns: {address: [10.96.0.10, 10.96.0.11]}}", "more than one address"),
        ("cluster: {dns: {domain: Cluster_Local}}", "`Cluster_Local` is no DNS domain"),
        (
            "node: {name: Worker-1}",
            "has upper-case letters, which Kubernetes refuses in a node name; write `worker-1`",
        ),
        ("node: {name: a_b}", "`a_b` is no DNS name"),
        ("node: {address: worker}", "`worker` is no IP address"),
        ("node: {labels: {node-role.kubernetes.io/worker: ''}}", "NodeRestriction"),
        ("node: {labels: {node-restriction.kubernetes.io/a: b}}", "NodeRestriction"),
        ("node: {labels: {k8s.io/a: b}}", "use a domain of your own"),
        ("node: {labels: {'a b': c}}", "`a b` is no key"),
        ("node: {labels: {'a_b/c': d}}", "before `/` must be a DNS name"),
        ("node: {labels: {a: 'b c'}}", "the value `b c` must be"),
        ("node: {taints: ['a=b']}", "`a=b` is no taint; write `key=value:Effect`"),
        ("node: {taints: ['a=b:Noschedule']}", "did you mean `NoSchedule`?"),
        ("node: {taints: ['a=b:Never']}", "an effect is `NoSchedule`"),
        ("runtime: {sandboxImage: 'a b'}", "`a b` is no image"),
        ("runtime: {images: images}", "`images` is no absolute path; begin it with `/`"),
    ]);
    insta::assert_snapshot!("values", report);
}

#[test]
fn host_name_that_does_not_do_is_said() {
    let machine = Machine::with(MINIMUM);
    let errors = load(&machine.sources(), &HostFacts { hostname: "my_host".to_owned() }).unwrap_err();
    insta::assert_snapshot!("host_name", errors.to_string());
}

#[test]
fn what_would_break_the_components_is_refused() {
    let report = report_over_minimum(&[
        (
            "kubelet:\n  config:\n    authentication:\n      anonymous:\n        enabled: true",
            "config.yaml:5: kubelet.config.authentication.anonymous.enabled",
        ),
        ("kubelet: {config: {authentication: null}}", "kubelet.config.authentication: must be a mapping"),
        ("kubelet: {config: {authentication: {x509: {clientCAFile: /ca}}}}", "set `cluster.ca`"),
        ("kubelet: {config: {authorization: {mode: AlwaysAllow}}}", "must be `Webhook`"),
        ("kubelet: {config: {readOnlyPort: 10255}}", "must be 0"),
        ("kubelet: {config: {rotateCertificates: false}}", "must be `true`"),
        (
            "kubelet: {config: {apiVersion: v1, kind: Pod}}",
            "kubelet.config.kind: must be `KubeletConfiguration`",
        ),
        ("kubelet: {extraArgs: {config: /a}}", "this flag is set by kn-agent; set `kubelet.config`"),
        ("kubelet: {extraArgs: {kubeconfig: /a}}", "set `cluster.server`"),
        ("kubelet: {extraArgs: {bootstrap-kubeconfig: /a}}", "set `identity.token`"),
        ("kubelet: {extraArgs: {hostname-override: a}}", "set `node.name`"),
        ("kubelet: {extraArgs: {--hostname_override: a}}", "set `node.name`"),
        ("kubelet: {extraArgs: {cert-dir: /a}}", "this flag is set by kn-agent"),
        ("kubelet: {extraArgs: {node-ip: 10.0.0.1}}", "set `node.address`"),
        ("kubelet: {extraArgs: {anonymous-auth: 'true'}}", "this flag is set by kn-agent"),
        ("kubelet: {extraArgs: {--v: 4}}", "write `v`"),
        ("kubelet: {extraArgs: {'v=4 x': ''}}", "is no name of a flag"),
        ("proxy: {config: {hostnameOverride: other}}", "`other` is another node than this one, `worker-1`"),
        (
            "cluster: {serviceCIDR: 10.96.0.0/16}\nproxy: {config: {clusterCIDR: 10.96.0.0/12}}",
            "10.96.0.0/12 overlaps the block of the Services",
        ),
        (
            "cluster: {serviceCIDR: 10.96.0.0/16}\nproxy: {config: {clusterCIDR: nonsense}}",
            "is no block of addresses",
        ),
        ("proxy: {config: {clientConnection: {kubeconfig: /a}}}", "kube-proxy has a certificate of its own"),
        ("proxy: {extraArgs: {proxy-mode: ipvs}}", "set `proxy.mode`"),
    ]);
    insta::assert_snapshot!("components", report);
}

#[test]
fn ca_errors_name_the_file() {
    let base64 =
        |text: &str| serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap();
    let no_pem = base64("no certificate");
    let report = report_over_minimum(&[
        (
            "cluster: {ca: {file: /missing.pem}}",
            "cannot read `/missing.pem`: No such file or directory (os error 2)",
        ),
        ("cluster: {ca: {file: ca.pem}}", "no absolute path"),
        ("cluster: {ca: {file: /token}}", "`/token`: no PEM certificate in it"),
        ("cluster: {ca: {file: /ca.pem, data: x}}", "both `data` and `file` are given; keep one of them"),
        ("cluster: {ca: {data: nonsense}}", "no PEM certificate"),
        (&format!("cluster: {{ca: {{data: {}}}}}", no_pem.as_str().unwrap()), "no PEM certificate"),
        (
            "cluster:\n  ca:\n    data: |\n      -----BEGIN CERTIFICATE-----\n      AAAA\n      -----END CERTIFICATE-----",
            "certificate 1 in the PEM text is damaged",
        ),
    ]);
    insta::assert_snapshot!("ca", report);
    let pem = ca_pem();
    for data in [json!(pem), base64(&pem)] {
        let machine =
            Machine::with(&json!({"cluster": {"server": "https://a", "ca": {"data": data}}}).to_string());
        assert_eq!(machine.load().unwrap().config.cluster.ca, CaSource::Pem(pem.clone()));
    }
}

#[test]
fn token_errors_show_no_token() {
    let report = report_over_minimum(&[
        ("identity: {token: {value: canary}}", "malformed token (6 characters, not shown)"),
        ("identity: {token: canary}", "expected a mapping with `credential`, `file`, `value`, found text"),
        ("identity: canary", "found text"),
        ("identity: {token: [canary]}", "found a list"),
        ("identity: {token: {value: [canary]}}", "identity.token.value: expected text, found a list"),
        ("identity: {token: {canary: 1}}", "identity.token: unknown key"),
        ("identity: {token: {vlue: canary}}", "did you mean `value`?"),
        ("identity: {token: {file: canary}}", "no absolute path"),
        ("identity: {token: {credential: /canary}}", "no name of a systemd credential"),
        ("identity: {token: {file: /token, value: canary}}", "both `file` and `value` are given"),
        ("identity: {token: {canary: 1, canary: 2}}", "written twice"),
        ("identity: {key: abcdef.0123456789canary}", "found `[redacted]`"),
        (
            "node: {name: Abcdef.0123456789canary, address: abcdef.0123456789canary}",
            "`[redacted]` is no IP address",
        ),
    ]);
    insta::assert_snapshot!("token", report);
    let file = Machine::with(MINIMUM);
    file.write("/token", "canary", 0o600);
    assert!(
        file.errors().contains("identity.token.file: `/token`: malformed token")
            && !file.errors().contains("canary")
    );
}

#[test]
fn exposed_tokens_are_refused() {
    let machine = Machine::with(MINIMUM);
    machine.write(
        "/etc/kn-agent/config.d/token.yaml",
        &format!("identity:\n  token:\n    value: {TOKEN}\n"),
        0o640,
    );
    insta::assert_snapshot!("exposed_value", machine.errors());
    machine.write(
        "/etc/kn-agent/config.d/token.yaml",
        &format!("identity: {{token: {{value: {TOKEN}}}}}"),
        0o600,
    );
    machine.load().unwrap();

    let machine = Machine::with(MINIMUM);
    machine.write("/token", TOKEN, 0o604);
    insta::assert_snapshot!("exposed_file", machine.errors());
}

#[test]
fn token_is_read_from_where_it_is() {
    let machine = Machine::new();
    let read = |source: &TokenSource, credentials: Option<&Path>| {
        read_token(source, machine.root.path(), credentials).map(|token| token.expose().to_owned())
    };
    let file = TokenSource::File("/token".into());
    let credential = TokenSource::Credential("token".to_owned());
    assert_eq!(read(&file, None).unwrap(), TOKEN);
    assert_eq!(read(&TokenSource::Value(TOKEN.parse().unwrap()), None).unwrap(), TOKEN);
    assert!(matches!(read(&credential, None), Err(TokenError::NoCredentials { .. })));
    assert_eq!(read(&credential, Some(machine.root.path())).unwrap(), TOKEN);
    machine.write("/token", &format!("{TOKEN}\n"), 0o440);
    assert!(matches!(read(&file, None), Err(TokenError::Exposed { mode: 0o440, .. })));
    assert_eq!(read(&credential, Some(machine.root.path())).unwrap(), TOKEN);
    machine.write("/token", "canary", 0o600);
    let error = read(&file, None).unwrap_err();
    assert!(matches!(&error, TokenError::Malformed { .. }) && !format!("{error:?}").contains("canary"));
    fs::remove_file(machine.real("/token")).unwrap();
    assert!(matches!(read(&file, None), Err(TokenError::Read { .. })));
}

#[test]
fn every_problem_is_reported_at_once() {
    let machine = Machine::with("cluster: {sever: x, podCIDR: y}\nnode: {name: A}\nproxy: {enabled: 5}\n");
    machine.write("/etc/kn-agent/config.d/1.yaml", "kubelet: {extraArgs: {config: /a}}\n", 0o600);
    machine.write(
        "/etc/kn-agent/config.d/2.yaml",
        "node: {labels: {k8s.io/a: b}}\nnetwork: {plugin: cilium}\n",
        0o600,
    );
    let machine = machine.set("KN_AGENT_NOD__NAME", "a");
    insta::assert_snapshot!("all_at_once", machine.errors());
}

#[test]
fn commands_answer() {
    let machine = Machine::with(&format!(
        "{MINIMUM}node:\n  labels: {{example.com/rack: r1}}\nkubelet:\n  config:\n    maxPods: 50\n"
    ))
    .set("KN_AGENT_IDENTITY__TOKEN__VALUE", TOKEN)
    .set("KN_AGENT_PROXY__MODE", "nftables");
    let mut report = String::new();
    for words in [
        vec!["show"],
        vec!["show", "-o", "json"],
        vec!["validate"],
        vec!["explain", "cluster.server"],
        vec!["explain", "identity.token"],
        vec!["explain", "node.name"],
        vec!["explain", "node.address"],
        vec!["explain", "node.taints"],
        vec!["explain", "node.labels"],
        vec!["explain", "proxy.mode"],
        vec!["explain", "kubelet.config.maxPods"],
        vec!["explain", "cluster.dns.domian"],
        vec!["explain", "nonsense"],
    ] {
        let answer = machine.run(&words).unwrap_or_else(|error| format!("error: {error}\n"));
        assert!(!answer.contains("0123456789"), "{words:?}");
        writeln!(report, "$ kn-agent config {}\n{answer}", words.join(" ")).unwrap();
    }
    insta::assert_snapshot!("commands", report);
}

#[test]
fn command_fails_with_the_problems() {
    let machine = Machine::with("nod: {}");
    machine.write("/good.yaml", MINIMUM, 0o644);
    assert!(machine.run(&["validate"]).unwrap_err().contains("did you mean `node`?"));
    let good = machine.real("/good.yaml").display().to_string();
    assert_eq!(machine.run(&["validate", &good]).unwrap(), "valid\n  read [root]/good.yaml\n");
}

#[test]
fn shown_configuration_loads_again() {
    let machine = Machine::with(MINIMUM).set("KN_AGENT_NODE__LABELS", "{rack: 'yes', n: '1.30', o: '0644'}");
    let shown = machine.run(&["show"]).unwrap();
    let again = Machine::with(&shown);
    assert_eq!(again.run(&["show"]).unwrap(), shown);
    assert_eq!(again.load().unwrap().config.node, machine.load().unwrap().config.node);
}

#[test]
fn starter_loads_as_it_is_and_with_everything_in_it() {
    let install = |text: &str| {
        let machine = Machine::with(text);
        machine.write("/etc/kn-agent/ca.pem", &ca_pem(), 0o644);
        machine.write("/etc/kn-agent/token", TOKEN, 0o600);
        machine.load().unwrap().provenance
    };
    let plain = install(STARTER);
    let lines = STARTER.lines().map(|line| {
        let bare = line.trim_start();
        let setting = bare.strip_prefix("# ").filter(|rest| {
            let key = rest.trim_start().trim_start_matches("- ");
            key.split_once(':')
                .is_some_and(|(key, _)| !key.contains([' ', '`', '/']) || key.starts_with("example.com"))
        });
        match setting {
            Some(setting) => format!("{}{setting}", " ".repeat(line.len() - bare.len())),
            None => line.to_owned(),
        }
    });
    let full = install(&lines.collect::<Vec<_>>().join("\n"));
    // What stands behind `#` as a default is the default.
    for (path, leaf) in
        plain.leaves().iter().filter(|(path, leaf)| leaf.origin == Origin::Default && *path != "kind")
    {
        assert_eq!(full.leaves()[path].value, leaf.value, "{path}");
        assert!(
            path == "apiVersion" || path == "identity.mode" || full.leaves()[path].origin != Origin::Default,
            "{path}"
        );
    }
    assert_eq!(full.leaves()["kubelet.config.maxPods"].value, 110);
    assert_eq!(full.leaves()["node.taints"].value, json!(["example.com/gpu=yes:NoSchedule"]));
}

#[test]
fn schema_is_closed_and_names_the_keys() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["cluster"].is_object());
}

#[test]
fn debug_output_shows_no_token() {
    let machine = Machine::with(MINIMUM).set("KN_AGENT_IDENTITY__TOKEN__VALUE", TOKEN);
    let text = format!("{:?} {:?}", machine.load().unwrap(), machine.sources());
    assert!(!text.contains("0123456789"), "{text}");
}

/// YAML that holds `canary` somewhere it does not belong.
fn misplaced(canary: &str) -> impl Strategy<Value = String> + use<> {
    let canary = canary.to_owned();
    prop::sample::select(vec![
        "C",
        "identity: C",
        "identity: [C]",
        "identity: {token: C}",
        "identity: {token: [C]}",
        "identity: {token: {C: 1}}",
        "identity: {token: {value: C}}",
        "identity: {token: {value: [C]}}",
        "identity: {token: {value: {C: C}}}",
        "identity: {token: {file: C}}",
        "identity: {token: {file: {C: 1}}}",
        "identity: {token: {credential: /C}}",
        "identity: {token: {value: C, value: C}}",
        "identity: {token: {value: *C}}",
        "identity: {token: {value: 'C}}",
        "identity: {token: {value: \"C\\q\"}}",
        "identity: {token: {value: !C x}}",
        "identity: {token: {value: |C}}",
        "identity: {token: {value: {C}",
        "identity:\n  token:\n    value: C\n   C: 1",
        "identity: {token: {value: C}, x: y}",
    ])
    .prop_map(move |shape| shape.replace('C', &canary))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_error_shows_what_may_be_the_token(
        (canary, text) in "zq[a-z0-9]{4}\\.[a-z0-9]{16}|zq[A-Z0-9]{8,30}".prop_flat_map(|canary| {
            let text = misplaced(&canary);
            (Just(canary), text)
        }),
        mode in prop::sample::select(vec![0o600_u32, 0o644]),
    ) {
        let machine = Machine::new();
        machine.write("/usr/lib/kn-agent/config.d/00-minimum.yaml", MINIMUM, 0o644);
        machine.write("/etc/kn-agent/config.yaml", &text, mode);
        if let Err(errors) = machine.load() {
            let said = format!("{errors} {errors:?}");
            prop_assert!(!said.contains(&canary), "{} says {}", text, said);
        }
    }
}
