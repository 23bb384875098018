//! Whom a machine believes before it has said anything, and what was issued before: kubeadm's own objects on a real API
//! server, and a join without any request.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::kubeadm::TOKEN;
use lab::{Component, Minor, wait_until};
use serde_json::Value;

/// Within this a trouble has to be told.
const SEEN: Duration = Duration::from_secs(10);

/// No backoff is longer than 30 s.
const HEALED: Duration = Duration::from_secs(45);

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    Ok(text(&output.stdout))
}

/// What `kubeadm init` leaves in a cluster for those who join.
fn kubeadm(scenario: &Scenario) -> Result<()> {
    let plane = &scenario.control_plane;
    lab::kubeadm::init(plane, &["bootstrap-token", "addon kube-proxy"])?;
    let kubectl = plane.kubectl()?;
    wait_until("the token's signature", JOIN, || {
        let info = kubectl.get(&["-n", "kube-public", "configmap", "cluster-info"])?;
        Ok(info["data"]["jws-kubeconfig-abcdef"].is_string().then_some(()))
    })
}

/// The pin of the cluster's CA, by the command that the remedy of `CaPinMismatch` gives.
fn pin(scenario: &Scenario) -> Result<String> {
    let line = "openssl x509 -pubkey -noout -in \"$0\" | openssl pkey -pubin -outform der | sha256sum";
    let hash = run(Command::new("sh").args(["-c", line]).arg(scenario.control_plane.ca()))?;
    Ok(format!("sha256:{}", hash.split_whitespace().next().unwrap_or_default()))
}

struct Joining {
    scenario: Scenario,
}

impl Joining {
    /// Nothing but server, pin and token, and that the cluster runs kube-proxy.
    fn config(&self, pin: &str, token: &str) -> String {
        format!(
            "cluster: {{server: '{}', ca: {{pins: ['{pin}']}}}}\nidentity: {{token: {{value: {token}}}}}\n\
             proxy: {{enabled: false}}\n",
            self.scenario.control_plane.server()
        )
    }

    /// Configured so, the machine says this, in a message with this, and has told and believed nobody.
    fn is_refused(&self, config: &str, reason: &str, part: &str) -> Result<()> {
        self.scenario.configure(config)?;
        let phase = self.scenario.wait_reason(reason, SEEN)?;
        let message = phase["message"].as_str().unwrap_or_default();
        ensure!(phase["phase"] == "trust" && message.contains(part), "{phase}");
        lab::say(format_args!("{reason}: {message}"));
        let there = self.scenario.node.try_exec(&["test", "-e", "/etc/kubernetes/pki/ca.crt"])?;
        ensure!(!there.status.success(), "a CA was believed");
        let (anonymous, by_token) = self.requests()?;
        ensure!(by_token == 0, "{by_token} requests with a token");
        ensure!(anonymous > 0, "the audit log shows no request of the agent: the search is wrong");
        Ok(())
    }

    /// How often the agent asked for cluster-info without a credential, and for anything with a token.
    fn requests(&self) -> Result<(usize, usize)> {
        let (mut anonymous, mut by_token) = (0, 0);
        for line in std::fs::read_to_string(self.scenario.control_plane.audit_log())?.lines() {
            let event: Value = serde_json::from_str(line)?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (user, uri) = (text(&event["user"]["username"]), text(&event["requestURI"]));
            let of_agent = text(&event["userAgent"]).starts_with("kn-agent/");
            if of_agent && user == "system:anonymous" {
                ensure!(uri == "/api/v1/namespaces/kube-public/configmaps/cluster-info", "{event}");
                anonymous += 1;
            }
            by_token += usize::from(user.starts_with("system:bootstrap:"));
        }
        Ok((anonymous, by_token))
    }

    /// With its controllers away nobody signs what is changed.
    fn altered_cluster_info(&mut self, pin: &str) -> Result<()> {
        self.scenario.forget()?;
        self.scenario.control_plane.stop_component(Component::ControllerManager);
        let kubectl = self.scenario.control_plane.kubectl()?;
        let info = kubectl.get(&["-n", "kube-public", "configmap", "cluster-info"])?;
        let text = info["data"]["kubeconfig"].as_str().context("no kubeconfig")?;
        let other = text.replace(&self.scenario.control_plane.server(), "https://elsewhere.example:6443");
        ensure!(other != text, "nothing was altered: {text}");
        let patch = serde_json::json!({"data": {"kubeconfig": other}}).to_string();
        kubectl.run(&["-n", "kube-public", "patch", "configmap", "cluster-info", "-p", &patch])?;
        self.is_refused(&self.config(pin, TOKEN), "ClusterInfoForged", "over another text")
    }
}

