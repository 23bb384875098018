//! Two nodes as they were run before, and everything that can be wrong with a file.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rules;

use std::fmt::Write as _;

use k8s_openapi::ByteString;
use serde_json::Value;

use super::*;

/// The node that a token made.
const BOOTSTRAP: &[(&str, &str)] = &[
    ("kubelet.service", include_str!("bootstrap/kubelet.service")),
    ("kube-proxy.service", include_str!("bootstrap/kube-proxy.service")),
    ("bootstrap.kubeconfig", include_str!("bootstrap/bootstrap.kubeconfig")),
    ("kube-proxy-csr.json", include_str!("bootstrap/kube-proxy-csr.json")),
    ("daemon.json", include_str!("bootstrap/daemon.json")),
    ("docker.service", include_str!("bootstrap/docker.service")),
];
const BOOTSTRAP_VARS: &str = include_str!("bootstrap/vars");

/// The node whose certificate was issued before.
const ISSUED: &[(&str, &str)] = &[
    ("kubelet.service", include_str!("issued/kubelet.service")),
    ("kube-proxy.service", include_str!("issued/kube-proxy.service")),
    ("kubelet.kubeconfig", include_str!("issued/kubelet.kubeconfig")),
    ("kubelet-csr.json", include_str!("issued/kubelet-csr.json")),
    ("cni-default.conf", include_str!("issued/cni-default.conf")),
    ("daemon.json", include_str!("issued/daemon.json")),
];
const ISSUED_VARS: &str = include_str!("issued/vars");

const KUBECONFIG: &str = "kind: Config\nclusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443', \
                          certificate-authority: /ca.pem}}]\n";

fn input((name, text): (&str, &str)) -> Input {
    Input { name: name.into(), text: text.to_owned() }
}

fn ca_data() -> String {
    let pem = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
    serde_json::to_value(ByteString(pem.into_bytes())).unwrap().as_str().unwrap().to_owned()
}

/// Configuration and notes, as they are printed.
fn imported(files: &[(&str, &str)], vars: &str) -> Result<(String, String), String> {
    let inputs: Vec<Input> = files.iter().copied().map(input).collect();
    let imported = import(&inputs, Some(&input(("vars", vars)))).map_err(|errors| errors.to_string())?;
    let mut notes = String::new();
    for note in &imported.notes {
        writeln!(notes, "{note}").unwrap();
    }
    Ok((imported.config, notes))
}

/// The unit around one command line, with a kubeconfig beside it.
fn unit(command: &str) -> Result<(String, String), String> {
    let text = format!("[Service]\nExecStart={command}\n");
    imported(&[("x.service", &text), ("k", KUBECONFIG)], "")
}

fn key(config: &str, pointer: &str) -> Value {
    let value: Value = serde_saphyr::from_str(config).unwrap();
    value.pointer(pointer).cloned().unwrap_or_default()
}

fn both(files: &[(&str, &str)], vars: &str) -> String {
    let ca = ca_data();
    let (config, notes) = imported(files, &format!("{vars}CA_DATA={ca}\n")).unwrap();
    let folded: String = config.split_whitespace().collect();
    assert!(folded.contains(&ca), "{config}");
    // The serializer may fold the long text.
    let mut lines = Vec::new();
    let mut in_ca = false;
    for line in config.lines() {
        let is_key = line.trim_start().split_once(':').is_some_and(|(key, _)| key.len() < 30);
        in_ca = if is_key { line.trim_start().starts_with("data:") } else { in_ca };
        if !in_ca {
            lines.push(line);
        } else if is_key {
            lines.push("    data: [CA]");
        }
    }
    format!("--- stdout\n{}\n--- stderr\n{notes}", lines.join("\n"))
}

#[test]
fn node_with_a_token_is_imported() {
    let report = both(BOOTSTRAP, BOOTSTRAP_VARS);
    let (_, token) = BOOTSTRAP_VARS.split_once("BOOTSTRAP_TOKEN=").unwrap();
    let token = token.trim().trim_matches('"');
    assert!(token.len() == 32 && !report.contains(token), "{report}");
    insta::assert_snapshot!("bootstrap", report);
}

#[test]
fn node_with_a_certificate_is_imported() {
    let report = both(ISSUED, ISSUED_VARS);
    // Neither the key nor what it stands for.
    assert!(!report.contains("bm90"), "{report}");
    insta::assert_snapshot!("issued", report);
}

