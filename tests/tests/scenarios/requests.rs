//! The life of a certificate signing request: whatever becomes of it has a reason of its own, and a way on from there.
//! No approver runs: what is approved, an administrator approves.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::scenario::{JOIN, NODE, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::{Component, Kubectl, Minor, wait_until};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

/// Within this a trouble has to be told, and what mends it at once has to be taken up.
const SEEN: Duration = Duration::from_secs(10);

/// The first pause after a second deletion is a minute.
const PAUSE: Duration = Duration::from_mins(1);

/// No backoff is longer than 30 s.
const HEALED: Duration = Duration::from_secs(45);

/// systemd passes a credential to a start of the daemon.
const CREDENTIAL: &str = "/run/systemd/system/kn-agent.service.d/credential.conf";

/// Where the daemon keeps a token that systemd passed it.
const KEPT: &str = "/var/lib/kn-agent/token";

/// A request that the signer must not sign: a node is of the group `system:nodes`.
const UNSIGNABLE: &str = "apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: unsignable}
spec:
  request: @REQUEST@
  signerName: kubernetes.io/kube-apiserver-client-kubelet
  usages: [digital signature, key encipherment, client auth]
";

fn base64(text: &str) -> Result<String> {
    let mut child =
        Command::new("base64").arg("--wrap=0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no pipe")?.write_all(text.as_bytes())?;
    Ok(String::from_utf8(child.wait_with_output()?.stdout)?)
}

struct Requests {
    scenario: Scenario,
    kubectl: Kubectl,
    /// A configuration whose token's requests nobody but a person approves.
    config: String,
}

impl Requests {
    fn start(name: &str, minor: Minor) -> Result<Self> {
        let mut scenario = Scenario::start(name, minor)?;
        scenario.stop_approver()?;
        let kubectl = scenario.control_plane.kubectl()?;
        let config = scenario.agent(&["token", "create", "--any-node", "--print", "config"])?;
        Ok(Self { scenario, kubectl, config })
    }

    /// Waits for the reason with what is to be said; that.
    fn told(&self, reason: &str, marks: &[&str]) -> Result<String> {
        let begun = Instant::now();
        let said = self.scenario.wait_trouble(reason, marks, SEEN)?;
        lab::say(format_args!("{reason} after {:.1} s: {said}", begun.elapsed().as_secs_f32()));
        Ok(said)
    }

    /// A machine that asks for the first time; its request's name.
    fn ask(&self) -> Result<String> {
        self.scenario.forget()?;
        self.scenario.configure(&self.config)?;
        self.pending()
    }

    fn pending(&self) -> Result<String> {
        let said = self.told("CsrPending", &["CSR `kn-kubelet-", "waits for approval"])?;
        Ok(said.split('`').nth(1).context("no name in it")?.to_owned())
    }

    fn approve(&self, name: &str) -> Result<()> {
        self.kubectl.run(&["certificate", "approve", name]).map(drop)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.kubectl.run(&["delete", "csr", name]).map(drop)
    }

    fn uid(&self, name: &str) -> Result<String> {
        self.kubectl.run(&["get", "csr", name, "-o", "jsonpath={.metadata.uid}"])
    }

    /// The node gets its certificate.
    fn is_issued(&self) -> Result<()> {
        self.scenario.wait_satisfied("identity", HEALED)
    }

