//! What is written wrong is told with its place.

use std::fmt::Write as _;

use super::*;

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
        ("runtime: {mirrors: /i}", "runtime.mirrors: unknown key; known here: `criDockerd`"),
        ("apiVersion: v1", "expected `kn-agent.io/v1alpha1`, found `v1`"),
        ("kind: Node", "expected `NodeConfig`, found `Node`"),
        ("cluster: [1]", "expected a mapping with `ca`"),
        ("proxy: {enabled: 5}", "expected `true` or `false`, found `5`"),
        ("proxy: {mode: userspace}", "expected one of `iptables`, `nftables`, `ipvs`, found `userspace`"),
        ("proxy: {mode: nftable}", "did you mean `nftables`?"),
        ("runtime: {kind: podman}", "expected `docker` or `containerd`, found `podman`"),
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
