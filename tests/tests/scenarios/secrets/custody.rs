//! Keys: where they lie, how they got there, and that each is used once.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::leaks::Seen;
use lab::wait_until;

use super::Case;
use crate::scenario::JOIN;

/// Prints mode and path of every file with a private key or what is given, on all that the node wrote.
const HOLDERS: &str = r#"
find / -xdev -type f -size -4M -not -path '/usr/*' -not -path '/var/lib/docker/*' -not -path '/proc/*' \
    -not -path '/sys/*' -not -path '/root/*' -exec grep --files-with-matches --text -F -e 'PRIVATE KEY-----' -e "$1" {} + |
    while read -r path; do stat --format '%a %n' "$path"; done
"#;

/// Every file with a private key or the token was so made that nobody else could ever read it, and is still so; also
/// those that are gone. The keys become secrets that are searched for.
pub(crate) fn files_of_secrets_are_private_from_the_start(case: &mut Case, seen: &Seen) -> Result<()> {
    let holding = seen.holding(&["PRIVATE KEY-----"]);
    let paths: Vec<&str> = holding.iter().map(|(path, _)| *path).collect();
    ensure!(paths.len() >= 2, "the agent was seen to write only {paths:?}");
    for (path, file) in holding {
        let shared: Vec<String> =
            file.modes.iter().filter(|mode| *mode & 0o077 != 0).map(|mode| format!("{mode:o}")).collect();
        ensure!(!file.modes.is_empty(), "{path}: its making was not seen");
        ensure!(shared.is_empty(), "{path} had mode {shared:?}");
        let keys = case.secrets.keys(&String::from_utf8_lossy(&file.content));
        ensure!(keys > 0, "{path}: no key in it");
    }
    // The control: files that all may read are seen as such by the same means.
    let wide = |path: &str| seen.files.get(path).is_some_and(|file| file.modes.contains(&0o644));
    for path in ["/etc/kubernetes/pki/ca.crt", "/run/kn-agent/status.json"] {
        ensure!(
            wide(path),
            "{path} was not seen to have mode 644: {:?}",
            seen.files.get(path).map(|f| &f.modes)
        );
    }

    let node = &case.scenario.node;
    let config = String::from_utf8(node.get("/etc/kn-agent/config.yaml")?)?;
    let token = config.lines().find_map(|line| line.trim_start().strip_prefix("value: "));
    let held = node.sh(HOLDERS, &[token.context("no token")?.trim()])?;
    let mut found = BTreeSet::new();
    for line in held.lines() {
        let (mode, path) = line.split_once(' ').context("no mode")?;
        ensure!(matches!(mode, "600" | "400"), "{path} holds a secret and has mode {mode}");
        case.secrets.keys(&String::from_utf8_lossy(&node.get(path)?));
        found.insert(path.to_owned());
    }
    for (place, what) in [
        ("/etc/kn-agent/config.yaml", "the configuration with the token"),
        ("/var/lib/kubelet/pki/kubelet-client-", "the node's key"),
        ("/var/lib/kube-proxy/pki/", "kube-proxy's key"),
    ] {
        ensure!(found.iter().any(|path| path.starts_with(place)), "{what} was not found: {held}");
    }
    let elsewhere: Vec<_> = found
        .iter()
        .filter(|path| {
            ![
                "/etc/kn-agent/config.yaml",
                "/var/lib/kubelet/pki/",
                "/var/lib/kube-proxy/pki/",
                "/var/lib/kn-agent/",
            ]
            .iter()
            .any(|place| path.starts_with(place))
        })
        .collect();
    ensure!(elsewhere.is_empty(), "secrets lie in {elsewhere:?}");
    Ok(())
}

/// The public keys in kube-proxy's requests, of which there are three by now.
pub(crate) fn every_renewal_has_a_key_of_its_own(case: &Case) -> Result<()> {
    let requests = case.scenario.control_plane.kubectl()?.get(&["csr"])?;
    let mut keys = Vec::new();
    for request in requests["items"].as_array().context("no list")? {
        if request["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("kn-proxy-")) {
            let base64 = request["spec"]["request"].as_str().context("no request")?;
            let pem: k8s_openapi::ByteString = serde_json::from_value(base64.into())?;
            keys.push(public_key(&pem.0)?);
        }
    }
    let distinct: BTreeSet<&String> = keys.iter().collect();
    ensure!(keys.len() == 3 && distinct.len() == 3, "{} requests, {} keys", keys.len(), distinct.len());
    Ok(())
}

fn public_key(request: &[u8]) -> Result<String> {
    let mut openssl = Command::new("openssl")
        .args(["req", "-pubkey", "-noout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run openssl")?;
    openssl.stdin.take().context("no pipe")?.write_all(request)?;
    let key = String::from_utf8(openssl.wait_with_output()?.stdout)?;
    ensure!(key.contains("PUBLIC KEY"), "openssl says `{key}`");
    Ok(key)
}

/// Root without capabilities reads what is no secret to root: a process with as few, but not the daemon, which also
/// leaves no core where it is killed so that others leave one.
pub(crate) fn nothing_of_the_daemon_can_be_dumped(case: &Case) -> Result<()> {
    const LOOK: &[&str] = &["setpriv", "--bounding-set=-all", "--inh-caps=-all", "cat"];
    let node = &case.scenario.node;
    let pid = case.scenario.unit("kn-agent.service", "MainPID")?;
    let limits = node.exec(&["cat", &format!("/proc/{pid}/limits")])?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
    ensure!(core.split_whitespace().filter(|word| *word == "0").count() == 2, "`{core}`");
    let may_look = |pid: &str| -> Result<bool> {
        let environment = format!("/proc/{pid}/environ");
        Ok(node.try_exec(&[LOOK, &[environment.as_str()]].concat())?.status.success())
    };
    ensure!(!may_look(&pid)?, "the daemon can be looked into");
    node.exec(&[
        "systemd-run",
        "--quiet",
        "--unit=plain",
        "-pCapabilityBoundingSet=",
        "-pNoNewPrivileges=yes",
        "sleep",
        "60",
    ])?;
    let plain = case.scenario.unit("plain.service", "MainPID")?;
    let control = || Ok(may_look(&plain)?.then_some(()));
    wait_until("a process that can be looked into", Duration::from_secs(5), control)?;
    node.exec(&["systemctl", "stop", "plain.service"])?;

    let before = case.scenario.incarnation()?;
    node.exec(&["systemctl", "kill", "--signal=ABRT", "--kill-whom=main", "kn-agent.service"])?;
    wait_until("the daemon's restart", JOIN, || {
        let now = case.scenario.incarnation()?;
        Ok((now != before && !now.starts_with("0\n")).then_some(()))
    })?;
    case.scenario.wait_ready(JOIN).map(drop)
}
