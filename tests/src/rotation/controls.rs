//! What shows that the searches find something: certificates of the same authority that have ended, where the real ones
//! are looked for. And that kube-proxy still hears of what is new.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::jiff::Timestamp;

use super::{certificate::Trail, stage::Stage, watch};
use crate::{
    process::{Daemon, output},
    wait_until,
};

/// How the control calls itself.
pub(super) const USER_AGENT: &str = "rotation-control";

const SOON: Duration = Duration::from_secs(30);

/// Where the control serves on the host.
const PORT: u16 = 10350;

/// A Service of an address that answers.
const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: late}
spec: {ports: [{port: 443}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: late}
subsets: [{addresses: [{ip: @ADDRESS@}], ports: [{port: @PORT@}]}]
";

/// Shows that a certificate that has ended is noticed in a file, on a port and by the API server; the latter's answer.
pub(super) fn ended_certificate(stage: &Stage) -> Result<String> {
    let (node, plane) = (&stage.node, &stage.control_plane);
    let host = plane.run().host_address();
    let ended = plane.certificate_of_node(node.name(), host.into(), -1)?;
    let mut trail = Trail::default();
    trail.look(Timestamp::now(), std::fs::read_to_string(&ended.certificate).map_err(Into::into));
    ensure!(trail.gaps.len() == 1, "a certificate that has ended is no gap: {trail:?}");

    let mut server = std::process::Command::new("openssl");
    server.args(["s_server", "-quiet", "-www", "-accept", &format!("{host}:{PORT}")]);
    server.arg("-cert").arg(&ended.certificate).arg("-key").arg(&ended.key);
    let log = plane.run().subdirectory("log")?.join("control.log");
    let _server = Daemon::start("openssl s_server", &server, &log, Duration::ZERO)?;
    let told = wait_until("the control's refusal", SOON, || {
        let shown = watch::shown(&format!("{host}:{PORT}"), &plane.ca(), &stage.prober);
        let why = shown.err().context("a server whose certificate has ended is trusted")?.to_string();
        Ok(Some(why).filter(|why| why.contains("expired")))
    });
    told?;

    for (file, path) in [(&ended.certificate, "/root/ended.crt"), (&ended.key, "/root/ended.key")] {
        node.put(path, std::fs::read(file)?, 0o600)?;
    }
    node.put("/root/ca.crt", std::fs::read(plane.ca())?, 0o644)?;
    let uri = format!("{}/api/v1/nodes/{}", plane.server(), node.name());
    let curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--user-agent"];
    let with = ["--cacert", "/root/ca.crt", "--cert", "/root/ended.crt", "--key", "/root/ended.key", &uri];
    node.exec(&[&curl[..], &[USER_AGENT], &with].concat())
}

/// Seconds from a new Service to an answer through it on the node: kube-proxy hears of it, and writes its rule.
pub(super) fn late_service(stage: &Stage) -> Result<f64> {
    let (node, plane) = (&stage.node, &stage.control_plane);
    let kubectl = plane.kubectl()?;
    let start = Instant::now();
    let manifest = SERVICE
        .replace("@ADDRESS@", &plane.run().host_address().to_string())
        .replace("@PORT@", &plane.port().to_string());
    kubectl.apply(&manifest)?;
    let address = kubectl.run(&["get", "service", "late", "-o", "jsonpath={.spec.clusterIP}"])?;
    let url = format!("https://{address}/readyz");
    wait_until("an answer through the new Service", SOON, || {
        let curl =
            output(&mut node.command(&["curl", "--silent", "--insecure", "--max-time", "1", &url])?)?;
        Ok((curl.stdout == b"ok").then_some(()))
    })?;
    let rules = node.exec(&["iptables-save", "--table", "nat"])?;
    ensure!(rules.contains("default/late"), "no rule of the Service's:\n{rules}");
    Ok(start.elapsed().as_secs_f64())
}
