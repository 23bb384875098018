//! What a wrong configuration is told, word by word, and that nothing of a token is.

use super::sources::{LoadError, Sources, load};

const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIBizCCATGgAwIBAgIUYh1Jq0bYz3U3n8dT7oVYc0XQ3kAwCgYIKoZIzj0EAwIw\n-----END CERTIFICATE-----\n";

struct Etc {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Etc {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources { root: dir.path().to_owned(), only: None, environment: Vec::new() };
        let etc = Self { dir, sources };
        etc.write("config.yaml", text, 0o600);
        etc
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join("etc/kn-agent").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn complaint(&self) -> String {
        let error = load(&self.sources).expect_err("this configuration is wrong").to_string();
        error.replace(&self.dir.path().display().to_string(), "")
    }
}

/// A configuration that is right but for what `more` adds.
fn base(more: &str) -> String {
    format!("cluster: {{server: 'https://10.0.0.10:6443', ca: {{file: /etc/kn-agent/ca.pem}}}}\n{more}")
}

#[test]
fn the_minimum_of_three_lines_is_enough() {
    let etc = Etc::with(
        "cluster: {server: 'https://10.0.0.10:6443', ca: {file: /ca.pem}}\nidentity: {token: {file: /token}}\n",
    );
    let config = load(&etc.sources).unwrap();
    assert_eq!(config.cluster.server.as_str(), "https://10.0.0.10:6443");
    assert_eq!(config.runtime.sandbox_image, super::validate::SANDBOX_IMAGE);
    assert!(config.proxy.enabled);
    let hostname = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    assert_eq!(config.node.name.as_str(), hostname);
}

#[test]
fn later_files_win_maps_merge_lists_replace_and_the_environment_wins_over_all() {
    let mut etc = Etc::with(&base("node: {name: a, labels: {x: '1', y: '1'}, taints: ['a=b:NoSchedule']}\n"));
    etc.write(
        "config.d/10-more.yaml",
        "node: {labels: {y: '2', 'example.com/version': '1.30'}, taints: ['c:NoExecute']}\n",
        0o644,
    );
    etc.sources.environment =
        vec![("KN_AGENT_NODE__NAME".into(), "b".into()), ("KN_AGENT_LOG".into(), "debug".into())];
    let node = load(&etc.sources).unwrap().node;
    assert_eq!(node.name.as_str(), "b");
    let labels: Vec<_> = node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["example.com/version=1.30", "x=1", "y=2"]);
    assert_eq!(node.taints.len(), 1);
    assert_eq!(node.taints[0].effect, "NoExecute");
}

#[test]
fn no_configuration_at_all_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let sources = Sources { root: dir.path().to_owned(), only: None, environment: Vec::new() };
    assert!(matches!(load(&sources), Err(LoadError::NotConfigured)));
}

macro_rules! complains {
    ($($name:ident: $text:expr => $($part:expr),+;)+) => {
        $(#[test]
        fn $name() {
            let complaint = Etc::with(&$text).complaint();
            $(assert!(complaint.contains($part), "`{}` is not in:\n{complaint}", $part);)+
        })+
    };
}

