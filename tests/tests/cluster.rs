//! The administrator's side against real API servers: no machine joins here.
#![allow(clippy::disallowed_methods, reason = "tests are all about files, programs and time")]
#![allow(missing_docs, reason = "a test's name says what it shows")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Artefacts, ControlPlane, Kubectl, Minor, wait_until};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::Value;

/// What controllers do takes milliseconds; on a busy machine a multiple.
const SOON: Duration = Duration::from_secs(30);

/// Two cores: one cluster at a time.
static TURN: Mutex<()> = Mutex::new(());

/// What the approver's account may do beside what every account may: the whole of its rights.
const RIGHTS: &str = "\
kn-agent: certificatesigningrequests.certificates.k8s.io [] [] [get list watch]
kn-agent: certificatesigningrequests.certificates.k8s.io/approval [] [] [update]
kn-agent: leases.coordination.k8s.io [] [] [get list create delete]
kn-agent: nodes [] [] [get list watch]
kn-agent: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client-kubelet] [approve]
kn-agent: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client] [approve]
kn-agent: signers.certificates.k8s.io [] [kubernetes.io/kubelet-serving] [approve]
default: certificatesigningrequests.certificates.k8s.io [] [] [get list watch]
default: certificatesigningrequests.certificates.k8s.io/approval [] [] [update]
default: endpoints [] [kubernetes] [get list watch]
default: events.events.k8s.io [] [] [create patch]
default: nodes [] [] [get list watch]
default: services [] [kubernetes] [get list watch]
default: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client-kubelet] [approve]
default: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client] [approve]
default: signers.certificates.k8s.io [] [kubernetes.io/kubelet-serving] [approve]
kube-system: certificatesigningrequests.certificates.k8s.io [] [] [get list watch]
kube-system: certificatesigningrequests.certificates.k8s.io/approval [] [] [update]
kube-system: nodes [] [] [get list watch]
kube-system: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client-kubelet] [approve]
kube-system: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client] [approve]
kube-system: signers.certificates.k8s.io [] [kubernetes.io/kubelet-serving] [approve]
";

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

const FOREIGN_TOKEN: &str = "
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-zzzzzz, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: zzzzzz
  token-secret: zzzzzzzzzzzzzzzz
  usage-bootstrap-authentication: 'true'
  auth-extra-groups: system:bootstrappers:kubeadm:default-node-token
";

const NODECLIENT: &str = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";

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
    dry_run_shows_and_changes_nothing(&admin).context("dry run")?;
    init_sets_up_once(&admin).context("init")?;
    what_differs_is_shown_and_mended(&admin).context("drift")?;
    account_has_its_rights_and_no_other(&admin).context("rights")?;
    broad_bindings_are_reported(&admin).context("broad bindings")?;
    tokens_are_made_listed_and_deleted(&admin).context("tokens")?;
    nothing_is_approved_unseen_unless_asked_for(&admin).context("approval")?;
    credentials_of_the_unit_are_the_account_s(&admin).context("unit")?;
    deployment_gets_its_pod(&admin).context("deployment")
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

fn dry_run_shows_and_changes_nothing(admin: &Admin<'_>) -> Result<()> {
    let (status, code) = admin.status()?;
    ensure!(code == Some(4) && status["complete"] == false, "{status}");
    let missing = objects(&status).iter().filter(|object| object["state"] == "missing").count();
    ensure!(missing > 8, "{status}");
    let shown = admin.agent(&["cluster", "init", "--dry-run"])?.stdout;
    for said in [
        "Namespace kn-agent: created (dry run)",
        "    +kind: Namespace",
        "Role kn-agent/kn-agent:approver: created (dry run)",
        "ClusterRoleBinding kn-agent:approver: changed (subjects) (dry run)",
        "    -  name: kn-agent:approver",
        "ServiceAccount kube-system/kn-agent-approver: removed (dry run)",
    ] {
        ensure!(shown.contains(said), "`{said}` is not in\n{shown}");
    }
    ensure!(!admin.exists(&["namespace", "kn-agent"])?, "a dry run made a namespace");
    ensure!(
        admin.exists(&["serviceaccount", "-n", "kube-system", "kn-agent-approver"])?,
        "a dry run deleted"
    );
    Ok(())
}

