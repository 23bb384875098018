//! What the approver asked the API server for, by the audit log: no more than it was given the right to.

use std::{collections::BTreeMap, fs};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{stage::Stage, verdict::Line};

const CLASS: &str = "least privilege";

const USER: &str = "system:serviceaccount:kn-agent:kn-agent-approver";

/// Verb and resource, with its subresource.
const ALLOWED: &[(&str, &str)] = &[
    ("get", "certificatesigningrequests"),
    ("list", "certificatesigningrequests"),
    ("watch", "certificatesigningrequests"),
    ("update", "certificatesigningrequests/approval"),
    ("get", "nodes"),
    ("list", "nodes"),
    ("watch", "nodes"),
    ("get", "leases"),
    ("list", "leases"),
    ("create", "leases"),
    ("delete", "leases"),
    ("create", "events"),
    ("patch", "events"),
    ("get", "services"),
    ("list", "services"),
    ("watch", "services"),
    ("get", "endpoints"),
    ("list", "endpoints"),
    ("watch", "endpoints"),
    ("get", "/version"),
];

pub(super) fn run(stage: &Stage<'_>) -> Result<Vec<Line>> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for text in fs::read_to_string(stage.control_plane.audit_log())?.lines() {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(text) else { continue };
        if event["user"]["username"] != USER {
            continue;
        }
        let call = call(&event);
        if matches!(event["responseStatus"]["code"].as_u64(), Some(401 | 403)) {
            *refused.entry(call.clone()).or_insert(0_u64) += 1;
        }
        *counts.entry(call).or_default() += 1;
    }
    ensure!(!counts.is_empty(), "the audit log shows no request of {USER}: the search is wrong");
    let more: Vec<String> = counts
        .keys()
        .filter(|(verb, what)| !ALLOWED.contains(&(verb.as_str(), what.as_str())))
        .map(|(verb, what)| format!("{verb} {what}"))
        .collect();
    let total: u64 = counts.values().sum();
    let kinds: Vec<String> =
        counts.iter().map(|((verb, what), count)| format!("{verb} {what} {count}")).collect();
    let line = |what: &str, expected: &str, observed: String, ok| Line {
        class: CLASS,
        what: what.to_owned(),
        by: "the approver".to_owned(),
        expected: expected.to_owned(),
        observed,
        ok,
    };
    Ok(vec![
        line(
            "what it asked for",
            "nothing beyond its rights",
            if more.is_empty() { format!("{total} requests: {}", kinds.join(", ")) } else { more.join(", ") },
            more.is_empty(),
        ),
        line(
            "what it was refused",
            "0 requests",
            if refused.is_empty() { "0 requests".to_owned() } else { format!("{refused:?}") },
            refused.is_empty(),
        ),
    ])
}

fn call(event: &Value) -> (String, String) {
    let reference = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut what = text(&reference["resource"]);
    if what.is_empty() {
        what = text(&event["requestURI"]);
    }
    if let Some(sub) = reference["subresource"].as_str() {
        what = format!("{what}/{sub}");
    }
    (text(&event["verb"]), what)
}