#[test]
fn a_cluster_of_kubeadm_1_36_is_joined_with_server_token_and_pin() -> Result<()> {
    cluster_of_kubeadms("trust", Minor::V1_36)
}

#[test]
fn a_cluster_of_kubeadm_1_20_is_joined_with_server_token_and_pin() -> Result<()> {
    cluster_of_kubeadms("trust-1.20", Minor::V1_20)
}

fn cluster_of_kubeadms(name: &str, minor: Minor) -> Result<()> {
    let mut joining = Joining { scenario: Scenario::start(name, minor)? };
    kubeadm(&joining.scenario)?;
    let pin = pin(&joining.scenario)?;
    let wrong = format!("sha256:{}", "ab".repeat(32));
    joining.is_refused(
        &joining.config(&wrong, TOKEN),
        "CaPinMismatch",
        &format!("has {pin}, expected {wrong}"),
    )?;
    // Ours are made for authentication alone.
    let unsigned = joining.scenario.agent(&["token", "create", "--any-node"])?;
    joining.scenario.forget()?;
    joining.is_refused(
        &joining.config(&pin, unsigned.trim()),
        "ClusterInfoUnsigned",
        "not made for signing",
    )?;
    joining.altered_cluster_info(&pin)?;
    // The control: signed anew, it is believed, with the address it has now; ours is the configured one all the same.
    joining.scenario.control_plane.start_component(Component::ControllerManager)?;
    joining.scenario.wait_ready(HEALED)?;
    ensure!(joining.requests()?.1 > 0, "the audit log shows no request with a token: the search is wrong");
    let log = joining.scenario.node.exec(&["journalctl", "-u", "kn-agent", "-o", "cat", "--no-pager"])?;
    ensure!(log.contains("the cluster calls its API server `https://elsewhere.example:6443`"), "{log}");
    ensure!(!log.contains("0123456789abcdef"), "the log shows the token");
    let found = joining.scenario.node.exec(&["cat", "/etc/kubernetes/pki/ca.crt"])?;
    ensure!(found == std::fs::read_to_string(joining.scenario.control_plane.ca())?, "{found}");
    the_clusters_kube_proxy_is_respected(&joining.scenario)?;
    no_token_is_needed_any_more(&joining, &pin)?;
    a_token_of_ours_signs_where_it_was_made_to(&joining, &pin)
}

fn the_clusters_kube_proxy_is_respected(scenario: &Scenario) -> Result<()> {
    let kubectl = scenario.control_plane.kubectl()?;
    wait_until("the DaemonSet to want a kube-proxy here", JOIN, || {
        let set = kubectl.get(&["-n", "kube-system", "daemonset", "kube-proxy"])?;
        Ok((set["status"]["desiredNumberScheduled"] == 1).then_some(()))
    })?;
    ensure!(scenario.unit("kube-proxy.service", "LoadState")? == "not-found");
    ensure!(scenario.unit("kubelet.service", "LoadState")? == "loaded");
    lab::ensure_nothing_planned(&scenario.node)
}

fn no_token_is_needed_any_more(joining: &Joining, pin: &str) -> Result<()> {
    let without =
        joining.config(pin, TOKEN).replace(&format!("identity: {{token: {{value: {TOKEN}}}}}\n"), "");
    ensure!(!without.contains(TOKEN));
    let before = joining.requests()?;
    joining.scenario.configure(&without)?;
    joining.scenario.node.exec(&["systemctl", "restart", "kn-agent"])?;
    joining.scenario.wait_ready(JOIN)?;
    ensure!(joining.requests()? == before, "it asked again");
    Ok(())
}

