//! `kn-agent config …`, and the file to start from.

use std::fmt::Write as _;

use serde_json::json;

use super::*;

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
    assert_eq!(
        machine.run(&["validate", &good]).unwrap(),
        "valid\n  read [root]/good.yaml\n  fields and flags not checked: no kubelet here tells its version, --for names \
         one\n"
    );
    assert_eq!(
        machine.run(&["validate", &good, "--for", "1.36"]).unwrap(),
        "valid\n  read [root]/good.yaml\n  checked against Kubernetes 1.36\n"
    );
}

#[test]
fn settings_are_refused_for_a_version_that_does_not_know_them() {
    let machine = Machine::with(&format!(
        "{MINIMUM}kubelet:\n  config:\n    maxPod: 50\n    evictionHard:\n      memory.available: 100\n    \
         registerNode: true\n    registerWithTaints: [{{key: a, efect: NoSchedule}}]\n  extraArgs: {{logtostderr: 'true', \
         docker-root: /x}}\nproxy:\n  mode: nftables\n  config: {{udpIdleTimeout: 250ms, iptables: {{syncPeriod: 30}}}}\n"
    ));
    let mut report = String::new();
    for version in ["1.20", "1.22", "1.30", "1.36"] {
        let answer = machine.run(&["validate", "--for", version]).unwrap_or_else(|error| error);
        writeln!(report, "$ kn-agent config validate --for {version}\n{answer}\n").unwrap();
    }
    insta::assert_snapshot!("settings", report);
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
fn reservations_are_computed_and_explained_with_what_they_come_from() {
    let machine = Machine::with(&format!(
        "{MINIMUM}kubelet:\n  reserved: auto\n  config:\n    kubeReserved: {{cpu: 200m}}\n"
    ));
    let explained = |path: &str| machine.run(&["explain", path]).unwrap();
    let memory = explained("kubelet.config.kubeReserved.memory");
    assert!(memory.contains("1843Mi") && memory.contains("25 % of the first 4 GiB"), "{memory}");
    assert!(memory.contains("8192 MiB of memory"), "{memory}");
    // What the operator writes wins.
    let cpu = explained("kubelet.config.kubeReserved.cpu");
    assert!(cpu.contains("200m") && cpu.contains("/etc/kn-agent/config.yaml:"), "{cpu}");
    let all = Machine::with(MINIMUM).set("KN_AGENT_KUBELET__RESERVED", "auto").run(&["show"]).unwrap();
    assert!(all.contains("cpu: 70m") && all.contains("memory: 1843Mi"), "{all}");
    // The control, and one that takes it back.
    let none = Machine::with(MINIMUM).run(&["show"]).unwrap();
    assert!(none.contains("reserved: none") && !none.contains("kubeReserved"), "{none}");
    let taken_back = Machine::with(&format!("{MINIMUM}kubelet: {{reserved: auto}}\n"))
        .set("KN_AGENT_KUBELET__RESERVED", "none")
        .run(&["show"])
        .unwrap();
    assert!(!taken_back.contains("kubeReserved"), "{taken_back}");
}
