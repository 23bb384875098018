//! The certificates of a node as its operator meets them: what is told of each, what is in the way of `kubectl logs`, and
//! how one is had anew.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario, talker};
use anyhow::{Context as _, Result, ensure};
use lab::{Minor, wait_until};
use serde_json::Value;

/// Within this a trouble has to be told. The kubelet tells its addresses within ten seconds of its start.
const SEEN: Duration = Duration::from_secs(20);

/// No backoff is longer than 30 s.
const HEALED: Duration = Duration::from_secs(45);

/// A second address of the machine, as its last number.
const SECOND: u8 = 200;

#[test]
fn certificates_are_told_renewed_and_named_where_they_are_in_the_way() -> Result<()> {
    let mut scenario = Scenario::start("certificates", Minor::V1_36)?;
    nobody_approved_the_serving_certificate(&mut scenario).context("pending")?;
    each_is_told_with_who_renews_it_and_when(&scenario).context("certs")?;
    kube_proxys_is_renewed_while_it_runs(&scenario).context("renew")?;
    without_the_daemon_it_says_what_to_do(&scenario).context("the daemon is stopped")?;
    the_nodes_address_changed(&mut scenario).context("address")?;
    a_supplied_one_lacks_the_address(&scenario).context("supplied")
}

fn nobody_approved_the_serving_certificate(scenario: &mut Scenario) -> Result<()> {
    scenario.stop_approver()?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.approve("kn-kubelet-")?;
    scenario.approve("kn-proxy-")?;
    scenario.wait_ready(JOIN)?;
    let marks = ["the kubelet has asked for it", "kn-agent approver", "kubectl logs and exec fail"];
    let said = scenario.wait_trouble("ServingCertPending", &marks, SEEN)?;
    lab::say(format_args!("ServingCertPending: {said}"));
    // The command that it names shows the request.
    let command = said.split("kubectl get csr ").nth(1).context("no command in it")?;
    let selector = command.split(' ').nth(1).context("no selector in it")?;
    let kubectl = scenario.control_plane.kubectl()?;
    let found =
        || Ok(Some(kubectl.run(&["get", "csr", "--field-selector", selector])?).filter(|t| t.contains(NODE)));
    wait_until("the kubelet's request", SEEN, found)?;
    talker::start(&scenario.control_plane)?;
    talker::is_not_heard(&scenario.control_plane, "tls: internal error")?;
    let certs = scenario.node.try_exec(&["kn-agent", "certs"])?;
    ensure!(certs.status.code() == Some(3) && certs.stdout.contains("kubelet-serving  absent"), "{certs:?}");
    scenario.start_approver()?;
    scenario.wait_satisfied("servingCert", HEALED)?;
    talker::is_heard(&scenario.control_plane, HEALED)
}

/// The entry of a certificate in the document.
fn entry(scenario: &Scenario, name: &str) -> Result<Value> {
    let output = scenario.node.try_exec(&["kn-agent", "certs", "-o", "json"])?;
    let document: Value = serde_json::from_str(&output.stdout)?;
    ensure!(document["schema"] == "kn-agent.io/certs/v1" && document["node"] == NODE, "{document}");
    let mut all = document["certificates"].as_array().into_iter().flatten();
    all.find(|entry| entry["name"] == name).cloned().with_context(|| format!("no {name}: {document}"))
}

/// What the text says of a certificate: its line, and those below it that are indented.
fn part(text: &str, name: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.split(' ').next() != Some(name));
    let first = lines.next().unwrap_or_default();
    let rest = lines.take_while(|line| line.starts_with(' '));
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join("\n")
}

fn each_is_told_with_who_renews_it_and_when(scenario: &Scenario) -> Result<()> {
    scenario.wait_ready(JOIN)?;
    let text = scenario.node.exec(&["kn-agent", "certs"])?;
    let address = scenario.node.address().to_string();
    for (name, renewed_by, said) in [
        ("kubelet-client", "kubelet", "renewed   by the kubelet, between 2"),
        ("kubelet-serving", "kubelet", "renewed   by the kubelet, between 2"),
        ("kube-proxy", "knAgent", "renewed   by kn-agent, at 2"),
        ("ca", "operator", "renewed   by whoever runs the cluster"),
    ] {
        let entry = entry(scenario, name)?;
        ensure!(entry["state"] == "valid" && entry["outlook"] == "good", "{entry}");
        ensure!(entry["renewedBy"] == renewed_by && entry["remainingSeconds"].as_i64() > Some(0), "{entry}");
        ensure!(entry["renewalFrom"].is_string() == (name != "ca"), "{entry}");
        let part = part(&text, name);
        ensure!(part.contains("valid, ") && part.contains(said), "{name}: {part}");
        // What it shows is what is on disk.
        let file = entry["file"].as_str().context("no file")?;
        let serial = scenario.node.sh("openssl x509 -noout -serial -in \"$1\"", &[file])?;
        let shown = entry["serial"].as_str().unwrap_or_default().replace(':', "").to_uppercase();
        let serial = serial.trim().trim_start_matches("serial=").trim_start_matches('0').to_owned();
        ensure!(shown.trim_start_matches('0') == serial, "{entry}: on disk is {serial}");
    }
    let names = entry(scenario, "kubelet-serving")?["names"].to_string();
    ensure!(names.contains(NODE) && names.contains(&address), "{names}");
    let refused = scenario.node.try_exec(&["kn-agent", "certs", "renew", "kubelet-client"])?;
    ensure!(refused.status.code() == Some(1) && refused.stderr.contains("the kubelet renews"), "{refused:?}");
    Ok(())
}

