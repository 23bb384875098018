//! Where the approver runs: its credentials as a unit, and its pod.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::wait_until;

use super::{Admin, SOON};

pub(crate) fn credentials_of_the_unit_are_the_account_s(admin: &Admin<'_>) -> Result<()> {
    let path = admin.control_plane.run().directory().join("approver.kubeconfig");
    let file = path.to_str().context("a path that is no text")?;
    let words = ["cluster", "init", "--approver", "unit", "--no-start", "--approver-kubeconfig", file];
    let first = admin.agent(&words)?;
    ensure!(first.stdout.contains(&format!("File {file}: created")), "{first:?}");
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o7777;
    ensure!(mode == 0o600, "mode {mode:o}");
    let content = std::fs::read_to_string(&path)?;
    let token = content
        .split("token: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .context("no token")?;
    ensure!(token.len() > 100 && !format!("{first:?}").contains(token), "{first:?}");
    let again = admin.agent(&words)?;
    ensure!(again.stdout.contains(&format!("File {file}: unchanged")), "{again:?}");
    ensure!(std::fs::read_to_string(&path)? == content, "it was written anew");
    let may = |words: &[&str]| -> Result<String> {
        let mut command = Command::new(admin.kubectl.program());
        let output = command.arg("--kubeconfig").arg(&path).args(["auth", "can-i"]).args(words).output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    ensure!(may(&["list", "csr"])? == "yes" && may(&["get", "secrets"])? == "no", "the account is another");
    let other = admin.try_agent(&["cluster", "init", "--approver", "unit", "--approver-kubeconfig", file])?;
    ensure!(other.code == Some(2) && other.stderr.contains("--no-start"), "{other:?}");
    Ok(())
}

/// No node is here to run it: that its pod is made shows that the namespace, the account and its priority let it be.
pub(crate) fn deployment_gets_its_pod(admin: &Admin<'_>) -> Result<()> {
    let words = ["--approver", "deployment"];
    let refused = admin.try_agent(&[&["cluster", "init"][..], &words].concat())?;
    ensure!(refused.code == Some(2) && refused.stderr.contains("make image"), "{refused:?}");
    let image = ["--approver", "deployment", "--image", "kn-agent:test"];
    let shown = admin.agent(&[&["cluster", "init", "--dry-run"][..], &image].concat())?.stdout;
    ensure!(shown.contains("Deployment kn-agent/kn-agent-approver: created (dry run)"), "{shown}");
    admin.init(&image)?;
    for words in [&image[..], &words, &[]] {
        let (outcome, results) = admin.init(words)?;
        ensure!(results == ["unchanged"], "{words:?}: {outcome}");
        ensure!(outcome.to_string().contains("kn-agent/kn-agent-approver\""), "{words:?}: {outcome}");
    }
    let pods = || {
        let pods = admin.kubectl.get(&["pods", "-n", "kn-agent"])?;
        Ok(pods["items"].as_array().and_then(|pods| pods.first().cloned()))
    };
    let pod = wait_until("the approver's pod", SOON, pods)?;
    ensure!(pod["spec"]["hostNetwork"] == true && pod["spec"]["priority"] == 2_000_000_000, "{pod}");
    let address = pod["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap_or_default().to_owned();
    ensure!(admin.control_plane.server().contains(&address) && !address.is_empty(), "{pod}");
    let (status, code) = admin.status()?;
    let deployment = &status["approver"]["deployment"];
    ensure!(code == Some(0) && deployment["replicas"] == 1 && deployment["available"] == 0, "{status}");
    Ok(())
}