#[test]
fn every_flag_of_the_two_nodes_is_told_or_kept() {
    for (files, vars) in [(BOOTSTRAP, BOOTSTRAP_VARS), (ISSUED, ISSUED_VARS)] {
        let report = both(files, vars);
        let units: String =
            files.iter().filter(|(name, _)| name.ends_with(".service")).map(|f| f.1).collect();
        let mut seen = 0;
        for flag in units.lines().filter_map(|line| line.trim().strip_prefix("--")) {
            let name = flag.split([' ', '=']).next().unwrap();
            let known = flags::KUBELET.iter().chain(flags::PROXY).any(|known| known.name == name);
            assert!(known, "--{name} is in no table");
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
        assert!(!report.contains("not known here"), "{report}");
    }
}

/// Files, what placeholders stand for, and what has to be said of it.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("a.service", "[Service]\nExecStart=/k/kubelet \\\n  --v='2\n", "", "a.service:3: a quote"),
    (
        "b.service",
        "[Service]\nExecStart=/k/kubelet --v={{ LEVEL }} --max-pods=${PODS}\n",
        "",
        "b.service:2: `LEVEL` has no value",
    ),
    (
        "c.service",
        "[Service]\nExecStart=/k/kubelet --max-pods=many\n",
        "",
        "c.service:2: `--max-pods`: expected a number, found `many`",
    ),
    (
        "d.service",
        "[Service]\nExecStart=/k/kubelet --v=2 \\\nRestart=always\n",
        "",
        "d.service:3: `Restart=always` is no flag",
    ),
    ("e.service", "[Service]\nExecStart=/usr/bin/sleep 1\n", "", "e.service:2: `/usr/bin/sleep` is neither"),
    ("f.service", "[Service]\nType=simple\n", "", "f.service: expected one `ExecStart=`, found 0"),
    ("g.service", "[Service]\nExecStart=/k/kubelet --v={{ a | default(2) }}\n", "", "only a plain name"),
    (
        "h.service",
        "[Service]\n{% if x %}\nExecStart=/k/kubelet\n",
        "",
        "h.service:2: a statement of a template",
    ),
    ("i.yaml", "kind: Config\n  clusters: []\n", "", "i.yaml:2: no valid YAML"),
    ("j.yaml", "kind: Pod\n", "", "j.yaml: expected a unit file"),
    ("k.json", "{\n  \"a\": }\n", "", "k.json:2: no valid JSON"),
    (
        "l.service",
        "[Service]\nExecStart=/k/kubelet\n",
        "nonsense\nA='x\nB={{ A }}\n",
        "vars:1: expected `NAME=value`",
    ),
    (
        "m.service",
        "[Service]\nExecStart=/k/kubelet --hostname-override=UPPER\n",
        "",
        "node.name: `UPPER` has upper-case",
    ),
    (
        "n.service",
        "[Service]\nExecStart=/k/kubelet --container-runtime=remote --container-runtime-endpoint=unix:///run/crio/crio.sock\n",
        "",
        "n.service:2: `--container-runtime-endpoint=unix:///run/crio/crio.sock`: kn-agent drives docker and containerd",
    ),
    (
        "o.service",
        "[Service]\nExecStart=/k/kubelet --container-runtime=rkt\n",
        "",
        "expected `docker` or `remote`",
    ),
    (
        "p.service",
        "[Service]\nExecStart=/k/kubelet --node-labels=gpu\n",
        "",
        "expected `key=value`, found `gpu`",
    ),
    ("q.json", "{\"kind\": \"Pod\", \"apiVersion\": \"v1\"}\n", "", "q.json: expected a unit file"),
    (
        "r.json",
        "{\"auths\": {\"x\": {\"auth\": \"c2VjcmV0\"}}}\n",
        "",
        "r.json: `auths` is of the configuration of docker's client",
    ),
];

#[test]
fn wrong_files_are_told_with_their_line() {
    let mut report = String::new();
    for (name, text, vars, needle) in WRONG {
        let errors = imported(&[(name, text), ("k", KUBECONFIG)], vars).unwrap_err();
        assert!(errors.contains(needle), "{name}: {errors}\nwithout {needle}");
        writeln!(report, "{errors}").unwrap();
    }
    insta::assert_snapshot!("wrong", report);
}

#[test]
fn without_a_server_there_is_nothing_to_join() {
    let errors = imported(&[("x.service", "[Service]\nExecStart=/k/kubelet\n")], "").unwrap_err();
    assert!(errors.contains("no file names the API server"), "{errors}");
    // The control: with a kubeconfig it goes.
    unit("/k/kubelet").unwrap();
}

#[test]
fn placeholders_are_filled_as_systemd_fills_them() {
    let text = "[Service]\nEnvironment=PODS=1 \"A=--v=3 --max-pods=50\"\nEnvironmentFile=-/etc/default/kubelet\n\
                ExecStart=/k/kubelet --hostname-override=${NODE} --pod-manifest-path=$$x $A\n";
    let files = [("x.service", text), ("k", KUBECONFIG)];
    let (config, notes) = imported(&files, "NODE=worker-9\n").unwrap();
    assert_eq!(key(&config, "/node/name"), "worker-9");
    assert_eq!(key(&config, "/kubelet/config/staticPodPath"), "$x");
    assert_eq!(key(&config, "/kubelet/config/maxPods"), 50);
    assert_eq!(key(&config, "/kubelet/extraArgs/v"), "3");
    assert!(notes.contains("x.service:3: EnvironmentFile="), "{notes}");
    // What is given with --vars wins over the unit's own.
    let (config, _) = imported(&files, "NODE=worker-9\nA=--v=4\n").unwrap();
    assert_eq!(key(&config, "/kubelet/extraArgs/v"), "4");
}

#[test]
fn an_empty_exec_start_takes_back_what_stood_before() {
    let drop_in = "[Service]\nExecStart=/k/kubelet --v=1\nExecStart=\nExecStart=-/k/kubelet --v=2\n";
    let (config, _) = imported(&[("x.service", drop_in), ("k", KUBECONFIG)], "").unwrap();
    assert_eq!(key(&config, "/kubelet/extraArgs/v"), "2");
    let two = "[Service]\nExecStart=/k/kubelet\nExecStart=/k/kubelet\n";
    let errors = imported(&[("x.service", two), ("k", KUBECONFIG)], "").unwrap_err();
    assert!(errors.contains("expected one `ExecStart=`, found 2"), "{errors}");
}
