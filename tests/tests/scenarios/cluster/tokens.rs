//! What is handed out to machines, and who approves what they ask for with it.

use anyhow::{Context as _, Result, ensure};
use lab::wait_until;

use super::{Admin, SOON};

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

pub(crate) fn tokens_are_made_listed_and_deleted(admin: &Admin<'_>) -> Result<()> {
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
pub(crate) fn nothing_is_approved_unseen_unless_asked_for(admin: &Admin<'_>) -> Result<()> {
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
