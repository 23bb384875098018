//! What goes wrong: some twenty times, each with a secret at hand, and all that can be asked about it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Component, wait_until};

use super::{Case, places};
use crate::scenario::{DROP_IN, NODE};

const SEEN: Duration = Duration::from_secs(20);

/// The configuration of its own that commands are pointed at.
const BAD: &str = "/root/bad.yaml";

/// What a person asks when something is wrong.
const QUESTIONS: &[&[&str]] = &[
    &["status"],
    &["status", "-o", "json"],
    &["plan", "-o", "json"],
    &["check", "-o", "json"],
    &["certs"],
    &["config", "show"],
    &["config", "show", "-o", "json"],
    &["config", "explain", "identity"],
];

/// Configurations that are wrong near the token, which stands for `@`; and what is said of each.
const MISWRITTEN: &[(&str, &str)] = &[
    ("identity: {token: {value: @}", "no valid YAML"),
    ("identity: {token: {value: '@}}", "no valid YAML"),
    ("identity: {token: {value: @, colour: blue}}", "unknown key"),
    ("identity: {token: {vlue: @}}", "did you mean `value`?"),
    ("identity: {token: @}", "expected a mapping"),
    ("identity: @", "found text"),
    ("identity: {token: {value: [@]}}", "found a list"),
    ("identity: {token: {value: @0}}", "malformed token"),
    ("identity: {token: {file: @}}", "no absolute path"),
    ("identity: {token: {value: @, value: @}}", "written twice"),
    ("node: {address: @}", "is no IP address"),
    ("runtime: {kind: @}", "[redacted]"),
];

impl Case {
    fn ask(&self) -> Result<()> {
        for words in QUESTIONS {
            self.spoken.agent(&self.scenario.node, words)?;
        }
        Ok(())
    }

    /// Waits for the reason, and asks.
    fn trouble(&self, reason: &str) -> Result<()> {
        self.scenario.wait_reason(reason, SEEN)?;
        self.ask()?;
        ensure!(places::was_said(self, reason)?, "{reason} is not among what was said");
        Ok(())
    }

    /// The machine begins anew with a token of this kind, and this beside it.
    fn begins(&mut self, token: &[&str], drop_in: &str) -> Result<String> {
        let words = [&["token", "create", "--print", "config"], token].concat();
        let config = self.scenario.agent(&words)?;
        self.learn(&config)?;
        self.scenario.forget()?;
        // The first of these files would start the daemon, without the others.
        self.scenario.node.exec(&["systemctl", "stop", "kn-agent.path"])?;
        self.scenario.node.put(DROP_IN, drop_in, 0o600)?;
        self.scenario.configure(&config)?;
        self.scenario.node.exec(&["systemctl", "start", "kn-agent.path", "kn-agent.service"])?;
        Ok(config)
    }
}

pub(crate) fn all(case: &mut Case) -> Result<()> {
    the_world_is_wrong(case)?;
    requests_come_to_nothing(case)?;
    files_are_wrong(case)?;
    configurations_are_miswritten(case)?;
    commands_are_misused(case)?;
    administrators_commands_work(case)
}

fn the_world_is_wrong(case: &mut Case) -> Result<()> {
    let unknown = "zzzzzz.9876543210fedcba";
    places::learn(&mut case.secrets, unknown);
    case.begins(&["--node", NODE], &format!("identity: {{token: {{value: {unknown}}}}}\n"))?;
    case.trouble("Unauthorized")?;

    let key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&key)?.pem();
    case.scenario.node.put(DROP_IN, format!("cluster: {{ca: {{data: {pem:?}}}}}\n"), 0o600)?;
    case.trouble("ApiUntrusted")?;

    case.scenario.control_plane.kill_component(Component::ApiServer);
    case.scenario.node.put(DROP_IN, "{}\n", 0o600)?;
    case.trouble("ApiUnreachable")?;
    case.scenario.control_plane.start_component(Component::ApiServer)
}