fn serial(scenario: &Scenario) -> Result<String> {
    Ok(entry(scenario, "kube-proxy")?["serial"].to_string())
}

fn is_renewed(scenario: &Scenario, before: &str) -> Result<()> {
    let other = || Ok((serial(scenario)? != before).then_some(()));
    wait_until("another certificate of kube-proxy's", HEALED, other).with_context(|| scenario.describe())?;
    wait_until("the wish to be gone", SEEN, || {
        let left = scenario.node.sh("ls /var/lib/kn-agent", &[])?;
        Ok((!left.contains("renew")).then_some(()))
    })
}

fn kube_proxys_is_renewed_while_it_runs(scenario: &Scenario) -> Result<()> {
    let before = serial(scenario)?;
    let pid = scenario.unit("kube-proxy.service", "MainPID")?;
    let said = scenario.node.exec(&["kn-agent", "certs", "renew", "kube-proxy"])?;
    ensure!(said.contains("asked for"), "{said}");
    is_renewed(scenario, &before)?;
    ensure!(scenario.unit("kube-proxy.service", "MainPID")? == pid && pid != "0", "kube-proxy was restarted");
    scenario.wait_ready(JOIN).map(drop)
}

fn without_the_daemon_it_says_what_to_do(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    let before = serial(scenario)?;
    node.exec(&["systemctl", "stop", "kn-agent.path", "kn-agent.service"])?;
    let proxy = entry(scenario, "kube-proxy")?;
    ensure!(
        proxy["outlook"] == "waiting" && proxy["message"].to_string().contains("systemctl start kn-agent"),
        "{proxy}"
    );
    let noted = node.try_exec(&["kn-agent", "certs", "renew", "kube-proxy"])?;
    let says = noted.stdout.contains("noted for the daemon's next start: systemctl start kn-agent");
    ensure!(noted.status.code() == Some(5) && says, "{noted:?}");
    ensure!(serial(scenario)? == before, "somebody renewed it");
    node.exec(&["systemctl", "start", "kn-agent.path", "kn-agent.service"])?;
    is_renewed(scenario, &before)
}

fn second(scenario: &Scenario) -> Ipv4Addr {
    let [a, b, c, _] = scenario.node.address().octets();
    Ipv4Addr::new(a, b, c, SECOND)
}

/// The kubelet asks anew for the new address; until somebody approves, the API server refuses the old certificate.
fn the_nodes_address_changed(scenario: &mut Scenario) -> Result<()> {
    let address = second(scenario).to_string();
    scenario.stop_approver()?;
    scenario.node.sh("ip address add \"$1/24\" dev host0", &[&address])?;
    scenario.node.put(DROP_IN, format!("node: {{address: {address}}}\n"), 0o600)?;
    let marks = [
        "kubelet-server-current.pem` is for ",
        &format!("and not for {address} of the Node"),
        "kn-agent approver",
    ];
    let said = scenario.wait_trouble("ServingCertNames", &marks, SEEN)?;
    lab::say(format_args!("ServingCertNames: {said}"));
    talker::is_not_heard(&scenario.control_plane, "x509: certificate is valid for ")?;
    ensure!(scenario.wait_ready(SEEN)?["ready"] == true, "it holds Ready back");
    scenario.start_approver()?;
    scenario.wait_satisfied("servingCert", HEALED)?;
    talker::is_heard(&scenario.control_plane, HEALED)
}

/// Nobody asks for another one here: the operator has to.
fn a_supplied_one_lacks_the_address(scenario: &Scenario) -> Result<()> {
    let put = |address: Ipv4Addr| -> Result<()> {
        let pair = scenario.control_plane.certificate_of_node(NODE, IpAddr::V4(address), 300)?;
        for (from, to) in [(pair.certificate, "kubelet.pem"), (pair.key, "kubelet-key.pem")] {
            scenario.node.put(&format!("/etc/kubernetes/ssl/{to}"), std::fs::read(from)?, 0o600)?;
        }
        Ok(())
    };
    let address = second(scenario);
    put(Ipv4Addr::new(192, 0, 2, 1))?;
    scenario.node.put(
        DROP_IN,
        format!(
            "node: {{address: {address}}}\nidentity:\n  mode: certificate\n  certFile: /etc/kubernetes/ssl/kubelet.pem\n  \
             keyFile: /etc/kubernetes/ssl/kubelet-key.pem\n"
        ),
        0o600,
    )?;
    let marks = ["kubelet.pem", &address.to_string(), "have one issued"];
    let said = scenario.wait_trouble("CertificateNames", &marks, SEEN)?;
    lab::say(format_args!("CertificateNames: {said}"));
    scenario.wait_ready(HEALED)?;
    talker::is_not_heard(&scenario.control_plane, "x509: certificate is valid for 192.0.2.1, not ")?;
    put(address)?;
    scenario.wait_satisfied("servingCert", HEALED)?;
    talker::is_heard(&scenario.control_plane, HEALED)
}
