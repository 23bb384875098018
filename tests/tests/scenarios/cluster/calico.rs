//! calico's real release against a real API server: refused where its controllers are not as they must be, applied, and
//! watched; and controllers of ours, whose every right is missed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use lab::{calico_manifest, say, wait_until};
use serde_json::{Value, json};

use super::{Admin, Answer, SOON};

const CONTROLLERS: &str = "calico-kube-controllers";
const ACCOUNT: &str = "--as=system:serviceaccount:kube-system:calico-kube-controllers";

/// A right of a role, taken apart.
type Right = (String, String, String);

/// The release that keeps its data in etcd, with the address that an operator puts into it.
fn with_etcd() -> Result<String> {
    Ok(calico_manifest("calico-etcd.yaml")?.replace("http://<ETCD_IP>:<ETCD_PORT>", "http://10.0.0.1:2379"))
}

/// The release without anything of its controllers'.
fn without_controllers(release: &str) -> String {
    let theirs = |document: &&str| document.contains("name: calico-kube-controllers");
    release.split("\n---\n").filter(|document| !theirs(document)).collect::<Vec<_>>().join("\n---\n")
}

/// Something replaced in the Deployment of the controllers, which is the last document.
fn edited(release: &str, from: &str, to: &str) -> Result<String> {
    let at = release.find("kind: Deployment").context("no Deployment")?;
    let (before, deployment) = release.split_at(at);
    ensure!(deployment.contains(from), "no `{from}`");
    Ok(before.to_owned() + &deployment.replacen(from, to, 1))
}

impl Admin<'_> {
    fn calico(&self, release: &str, more: &[&str]) -> Result<Answer> {
        let path = self.control_plane.run().directory().join("calico.yaml");
        fs::write(&path, release)?;
        let file = path.to_str().context("a path that is no text")?;
        self.try_agent(
            &[&["cluster", "init", "--cni", "calico", "--manifest", file, "-o", "json"], more].concat(),
        )
    }

    fn applied(&self, release: &str) -> Result<(Value, Vec<(String, String)>)> {
        let answer = self.calico(release, &[])?;
        ensure!(answer.code == Some(0), "{answer:?}");
        let outcome = answer.json()?;
        let of = |object: &Value| {
            let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
            (format!("{} {}", text("kind"), text("name")), text("result"))
        };
        let results = super::objects(&outcome).iter().map(of).collect();
        Ok((outcome, results))
    }
}

fn result_of<'a>(results: &'a [(String, String)], object: &str) -> Option<&'a str> {
    results.iter().find(|(name, _)| name == object).map(|(_, result)| result.as_str())
}

pub(crate) fn releases_with_other_controllers_are_refused(admin: &Admin<'_>) -> Result<()> {
    let etcd = with_etcd()?;
    for (release, said) in [
        (calico_manifest("calico-etcd.yaml")?, "etcd_endpoints is still the example's"),
        (edited(&etcd, "replicas: 1", "replicas: 2")?, "spec.replicas is 2, expected 1"),
        (edited(&etcd, "type: Recreate", "type: RollingUpdate")?, "is RollingUpdate, expected Recreate"),
        (edited(&etcd, "hostNetwork: true", "hostNetwork: false")?, "expected true, as its data are in etcd"),
        (calico_manifest("tigera-operator.yaml")?, "there must be one DaemonSet calico-node"),
    ] {
        let answer = admin.calico(&release, &[])?;
        ensure!(answer.code == Some(2) && answer.stderr.contains(said), "`{said}` is not in {answer:?}");
    }
    ensure!(
        !admin.exists(&["daemonset", "-n", "kube-system", "calico-node"])?,
        "a refused release was applied"
    );
    ensure!(!admin.exists(&["namespace", "kn-agent"])?, "a refused release had something applied");
    // The control: with nothing changed it is taken.
    let answer = admin.calico(&etcd, &["--dry-run"])?;
    ensure!(answer.code == Some(0), "{answer:?}");
    ensure!(!admin.exists(&["daemonset", "-n", "kube-system", "calico-node"])?, "a dry run applied it");
    Ok(())
}

pub(crate) fn release_is_applied_and_watched(admin: &Admin<'_>) -> Result<()> {
    let release = calico_manifest("calico.yaml")?;
    let (first, results) = admin.applied(&release)?;
    ensure!(results.len() > 30, "{results:?}");
    for object in ["DaemonSet kube-system/calico-node", "Deployment kube-system/calico-kube-controllers"] {
        ensure!(result_of(&results, object) == Some("created"), "{object}: {results:?}");
    }
    ensure!(first["warnings"] == json!([]), "{first}");
    let (_, again) = admin.applied(&release)?;
    ensure!(again.iter().all(|(_, result)| result == "unchanged"), "{again:?}");
    let deployments = format!("-l=k8s-app={CONTROLLERS}");
    let found = admin.kubectl.get(&["deployments", "-A", &deployments])?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    ensure!(items.len() == 1, "{} Deployments of the controllers", items.len());
    let spec = &items[0]["spec"];
    ensure!(spec["replicas"] == 1 && spec["strategy"]["type"] == "Recreate", "{spec}");

    admin.kubectl.run(&["scale", "deployment", "-n", "kube-system", CONTROLLERS, "--replicas=2"])?;
    let told = "Deployment kube-system/calico-kube-controllers: spec.replicas is 2, expected 1";
    let (status, _) = admin.status()?;
    ensure!(status["warnings"].to_string().contains(told), "{status}");
    let (outcome, _) = admin.init(&[])?;
    ensure!(outcome["warnings"].to_string().contains(told), "{outcome}");
    let (_, mended) = admin.applied(&release)?;
    let deployment = "Deployment kube-system/calico-kube-controllers";
    ensure!(result_of(&mended, deployment) == Some("changed"), "{mended:?}");
    ensure!(admin.status()?.0["warnings"] == json!([]), "{}", admin.status()?.0);
    Ok(())
}