fn init_sets_up_once(admin: &Admin<'_>) -> Result<()> {
    let (first, results) = admin.init(&[])?;
    ensure!(results == ["changed", "created", "removed"], "{first}");
    let next = first["next"].to_string();
    ensure!(next.contains("--approver unit") && next.contains("token create --node"), "{first}");
    let (again, results) = admin.init(&[])?;
    ensure!(results == ["unchanged"], "{again}");
    ensure!(!admin.exists(&["serviceaccount", "-n", "kube-system", "kn-agent-approver"])?, "it is left");
    let binding = admin.kubectl.get(&["clusterrolebinding", "kn-agent:approver"])?;
    let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
    ensure!(subjects.len() == 1 && subjects[0]["namespace"] == "kn-agent", "{binding}");
    let (status, code) = admin.status()?;
    ensure!(code == Some(0) && status["complete"] == true, "{status}");
    ensure!(status["schema"] == "kn-agent.io/cluster-status/v1", "{status}");
    ensure!(status["approver"]["runs"] == "unknown" && status["nodes"]["total"] == 0, "{status}");
    Ok(())
}

fn what_differs_is_shown_and_mended(admin: &Admin<'_>) -> Result<()> {
    let patch = r#"{"rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}"#;
    admin.kubectl.run(&["patch", "clusterrole", "kn-agent:approver", "--type=merge", "-p", patch])?;
    admin.kubectl.run(&["delete", "rolebinding", "-n", "default", "kn-agent:approver"])?;
    let (status, code) = admin.status()?;
    let wrong: Vec<(Value, Value)> = objects(&status)
        .into_iter()
        .filter(|object| object["state"] != "right")
        .map(|object| (object["name"].clone(), object["state"].clone()))
        .collect();
    let expected = [("kn-agent:approver", "differs"), ("default/kn-agent:approver", "missing")];
    ensure!(code == Some(4) && wrong == expected.map(|(n, s)| (n.into(), s.into())), "{status}");
    let text = admin.try_agent(&["cluster", "status"])?.stdout;
    ensure!(text.contains("ClusterRole kn-agent:approver differs (rules)"), "{text}");
    let shown = admin.agent(&["cluster", "init", "--dry-run"])?.stdout;
    let lines =
        |sign: &str| shown.lines().filter(|line| line.trim_start().starts_with(sign)).collect::<Vec<_>>();
    ensure!(lines("-").iter().any(|line| line.contains("secrets")), "{shown}");
    ensure!(lines("+").iter().any(|line| line.contains("certificatesigningrequests")), "{shown}");
    ensure!(admin.status()?.1 == Some(4), "a dry run mended something");
    let (_, results) = admin.init(&[])?;
    ensure!(results == ["changed", "created", "unchanged"], "{results:?}");
    ensure!(admin.status()?.1 == Some(0), "it is not mended");
    Ok(())
}