complains! {
    an_unknown_key_gets_its_line_and_the_nearest_one: base("kubelet:\n  confg: {}\n") => "/etc/kn-agent/config.yaml", "confg", "did you mean `config`?", "line 3";
    a_wrong_type_names_what_is_expected: base("proxy: {enabled: maybe}\n") => "/etc/kn-agent/config.yaml", "line 2", "bool";
    a_missing_server_shows_an_example: "cluster: {ca: {file: /ca}}\n" => "cluster.server: is missing", "https://10.0.0.10:6443";
    a_missing_ca_says_why_it_is_needed: "cluster: {server: 'https://a:1'}\n" => "cluster.ca: is missing", "file: PATH";
    a_server_without_tls_is_refused: "cluster: {server: 'http://a:1', ca: {file: /ca}}\n" => "must begin with https://";
    ca_data_that_is_no_certificate: format!("cluster: {{server: 'https://a:1', ca: {{data: {CA:?}}}}}\n") => "cluster.ca.data: is no PEM certificate";
    a_malformed_token: base("identity: {token: {value: canary-0123456789}}\n") => "identity.token.value: malformed token (17 characters, not shown)";
    two_token_sources: base("identity: {token: {file: /a, credential: b}}\n") => "identity.token: expected exactly one";
    an_upper_case_node_name: base("node: {name: Worker-1}\n") => "node.name: `Worker-1` has upper-case letters", "write `worker-1`";
    an_invalid_node_name: base("node: {name: a_b}\n") => "node.name: `a_b` is no DNS name";
    a_label_the_api_server_refuses: base("node: {labels: {node-role.kubernetes.io/worker: ''}}\n") => "node.labels: `node-role.kubernetes.io/worker` is refused", "NodeRestriction";
    a_malformed_taint: base("node: {taints: [dedicated]}\n") => "node.taints: `dedicated` is no taint";
    overlapping_blocks: "cluster: {server: 'https://a:1', ca: {file: /c}, podCIDR: 10.0.0.0/8, serviceCIDR: 10.96.0.0/16}\n" => "cluster.podCIDR: 10.0.0.0/8 overlaps cluster.serviceCIDR 10.96.0.0/16";
    a_proxy_configuration_for_another_node: base("node: {name: a}\nproxy: {config: {hostnameOverride: b}}\n") => "proxy.config.hostnameOverride: names `b`, but this node is `a`";
    anonymous_access: base("kubelet: {config: {authentication: {anonymous: {enabled: true}}}}\n") => "kubelet.config.authentication.anonymous.enabled: is refused";
    a_flag_that_follows_from_a_key: base("kubelet: {extraArgs: {node-ip: 10.0.0.1}}\n") => "kubelet.extraArgs.node-ip: is refused: set node.address instead";
    an_unknown_check_to_ignore: base("preflight: {ignore: [swop]}\n") => "preflight.ignore: there is no check `swop`", "kubelet-flags";
    every_problem_is_told_at_once: base("node: {name: A, address: x}\n") => "node.name", "node.address";
}

#[test]
fn a_file_others_can_read_may_hold_no_token() {
    let etc = Etc::with(&base(""));
    let token = "identity: {token: {value: abcdef.0123456789abcdef}}\n";
    etc.write("config.d/token.yaml", token, 0o644);
    let complaint = etc.complaint();
    assert!(
        complaint.contains("has mode 0644")
            && complaint.contains("chmod 600 /etc/kn-agent/config.d/token.yaml"),
        "{complaint}"
    );
    etc.write("config.d/token.yaml", token, 0o600);
    load(&etc.sources).unwrap();
}

#[test]
fn no_complaint_repeats_a_token() {
    // The control: the same search finds a value that may be shown.
    assert!(Etc::with(&base("node: {name: Canary}\n")).complaint().contains("Canary"));
    for text in ["value: [canary]", "value: {canary: 1}", "valeu: canary", "value: canary-canary-canary"] {
        let complaint = Etc::with(&base(&format!("identity:\n  token:\n    {text}\n"))).complaint();
        assert!(!complaint.contains("canary"), "{text}:\n{complaint}");
    }
}

#[test]
fn a_token_file_is_read_anew_and_must_be_private() {
    let etc = Etc::with(&base(""));
    let source = super::TokenSource::File("/etc/kn-agent/token".into());
    let read = || super::sources::read_token(&source, etc.dir.path(), None);
    assert!(read().unwrap_err().to_string().contains("cannot read the token file"));
    etc.write("token", "abcdef.0123456789abcdef\n", 0o644);
    assert!(read().unwrap_err().to_string().contains("chmod 600"));
    etc.write("token", "abcdef.0123456789abcdef\n", 0o600);
    assert_eq!(read().unwrap().expose(), "abcdef.0123456789abcdef");
    etc.write("token", "zzzzzz.0123456789abcdef\n", 0o600);
    assert_eq!(read().unwrap().expose(), "zzzzzz.0123456789abcdef");
}