pub(crate) fn controllers_of_ours_have_just_their_rights(admin: &Admin<'_>) -> Result<()> {
    for (release, host, count) in
        [(calico_manifest("calico.yaml")?, json!(null), 42), (with_etcd()?, json!(true), 14)]
    {
        admin.applied(&release)?;
        let theirs = rights(&admin.kubectl.get(&["clusterrole", CONTROLLERS])?);
        admin.kubectl.run(&["delete", "deployment,serviceaccount", "-n", "kube-system", CONTROLLERS])?;
        admin.kubectl.run(&["delete", "clusterrole,clusterrolebinding", CONTROLLERS])?;
        let release = without_controllers(&release);
        let (_, results) = admin.applied(&release)?;
        for kind in
            ["ServiceAccount kube-system/", "ClusterRole ", "ClusterRoleBinding ", "Deployment kube-system/"]
        {
            let object = format!("{kind}{CONTROLLERS}");
            ensure!(result_of(&results, &object) == Some("created"), "{object}: {results:?}");
        }
        let deployment = admin.kubectl.get(&["deployment", "-n", "kube-system", CONTROLLERS])?;
        let spec = &deployment["spec"];
        ensure!(spec["replicas"] == 1 && spec["strategy"]["type"] == "Recreate", "{spec}");
        let pod = &spec["template"]["spec"];
        ensure!(pod["hostNetwork"] == host, "{pod}");
        ensure!(pod["containers"][0]["image"] == "docker.io/calico/kube-controllers:v3.28.5", "{pod}");
        let rights = rights(&admin.kubectl.get(&["clusterrole", CONTROLLERS])?);
        ensure!(rights.len() == count, "{} rights: {rights:?}", rights.len());
        // What its makers let their controllers do is a list that is not ours.
        let (ours, theirs) = (BTreeSet::from_iter(&rights), BTreeSet::from_iter(&theirs));
        ensure!(ours == theirs, "ours {ours:?}, the release's {theirs:?}");
        every_right_is_needed(admin, &rights)?;
        // What is not its business.
        for other in [("", "secrets", "list"), ("", "pods", "delete"), ("apps", "deployments", "list")] {
            let other = (other.0.to_owned(), other.1.to_owned(), other.2.to_owned());
            ensure!(is_forbidden(admin, &other)?, "{other:?} is allowed");
        }
        let (_, mended) = admin.applied(&release)?;
        ensure!(result_of(&mended, &format!("ClusterRole {CONTROLLERS}")) == Some("changed"), "{mended:?}");
        say(format_args!("{count} rights of {CONTROLLERS}, each of them missed"));
    }
    Ok(())
}

/// With all of them each call of the controllers' account is let through; with one less that one is not.
fn every_right_is_needed(admin: &Admin<'_>, rights: &[Right]) -> Result<()> {
    for right in rights {
        ensure!(!is_forbidden(admin, right)?, "{right:?} is forbidden");
    }
    for right in rights {
        let rest = rights.iter().filter(|other| *other != right).map(
            |(group, resource, verb)| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]}),
        );
        let patch = json!({"rules": rest.collect::<Vec<_>>()}).to_string();
        admin.kubectl.run(&["patch", "clusterrole", CONTROLLERS, "--type=merge", "-p", &patch])?;
        wait_until(&format!("{right:?} to be missed"), SOON, || {
            Ok(is_forbidden(admin, right)?.then_some(()))
        })?;
    }
    Ok(())
}

fn rights(role: &Value) -> Vec<Right> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let list = rule[key].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                rights.extend(
                    words(rule, "verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)),
                );
            }
        }
    }
    rights
}

/// Makes the call as the controllers' account. That there is no such object, or that an empty one is not taken, comes
/// after the right to ask.
fn is_forbidden(admin: &Admin<'_>, (group, resource, verb): &Right) -> Result<bool> {
    let prefix = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
    let all = format!("{prefix}/{resource}");
    let one = match resource.as_str() {
        "pods" | "serviceaccounts" => format!("{prefix}/namespaces/default/{resource}/none"),
        _ => format!("{all}/none"),
    };
    let watch = format!("{all}?watch=true&timeoutSeconds=1");
    let words: &[&str] = match verb.as_str() {
        "list" => &["get", "--raw", &all],
        "watch" => &["get", "--raw", &watch],
        "get" => &["get", "--raw", &one],
        "create" => &["create", "--raw", &all, "-f", "-"],
        "update" => &["replace", "--raw", &one, "-f", "-"],
        _ => &["delete", "--raw", &one],
    };
    let mut child = admin
        .kubectl
        .command(&[words, &[ACCOUNT]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdin.take().context("no pipe")?;
    if words.contains(&"-f") {
        pipe.write_all(b"{}")?;
    }
    drop(pipe);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() || said.contains("Error from server"),
        "{group} {resource} {verb}: {said}"
    );
    Ok(said.contains("Forbidden"))
}

/// `policy/v1` came with 1.21: it is told before anything is applied.
pub(crate) fn kinds_that_are_not_served_are_named(admin: &Admin<'_>) -> Result<()> {
    let answer = admin.calico(&calico_manifest("calico.yaml")?, &[])?;
    let said = "this API server knows no PodDisruptionBudget of policy/v1";
    ensure!(answer.code == Some(2) && answer.stderr.contains(said), "{answer:?}");
    ensure!(!admin.exists(&["daemonset", "-n", "kube-system", "calico-node"])?, "it was applied");
    Ok(())
}