fn account_has_its_rights_and_no_other(admin: &Admin<'_>) -> Result<()> {
    let list = |account: &str, namespace: &str| -> Result<Vec<String>> {
        let user = format!("--as=system:serviceaccount:kn-agent:{account}");
        let text = admin.kubectl.run(&["auth", "can-i", "--list", &user, "-n", namespace, "--no-headers"])?;
        Ok(text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    };
    let mut found = String::new();
    for namespace in ["kn-agent", "default", "kube-system"] {
        let everybody = list("default", namespace)?;
        ensure!(
            !everybody.is_empty(),
            "an account without rights of its own may do nothing: the list is wrong"
        );
        let mut own = list("kn-agent-approver", namespace)?;
        own.retain(|line| !everybody.contains(line));
        own.sort();
        found.extend(own.iter().map(|line| format!("{namespace}: {line}\n")));
    }
    ensure!(found == RIGHTS, "found\n{found}\nexpected\n{RIGHTS}");
    Ok(())
}

fn broad_bindings_are_reported(admin: &Admin<'_>) -> Result<()> {
    let warnings = || Ok::<_, anyhow::Error>(admin.init(&[])?.0["warnings"].clone());
    ensure!(warnings()? == serde_json::json!([]), "{}", warnings()?);
    let role = format!("--clusterrole={NODECLIENT}");
    for (group, said) in [
        ("system:bootstrappers", "is void"),
        ("system:bootstrappers:kn-agent", "is void"),
        ("system:bootstrappers:kubeadm:default-node-token", "kubeadm token create"),
    ] {
        let group_flag = format!("--group={group}");
        admin.kubectl.run(&["create", "clusterrolebinding", "broad", &role, &group_flag])?;
        let warnings = warnings()?;
        let found = warnings.to_string();
        ensure!(
            found.contains(said) && found.contains("kubectl delete clusterrolebinding broad"),
            "{group}: {found}"
        );
        ensure!(admin.status()?.0["warnings"] == warnings, "{group}");
        admin.kubectl.run(&["delete", "clusterrolebinding", "broad"])?;
    }
    ensure!(warnings()? == serde_json::json!([]), "{}", warnings()?);
    Ok(())
}

fn tokens_are_made_listed_and_deleted(admin: &Admin<'_>) -> Result<()> {
    let none = admin.try_agent(&["token", "create"])?;
    ensure!(
        none.code == Some(2) && none.stderr.contains("--node") && none.stderr.contains("--any-node"),
        "{none:?}"
    );
    let made = admin.agent(&["token", "create", "--node", "worker-1"])?;
    let token = made.stdout.trim().to_owned();
    let (id, key) = token.split_once('.').context("no token")?;
    ensure!(!made.stderr.contains(key), "the secret is in the log: {}", made.stderr);
    let weak = admin.agent(&["token", "create", "--any-node"])?;
    ensure!(weak.stderr.contains("weaker"), "{}", weak.stderr);
    let weak_id = weak.stdout.split_once('.').context("no token")?.0.to_owned();
    admin.kubectl.create(FOREIGN_TOKEN)?;
    admin.kubectl.create(&format!(
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: token-{weak_id}, namespace: kn-agent}}\nspec: \
         {{holderIdentity: 'sha256:00', acquireTime: '2026-01-01T00:00:00.000000Z'}}\n"
    ))?;

    let listed = admin.agent(&["token", "list", "-o", "json"])?;
    ensure!(!listed.stdout.contains(key) && !listed.stdout.contains("zzzzzzzz"), "{}", listed.stdout);
    let document = listed.json()?;
    ensure!(document["schema"] == "kn-agent.io/token-list/v1" && document["foreign"] == 1, "{document}");
    let find = |id: &str| {
        let mut tokens = document["tokens"].as_array().into_iter().flatten();
        tokens.find(|token| token["id"] == id).cloned().unwrap_or_default()
    };
    let (bound, used) = (find(id), find(&weak_id));
    ensure!(
        bound["node"] == "worker-1" && bound["state"] == "alive" && bound["used"].is_null(),
        "{document}"
    );
    ensure!(
        used["bound"] == false && used["state"] == "used" && used["used"]["key"] == "sha256:00",
        "{document}"
    );
    let text = admin.agent(&["token", "list"])?.stdout;
    ensure!(text.contains("worker-1") && text.contains("and 1 of others"), "{text}");

    let deleted = admin.agent(&["token", "delete", &token])?;
    ensure!(deleted.stdout.contains(&format!("token {id} deleted")), "{deleted:?}");
    ensure!(!format!("{deleted:?}").contains(key), "the secret is said: {deleted:?}");
    ensure!(!admin.exists(&["secret", "-n", "kube-system", &format!("bootstrap-token-{id}")])?, "it is left");
    let again = admin.agent(&["token", "delete", id])?;
    ensure!(again.stdout.contains("nothing to delete"), "{again:?}");
    admin.agent(&["token", "delete", &weak_id])?;
    admin.agent(&["token", "delete", "zzzzzz"])?;
    ensure!(admin.agent(&["token", "list"])?.stdout == "no bootstrap token\n", "tokens are left");
    Ok(())
}

/// What the controller-manager approves it approves in milliseconds, and the two requests have the same form.
fn nothing_is_approved_unseen_unless_asked_for(admin: &Admin<'_>) -> Result<()> {
    let refused = admin.try_agent(&["token", "create", "--any-node", "--auto-approve"])?;
    ensure!(
        refused.code == Some(1) && refused.stderr.contains("cluster init --auto-approve=any-token"),
        "{refused:?}"
    );
    for (name, words) in [("bound", &["--node", "worker-1"][..]), ("weak", &["--any-node"])] {
        let token = admin.agent(&[&["token", "create"], words].concat())?.stdout;
        admin.ask(name, token.trim(), "worker-1")?;
    }
    let (outcome, _) = admin.init(&["--auto-approve=any-token"])?;
    ensure!(outcome["warnings"].to_string().contains("can become any node"), "{outcome}");
    let token = admin.agent(&["token", "create", "--any-node", "--auto-approve"])?.stdout;
    admin.ask("unseen", token.trim(), "worker-1")?;
    let approved = || Ok(admin.conditions("unseen")?.iter().any(|c| c["type"] == "Approved").then_some(()));
    wait_until("the control to be approved", SOON, approved)?;
    for name in ["bound", "weak"] {
        let conditions = admin.conditions(name)?;
        ensure!(conditions.is_empty(), "{name}: {conditions:?}");
    }
    let (status, _) = admin.status()?;
    ensure!(status["requests"][0]["count"] == 2, "{status}");
    admin.kubectl.run(&["delete", "csr", "--all"])?;
    admin.kubectl.run(&["delete", "clusterrolebinding", "kn-agent:auto-approve"])?;
    Ok(())
}

fn credentials_of_the_unit_are_the_account_s(admin: &Admin<'_>) -> Result<()> {
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
fn deployment_gets_its_pod(admin: &Admin<'_>) -> Result<()> {
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