fn requests_come_to_nothing(case: &mut Case) -> Result<()> {
    const KEY: &str = "/var/lib/kn-agent/kubelet-client.key";
    case.begins(&["--any-node"], "{}\n")?;
    let pending = case.scenario.wait_reason("CsrPending", SEEN)?;
    let name = pending["message"].as_str().and_then(|text| text.split('`').nth(1)).context("no name")?;
    let key = String::from_utf8(case.scenario.node.get(KEY)?)?;
    ensure!(case.secrets.keys(&key) == 1, "{KEY} holds no key");
    case.scenario.control_plane.kubectl()?.run(&["certificate", "deny", name])?;
    case.trouble("CsrDenied")?;
    // Half of it, so that a message that quotes what does not parse would show what is secret.
    let half: String = key.split_inclusive('\n').take(2).collect();
    for broken in [half.clone() + "-----END PRIVATE KEY-----\n", half, "no key".to_owned()] {
        case.scenario.node.exec(&["systemctl", "stop", "kn-agent.service"])?;
        case.scenario.node.put(KEY, broken, 0o600)?;
        case.scenario.node.exec(&["systemctl", "start", "kn-agent.service"])?;
        case.ask()?;
    }
    Ok(())
}

fn files_are_wrong(case: &mut Case) -> Result<()> {
    const TOKEN: &str = "/etc/kn-agent/token";
    const KUBECONFIG: &str = "/etc/kubernetes/elsewhere.kubeconfig";
    let config = case.begins(&["--node", NODE], "{}\n")?;
    let token = value_in(&config)?;
    let node = &case.scenario.node;
    node.put(DROP_IN, format!("proxy: {{kubeconfig: {KUBECONFIG}}}\n"), 0o600)?;
    for broken in
        [format!("users: [{{user: {{token: {token}"), format!("users: [{{name: a, user: {token}}}]")]
    {
        node.put(KUBECONFIG, broken, 0o600)?;
        case.trouble("KubeconfigUnusable")?;
    }
    let key = rcgen::KeyPair::generate()?.serialize_pem();
    case.secrets.keys(&key);
    let cut: String = key.split_inclusive('\n').take(2).collect();
    for file in ["/root/pair.pem", "/etc/kubernetes/pair.pem"] {
        case.scenario.node.put(file, &cut, 0o600)?;
    }
    let supplied = "identity: {mode: certificate, certFile: /etc/kubernetes/pair.pem, keyFile: /etc/kubernetes/pair.pem}\n";
    case.scenario.node.put(DROP_IN, supplied, 0o600)?;
    case.trouble("CertificateUnusable")?;

    let node = &case.scenario.node;
    node.put(TOKEN, format!("{token} {token}\n"), 0o600)?;
    node.put(BAD, config.replace(&format!("value: {token}"), &format!("file: {TOKEN}")), 0o600)?;
    case.asks_of_bad("malformed token")?;
    node.put(TOKEN, &token, 0o644)?;
    case.asks_of_bad("others may read it")?;
    node.put(BAD, &config, 0o644)?;
    case.asks_of_bad("others may read it")
}

impl Case {
    /// Points every command at a configuration that is wrong; one of them has to say so.
    fn asks_of_bad(&self, said: &str) -> Result<()> {
        let mut heard = String::new();
        for words in [
            &["config", "validate"][..],
            &["config", "show"],
            &["config", "explain", "identity"],
            &["plan"],
            &["status"],
            &["check"],
            &["certs"],
            &["run"],
        ] {
            let output = self.spoken.agent(&self.scenario.node, &[&["--config", BAD], words].concat())?;
            heard.push_str(&output.stdout);
            heard.push_str(&output.stderr);
        }
        ensure!(heard.contains(said), "`{said}` is not in\n{heard}");
        Ok(())
    }
}

fn configurations_are_miswritten(case: &Case) -> Result<()> {
    let node = &case.scenario.node;
    let config = String::from_utf8(node.get("/etc/kn-agent/config.yaml")?)?;
    let token = value_in(&config)?;
    let rest: String = config.split("identity:").next().unwrap_or_default().to_owned();
    let in_use = || -> Result<usize> {
        let log = node.exec(&["journalctl", "-u", "kn-agent", "-o", "cat", "--no-pager"])?;
        Ok(log.matches("the configuration in use stays").count())
    };
    for (index, (text, said)) in MISWRITTEN.iter().enumerate() {
        let text = format!("{rest}{}\n", text.replace('@', &token));
        node.put(BAD, &text, 0o600)?;
        case.asks_of_bad(said)?;
        // The daemon takes the first ones up too, and tells each.
        if index < 3 {
            let before = in_use()?;
            node.put("/etc/kn-agent/config.yaml", &text, 0o600)?;
            wait_until("the daemon to refuse it", SEEN, || Ok((in_use()? > before).then_some(())))?;
        }
    }
    // Started with it, it ends.
    node.try_exec(&["systemctl", "restart", "kn-agent.service"])?;
    case.ask()?;
    let variable = format!("KN_AGENT_IDENTITY__TOKEN__VALUE={token}!");
    case.spoken.any(node, &["env", "KN_AGENT_LOG=trace", &variable, "kn-agent", "config", "validate"])?;
    let unknown = format!("KN_AGENT_IDENTITY__TOKEN__VALEU={token}");
    case.spoken.any(node, &["env", "KN_AGENT_LOG=trace", &unknown, "kn-agent", "config", "validate"])?;
    node.put("/etc/kn-agent/config.yaml", config, 0o600)
}