    /// Writes a request's status, as a signer does.
    fn put_status(&self, name: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut request = self.kubectl.get(&["csr", name])?;
        change(&mut request["status"]);
        let file = self.scenario.control_plane.run().directory().join("status.json");
        std::fs::write(&file, request.to_string())?;
        let uri = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}/status");
        self.kubectl.run(&["replace", "--raw", &uri, "-f", &file.to_string_lossy()]).map(drop)
    }

    fn nobody_decides(&self) -> Result<()> {
        let name = self.ask()?;
        self.told(
            "CsrPending",
            &[&name, "on an admin machine: kn-agent approver", "kubectl certificate approve"],
        )?;
        let find = || -> Result<Value> {
            let found = self.scenario.phases()?.into_iter().find(|phase| phase["reason"] == "CsrPending");
            found.context("it does not wait any more")
        };
        let first = find()?;
        ensure!(first["state"] == "waiting" && first["phase"] == "identity", "{first}");
        std::thread::sleep(Duration::from_secs(2));
        ensure!(find()?["since"] == first["since"], "since moves on: {first} {}", find()?);
        let status = self.scenario.node.try_exec(&["kn-agent", "status"])?;
        ensure!(status.status.code() == Some(3), "{status:?}");
        let line =
            status.stdout.lines().find(|line| line.contains("CsrPending")).context("not in the text")?;
        let waited = line.split("(for ").nth(1).and_then(|rest| rest.split(' ').next()).context("no time")?;
        ensure!(waited.parse::<f32>()? >= 2.0, "{line}");
        self.approve(&name)?;
        self.is_issued()
    }

    fn denied_and_then_another_token(&self) -> Result<()> {
        let name = self.ask()?;
        let daemon = self.scenario.incarnation()?;
        self.kubectl.run(&["certificate", "deny", &name])?;
        self.told(
            "CsrDenied",
            &[&name, "KubectlDeny", "asked again with a new key at 2", "with another token"],
        )?;
        let other = self.scenario.agent(&["token", "create", "--any-node", "--print", "config"])?;
        self.scenario.configure(&other)?;
        let again = self.pending()?;
        ensure!(again != name, "the denied key is used again");
        self.approve(&again)?;
        self.is_issued()?;
        ensure!(self.scenario.incarnation()? == daemon, "the daemon was restarted");
        Ok(())
    }

    /// What the agent asks for, the signer signs. So the signer's refusal of another request is copied: reason and words
    /// are this version's.
    fn refused_by_the_signer(&self) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "somebody");
        params.distinguished_name.push(DnType::CommonName, "system:node:somebody");
        let request = base64(&params.serialize_request(&KeyPair::generate()?)?.pem()?)?;
        let name = self.ask()?;
        self.kubectl.create(&UNSIGNABLE.replace("@REQUEST@", &request))?;
        self.approve("unsignable")?;
        let failed = wait_until("the signer to refuse it", SEEN, || {
            let request = self.kubectl.get(&["csr", "unsignable"])?;
            let conditions = request["status"]["conditions"].as_array().cloned().unwrap_or_default();
            Ok(conditions.into_iter().find(|condition| condition["type"] == "Failed"))
        })?;
        ensure!(failed["reason"] == "SignerValidationFailure", "{failed}");
        self.put_status(&name, |status| status["conditions"] = json!([failed]))?;
        let words = failed["message"].as_str().context("no message")?;
        self.told("CsrFailed", &[&name, "SignerValidationFailure", words, "kubectl delete csr"])?;
        self.delete(&name)?;
        ensure!(self.pending()? == name, "another key");
        self.approve(&name)?;
        self.is_issued()
    }

    /// Nobody signs meanwhile: the controller-manager is away.
    fn approved_and_then_nothing_or_anothers(&mut self) -> Result<()> {
        let name = self.ask()?;
        self.scenario.control_plane.kill_component(Component::ControllerManager);
        self.approve(&name)?;
        let unissued =
            ["is approved", "kubernetes.io/kube-apiserver-client-kubelet", "--cluster-signing-cert-file"];
        self.told("CsrUnissued", &[&[name.as_str()], &unissued[..]].concat())?;

        let user = format!("system:node:{NODE}");
        let (_, other) = self.scenario.control_plane.kubectl_as("other-key", &user, &["system:nodes"])?;
        let pem = base64(&std::fs::read_to_string(other.certificate)?)?;
        self.put_status(&name, |status| status["certificate"] = pem.into())?;
        self.told(
            "CertificateRejected",
            &[&name, "it is for another key", "asked again", "kubectl delete csr"],
        )?;
        let there = ["test", "-e", "/var/lib/kubelet/pki/kubelet-client-current.pem"];
        ensure!(!self.scenario.node.try_exec(&there)?.status.success(), "it was installed");
        self.delete(&name)?;
        ensure!(self.pending()? == name, "another key");
        self.approve(&name)?;
        self.told("CsrUnissued", &[&name])?;
        self.scenario.control_plane.start_component(Component::ControllerManager)?;
        self.is_issued()?;
        // The control of the search above.
        ensure!(
            self.scenario.node.try_exec(&there)?.status.success(),
            "what is issued is looked for elsewhere"
        );
        Ok(())
    }

    /// As the controller-manager collects it, an hour after it was issued.
    fn issued_and_collected_before_it_was_read(&self) -> Result<()> {
        let name = self.ask()?;
        let node = &self.scenario.node;
        node.exec(&["systemctl", "stop", "kn-agent.path", "kn-agent.service"])?;
        self.approve(&name)?;
        wait_until("the certificate", SEEN, || {
            Ok(self.kubectl.get(&["csr", &name])?["status"]["certificate"].is_string().then_some(()))
        })?;
        let first = self.uid(&name)?;
        self.delete(&name)?;
        node.exec(&["systemctl", "start", "kn-agent.path", "kn-agent.service"])?;
        ensure!(self.pending()? == name && self.uid(&name)? != first, "it is not asked for anew");
        self.approve(&name)?;
        self.is_issued()
    }

    /// Once is chance and is answered at once; twice may be meant.
    fn deleted_while_it_waits(&self, with_the_pause: bool) -> Result<()> {
        let name = self.ask()?;
        let first = self.uid(&name)?;
        self.delete(&name)?;
        let submitted = || Ok(self.uid(&name).ok().filter(|uid| *uid != first));
        wait_until("it to be submitted again", SEEN, submitted).with_context(|| self.scenario.describe())?;
        self.pending()?;
        self.delete(&name)?;
        let begun = Instant::now();
        self.told(
            "CsrDeleted",
            &[&name, "was deleted 2 times", "submitted again at 2", "find out who deletes"],
        )?;
        ensure!(self.uid(&name).is_err(), "it is submitted all the same");
        if !with_the_pause {
            return Ok(());
        }
        let again =
            wait_until("it to be submitted at the time it said", PAUSE + SEEN, || Ok(self.uid(&name).ok()));
        again.with_context(|| self.scenario.describe())?;
        ensure!(begun.elapsed() + SEEN > PAUSE, "it is submitted after {:?}", begun.elapsed());
        self.approve(&name)?;
        self.is_issued()
    }

    /// systemd passed the token to one start of the daemon; the next one has only what the first one kept.
    fn token_that_one_start_has(&self) -> Result<()> {
        let node = &self.scenario.node;
        let token = self.scenario.agent(&["token", "create", "--any-node"])?.trim().to_owned();
        let line = self.config.lines().find(|line| line.trim_start().starts_with("value: "));
        let value = line.context("no token in the configuration")?.trim();
        self.scenario.forget()?;
        node.put(CREDENTIAL, format!("[Service]\nSetCredential=join:{token}\n"), 0o600)?;
        node.exec(&["systemctl", "daemon-reload"])?;
        self.scenario.configure(&self.config.replace(value, "credential: join"))?;
        let name = self.pending()?;
        let kept = node.exec(&["stat", "-c", "%a", KEPT])?;
        ensure!(kept.trim() == "600", "the copy has mode {kept}");

        node.exec(&["rm", CREDENTIAL])?;
        node.exec(&["systemctl", "daemon-reload"])?;
        let passed = ["test", "-e", "/run/credentials/kn-agent.service/join"];
        ensure!(node.try_exec(&passed)?.status.success(), "systemd passed none: the search is wrong");
        node.exec(&["systemctl", "restart", "kn-agent"])?;
        ensure!(!node.try_exec(&passed)?.status.success(), "systemd passed it again");
        ensure!(self.pending()? == name, "another key");
        self.approve(&name)?;
        self.is_issued()?;
        let proxy = self.told("CsrPending", &["CSR `kn-proxy-"])?;
        self.approve(proxy.split('`').nth(1).context("no name in it")?)?;
        self.scenario.wait_ready(JOIN)?;
        wait_until("the copy to be gone", SEEN, || {
            Ok((!node.try_exec(&["test", "-e", KEPT])?.status.success()).then_some(()))
        })?;
        let log = node.exec(&["journalctl", "-u", "kn-agent", "-o", "cat", "--no-pager"])?;
        let secret = token.split_once('.').context("no token")?.1;
        ensure!(log.contains(&name) && !log.contains(secret), "the log shows the token, or nothing");
        Ok(())
    }
}

fn every_end_of_a_request(name: &str, minor: Minor) -> Result<()> {
    let mut requests = Requests::start(name, minor)?;
    requests.nobody_decides().context("nobody decides")?;
    requests.denied_and_then_another_token().context("denied")?;
    requests.refused_by_the_signer().context("refused by the signer")?;
    requests.approved_and_then_nothing_or_anothers().context("approved")?;
    requests.issued_and_collected_before_it_was_read().context("collected")?;
    // A minute is long, and how the pauses grow is tested with the planner's own clock.
    requests.deleted_while_it_waits(std::env::var_os("LONG").is_some()).context("deleted")?;
    requests.token_that_one_start_has().context("credential")
}

#[test]
fn whatever_becomes_of_a_request_is_told_and_overcome_on_1_36() -> Result<()> {
    every_end_of_a_request("requests", Minor::V1_36)
}

#[test]
fn whatever_becomes_of_a_request_is_told_and_overcome_on_1_20() -> Result<()> {
    every_end_of_a_request("requests-1.20", Minor::V1_20)
}