/// Bound to the node as any of ours, and found by the same pin.
fn a_token_of_ours_signs_where_it_was_made_to(joining: &Joining, pin: &str) -> Result<()> {
    let token = joining.scenario.agent(&["token", "create", "--node", NODE, "--signing"])?;
    let token = token.trim();
    let id = token.split_once('.').context("no token")?.0;
    let kubectl = joining.scenario.control_plane.kubectl()?;
    wait_until("the token's signature", JOIN, || {
        let info = kubectl.get(&["-n", "kube-public", "configmap", "cluster-info"])?;
        Ok(info["data"][format!("jws-kubeconfig-{id}")].is_string().then_some(()))
    })?;
    joining.scenario.forget()?;
    let there = joining.scenario.node.try_exec(&["test", "-e", "/etc/kubernetes/pki/ca.crt"])?;
    ensure!(!there.status.success(), "the CA need not be found");
    joining.scenario.configure(&joining.config(pin, token))?;
    joining.scenario.wait_ready(JOIN).map(drop)
}

/// Puts the node's certificate in place.
fn put_pair(scenario: &Scenario, days: i64) -> Result<()> {
    let address = IpAddr::V4(scenario.node.address());
    let pair = scenario.control_plane.certificate_of_node(NODE, address, days)?;
    for (from, to) in [(pair.certificate, "kubelet.pem"), (pair.key, "kubelet-key.pem")] {
        scenario.node.put(&format!("/etc/kubernetes/ssl/{to}"), std::fs::read(from)?, 0o600)?;
    }
    Ok(())
}

/// The SHA-256 of what the kubelet serves with, which has to be what the cluster's CA signed for its address.
fn served(scenario: &Scenario) -> Result<String> {
    let address = scenario.node.address();
    let line = "openssl s_client -connect \"$0:10250\" -CAfile \"$1\" -verify_return_error -verify_ip \"$0\" \
                < /dev/null 2> /dev/null | openssl x509 -noout -fingerprint -sha256";
    run(Command::new("sh").args(["-c", line, &address.to_string()]).arg(scenario.control_plane.ca()))
}

#[test]
fn kubernetes_1_20_joins_with_a_certificate_and_a_kubeconfig_made_before() -> Result<()> {
    let scenario = Scenario::start("supplied", Minor::V1_20)?;
    let plane = &scenario.control_plane;
    put_pair(&scenario, 300)?;
    let (as_proxy, _) = plane.kubectl_as("kube-proxy", "system:kube-proxy", &[])?;
    let kubeconfig = as_proxy.run(&["config", "view", "--raw", "--flatten"])?;
    scenario.node.put("/etc/kubernetes/kube-proxy.kubeconfig", kubeconfig, 0o600)?;
    scenario.node.put("/etc/kn-agent/ca.pem", std::fs::read(plane.ca())?, 0o644)?;
    scenario.configure(&format!(
        "cluster: {{server: '{}', ca: {{file: /etc/kn-agent/ca.pem}}}}\nidentity:\n  mode: certificate\n  \
         certFile: /etc/kubernetes/ssl/kubelet.pem\n  keyFile: /etc/kubernetes/ssl/kubelet-key.pem\n\
         proxy: {{kubeconfig: /etc/kubernetes/kube-proxy.kubeconfig}}\n",
        plane.server()
    ))?;
    let status = scenario.wait_ready(JOIN)?;
    let told = status["phases"].to_string();
    ensure!(told.contains("the kubelet serves with identity.certFile"), "{told}");
    let kubectl = plane.kubectl()?;
    ensure!(kubectl.run(&["get", "csr", "-o", "name"])?.is_empty(), "something was asked for");
    ensure!(scenario.unit("kube-proxy.service", "ActiveState")? == "active");
    let left = scenario.node.sh("ls /var/lib/kubelet/pki /var/lib/kn-agent", &[])?;
    ensure!(!left.contains(".key") && !left.contains("kubelet-client"), "{left}");
    lab::ensure_nothing_planned(&scenario.node)?;

    // Replaced, it is served after a restart of this kubelet, which reads it only then.
    let first = served(&scenario)?;
    put_pair(&scenario, 200)?;
    wait_until("the new certificate to be served", HEALED, || {
        Ok(served(&scenario).ok().filter(|now| *now != first))
    })?;
    scenario.wait_ready(JOIN)?;

    put_pair(&scenario, -1)?;
    let phase = scenario.wait_reason("SuppliedExpired", HEALED)?;
    ensure!(phase["message"].as_str().is_some_and(|m| m.contains("kubelet.pem`: it expired at")), "{phase}");
    put_pair(&scenario, 100)?;
    scenario.wait_ready(HEALED)?;

    scenario.node.put(DROP_IN, "proxy: {kubeconfig: /etc/kubernetes/none}\n", 0o600)?;
    scenario.wait_reason("KubeconfigUnusable", HEALED).map(drop)
}