/// A file where another is meant, and broken ones.
fn commands_are_misused(case: &Case) -> Result<()> {
    const KUBECONFIG: &str = "/root/broken.kubeconfig";
    let node = &case.scenario.node;
    let config = String::from_utf8(node.get("/etc/kn-agent/config.yaml")?)?;
    let token = value_in(&config)?;
    node.put(KUBECONFIG, format!("users: [{{user: {{token: {token}"), 0o600)?;
    let files = [KUBECONFIG, "/root/pair.pem", "/etc/kn-agent/config.yaml"];
    for file in files {
        let flag = format!("--kubeconfig={file}");
        for words in [
            &["token", "create", "--node", "n1", &flag][..],
            &["token", "list", &flag],
            &["cluster", "status", &flag],
            &["cluster", "init", &flag],
            &["approver", "--once", &flag],
            &["approver", "check", file],
            &["approver", "check", "--policy", file, file],
            &["config", "validate", file],
            &["--config", file, "config", "show"],
        ] {
            let output = case.spoken.agent(node, words)?;
            let fine = file.ends_with("config.yaml") && words.contains(&"config");
            ensure!(fine || !output.status.success(), "{words:?} succeeds");
        }
    }
    let whole = format!("{token}0");
    let misused: [&[&str]; 4] = [
        &["token", "delete", &whole],
        &["token", "create", "--node", &token.to_uppercase()],
        &["config", "explain", &token],
        &["certs", "renew", "nothing"],
    ];
    for words in misused {
        case.spoken.agent(node, words)?;
    }
    case.spoken.agent(node, &["logs"])?;
    case.spoken.agent(node, &["timeline", "-o", "json"])?;
    ensure!(
        places::was_said(case, "does not parse as a kubeconfig")?,
        "no command met the broken kubeconfig"
    );
    Ok(())
}

/// What is printed by `token create` is the token; nothing else may be.
fn administrators_commands_work(case: &mut Case) -> Result<()> {
    let mut run = |words: &[&str], prints_token: bool| -> Result<()> {
        let output = case.scenario.agent_command(words)?.env("KN_AGENT_LOG", "trace").output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if prints_token {
            places::learn(&mut case.secrets, text(&output.stdout).trim());
        } else {
            case.spoken.note(&text(&output.stdout))?;
        }
        case.spoken.note(&text(&output.stderr))?;
        ensure!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        Ok(())
    };
    run(&["token", "create", "--node", "n1"], true)?;
    run(&["token", "create", "--any-node"], true)?;
    run(&["token", "list"], false)?;
    run(&["cluster", "init"], false)?;
    run(&["approver", "--once"], false)?;
    the_approver_does_not_tell_its_own(case)
}

/// The credentials of its account, which it sends with each request.
fn the_approver_does_not_tell_its_own(case: &mut Case) -> Result<()> {
    let kubeconfig = case.scenario.control_plane.run().directory().join("approver.kubeconfig");
    let text = std::fs::read_to_string(&kubeconfig)?;
    let token = text.split("token: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    places::learn(&mut case.secrets, token.context("no token in its kubeconfig")?);
    let mut approver = std::process::Command::new(case.scenario.agent_command(&[])?.get_program());
    approver.env("KN_AGENT_LOG", "trace").args(["approver", "--once", "--kubeconfig"]).arg(kubeconfig);
    let output = approver.output()?;
    let heard = String::from_utf8_lossy(&output.stderr).into_owned();
    case.spoken.note(&heard)?;
    ensure!(output.status.success() && heard.contains("TRACE"), "it says little: {heard}");
    Ok(())
}

fn value_in(config: &str) -> Result<String> {
    let value = config.lines().find_map(|line| line.trim_start().strip_prefix("value: "));
    Ok(value.context("no token in the configuration")?.trim().to_owned())
}
