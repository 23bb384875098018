//! What the API server's audit log says of a node's requests: who was let in, with which certificate, and who was not.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader},
};

use anyhow::{Context as _, Result};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::stage::Stage;

/// How a certificate is called in the log, from 1.32 on.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
const BY_CERTIFICATE: &str = "X509SHA256=";

/// Who approves what here.
const APPROVER: &str = "system:serviceaccount:kn-agent:kn-agent-approver";

/// A request that was answered 401.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) agent: String,
    pub(super) what: String,
}

/// When a certificate was used by a user.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) user: String,
    pub(super) fingerprint: String,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// The log, from the node's point of view.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Requests of each user from the node's address.
    pub(super) requests: BTreeMap<String, u64>,
    pub(super) refused: Vec<Refused>,
    pub(super) used: Vec<Used>,
    /// Approvals by the approver, and by whom else.
    pub(super) approved: usize,
    pub(super) approved_by_others: Vec<String>,
}

/// Reads it.
pub(super) fn read(stage: &Stage) -> Result<Audit> {
    let (mut audit, mut certificates) = (Audit::default(), BTreeMap::new());
    let node = stage.node.address().to_string();
    for line in BufReader::new(File::open(stage.control_plane.audit_log())?).lines() {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(&line?) else { continue };
        audit.approval(&event);
        if event["sourceIPs"][0] == node.as_str() {
            audit.request(&event, &mut certificates)?;
        }
    }
    audit.used = certificates
        .into_iter()
        .map(|((user, fingerprint), (first, last))| Used { user, fingerprint, first, last })
        .collect();
    Ok(audit)
}

impl Audit {
    fn approval(&mut self, event: &Value) {
        let of = &event["objectRef"];
        let user = text(&event["user"]["username"]);
        let is_approval = of["resource"] == "certificatesigningrequests" && of["subresource"] == "approval";
        if !is_approval
            || event["stage"] != "ResponseComplete"
            || event["responseStatus"]["code"] != 200
            || of["name"] == "lab-probe"
        {
            return;
        }
        if user == APPROVER {
            self.approved += 1;
        } else {
            self.approved_by_others.push(format!("{user}: {}", of["name"]));
        }
    }

    fn request(
        &mut self,
        event: &Value,
        certificates: &mut BTreeMap<(String, String), (Timestamp, Timestamp)>,
    ) -> Result<()> {
        let user = text(&event["user"]["username"]);
        // A watch is told of twice: when it begins, and when it ends.
        let is_end = event["stage"] == "ResponseComplete";
        *self.requests.entry(user.clone()).or_default() += u64::from(is_end);
        if event["responseStatus"]["code"] == 401 {
            let at = text(&event["requestReceivedTimestamp"]);
            let what = format!("{at} {} {}", text(&event["verb"]), text(&event["requestURI"]));
            self.refused.push(Refused { agent: text(&event["userAgent"]), what });
        }
        let credential = event["user"]["extra"][CREDENTIAL][0].as_str();
        if let Some(fingerprint) = credential.and_then(|id| id.strip_prefix(BY_CERTIFICATE)) {
            let at: Timestamp = event["requestReceivedTimestamp"].as_str().context("no time")?.parse()?;
            let (first, last) = certificates.entry((user, fingerprint.to_owned())).or_insert((at, at));
            (*first, *last) = (at.min(*first), at.max(*last));
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
