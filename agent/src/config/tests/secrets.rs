//! Tokens are read from where they are, and no message shows one.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

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
fn debug_output_shows_no_token() {
    let machine = Machine::with(MINIMUM).set("KN_AGENT_IDENTITY__TOKEN__VALUE", TOKEN);
    let text = format!("{:?} {:?}", machine.load().unwrap(), machine.sources());
    assert!(!text.contains("0123456789"), "{text}");
}

/// Another program's configuration, with a secret of each class.
const FOREIGN: &str = "
runtime:
  daemonJson:
    proxies: {http-proxy: 'http://user:canary@proxy:3128'}
    log-opts: {splunk-token: canary, max-size: 10m}
kubelet:
  config:
    staticPodURLHeader: {Authorization: [Bearer canary], X-Other: ['Bearer canary-0123456789']}
    maxPods: 50
  extraArgs: {registry-password: canary, v: '4'}
proxy:
  config: {clientConnection: {secretKey: canary}}
  extraArgs: {some-credential: canary}
";

#[test]
fn secrets_of_other_programs_are_shown_by_no_command() {
    let machine = Machine::with(&format!("{MINIMUM}{FOREIGN}"));
    let mut shown = String::new();
    for words in [
        vec!["show"],
        vec!["show", "-o", "json"],
        vec!["explain", "runtime"],
        vec!["explain", "kubelet"],
        vec!["explain", "kubelet.extraArgs.registry-password"],
        vec!["explain", "proxy"],
    ] {
        let answer = machine.run(&words).unwrap();
        assert!(!answer.contains("canary"), "{words:?}: {answer}");
        shown += &answer;
    }
    // The control: what stands beside them is shown, and the daemon is given all of it.
    for plain in ["max-size", "10m", "maxPods: 50", "[redacted]@proxy:3128"] {
        assert!(shown.contains(plain), "`{plain}` is not in {shown}");
    }
    let loaded = machine.load().unwrap().config;
    assert!(format!("{:?}", loaded.runtime).contains("canary"));
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
