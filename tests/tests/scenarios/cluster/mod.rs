//! The administrator's side against real API servers: no machine joins here.

mod approver;
mod calico;
mod setup;
mod tokens;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Artefacts, ControlPlane, Kubectl, Minor};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::Value;

/// What controllers do takes milliseconds; on a busy machine a multiple.
const SOON: Duration = Duration::from_mins(2);

/// Two cores: one cluster at a time.
static TURN: Mutex<()> = Mutex::new(());

/// As the first versions of the approver had it.
const EARLIER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: kn-agent-approver, namespace: kube-system, labels: {app.kubernetes.io/managed-by: kn-agent}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: 'kn-agent:approver', labels: {app.kubernetes.io/managed-by: kn-agent}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'kn-agent:approver'}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: 'kn-agent:approver'}
- {kind: ServiceAccount, name: kn-agent-approver, namespace: kube-system}
";

#[test]
fn cluster_of_1_36_is_set_up_and_says_so() -> Result<()> {
    administrators_side(Minor::V1_36)
}

#[test]
fn cluster_of_1_20_is_set_up_and_says_so() -> Result<()> {
    administrators_side(Minor::V1_20)
}

fn administrators_side(minor: Minor) -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let artefacts = Artefacts::ensure(minor)?;
    let control_plane = ControlPlane::start(&format!("cluster-{minor}"), &artefacts)?;
    let admin = Admin { kubectl: control_plane.kubectl()?, control_plane: &control_plane };
    admin.kubectl.create(EARLIER)?;
    setup::dry_run_shows_and_changes_nothing(&admin).context("dry run")?;
    setup::init_sets_up_once(&admin).context("init")?;
    setup::what_differs_is_shown_and_mended(&admin).context("drift")?;
    setup::account_has_its_rights_and_no_other(&admin).context("rights")?;
    setup::broad_bindings_are_reported(&admin).context("broad bindings")?;
    tokens::tokens_are_made_listed_and_deleted(&admin).context("tokens")?;
    tokens::nothing_is_approved_unseen_unless_asked_for(&admin).context("approval")?;
    approver::credentials_of_the_unit_are_the_account_s(&admin).context("unit")?;
    approver::deployment_gets_its_pod(&admin).context("deployment")?;
    if minor == Minor::V1_20 {
        calico::kinds_that_are_not_served_are_named(&admin).context("calico")?;
    }
    Ok(())
}

#[test]
fn calicos_release_is_applied_and_its_controllers_are_one_with_just_their_rights() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let artefacts = Artefacts::ensure(Minor::V1_36)?;
    let control_plane = ControlPlane::start("calico", &artefacts)?;
    let admin = Admin { kubectl: control_plane.kubectl()?, control_plane: &control_plane };
    calico::releases_with_other_controllers_are_refused(&admin).context("refusals")?;
    calico::release_is_applied_and_watched(&admin).context("release")?;
    calico::controllers_of_ours_have_just_their_rights(&admin).context("ours")
}

struct Admin<'a> {
    kubectl: Kubectl,
    control_plane: &'a ControlPlane,
}

/// What our program said.
#[derive(Debug)]
struct Answer {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Answer {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }
}

impl Admin<'_> {
    /// Runs our program, whatever comes of it.
    fn try_agent(&self, words: &[&str]) -> Result<Answer> {
        let program =
            PathBuf::from(std::env::var_os("KN_AGENT").context("$KN_AGENT is not set: run `make test`")?);
        let mut command = Command::new(program);
        command.args(words).arg("--kubeconfig").arg(self.control_plane.admin_kubeconfig());
        let output = command.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Answer { stdout: text(&output.stdout), stderr: text(&output.stderr), code: output.status.code() })
    }

    /// Runs our program, which has to succeed.
    fn agent(&self, words: &[&str]) -> Result<Answer> {
        let answer = self.try_agent(words)?;
        ensure!(answer.code == Some(0), "{words:?}: {answer:?}");
        Ok(answer)
    }

    /// The state of the cluster, and the exit code.
    fn status(&self) -> Result<(Value, Option<i32>)> {
        let answer = self.try_agent(&["cluster", "status", "-o", "json"])?;
        Ok((answer.json()?, answer.code))
    }

    /// The results of `cluster init` with these words, each once.
    fn init(&self, words: &[&str]) -> Result<(Value, Vec<String>)> {
        let outcome = self.agent(&[&["cluster", "init", "-o", "json"], words].concat())?.json()?;
        let mut results: Vec<String> = objects(&outcome)
            .iter()
            .filter_map(|object| object["result"].as_str().map(str::to_owned))
            .collect();
        results.sort();
        results.dedup();
        Ok((outcome, results))
    }

    /// Asks for a node's first certificate as the holder of a token.
    fn ask(&self, name: &str, token: &str, node: &str) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        let request = base64(&params.serialize_request(&KeyPair::generate()?)?.pem()?)?;
        let manifest = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\nspec: \
             {{request: {request}, signerName: kubernetes.io/kube-apiserver-client-kubelet, usages: [digital signature, \
             key encipherment, client auth]}}\n"
        );
        let mut child = Command::new(self.kubectl.program())
            .arg(format!("--server={}", self.control_plane.server()))
            .arg(format!("--certificate-authority={}", self.control_plane.ca().display()))
            .arg(format!("--token={token}"))
            .args(["--kubeconfig=/dev/null", "create", "--validate=false", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("no pipe")?.write_all(manifest.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn conditions(&self, csr: &str) -> Result<Vec<Value>> {
        let csr = self.kubectl.get(&["csr", csr])?;
        Ok(csr["status"]["conditions"].as_array().cloned().unwrap_or_default())
    }

    fn exists(&self, object: &[&str]) -> Result<bool> {
        let words = [&["get"], object, &["--ignore-not-found", "-o", "name"]].concat();
        Ok(!self.kubectl.run(&words)?.trim().is_empty())
    }
}

fn base64(text: &str) -> Result<String> {
    let mut child =
        Command::new("base64").arg("--wrap=0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no pipe")?.write_all(text.as_bytes())?;
    Ok(String::from_utf8(child.wait_with_output()?.stdout)?)
}

fn objects(document: &Value) -> Vec<Value> {
    document["objects"].as_array().cloned().unwrap_or_default()
}
