//! What was seen against what must hold.

use std::{collections::BTreeSet, fmt};

use anyhow::{Result, ensure};
use k8s_openapi::jiff::SignedDuration;

use super::{
    Course, Seen,
    audit::{self, Audit},
    certificate::Trail,
    controls,
    journal::{self, Log, Use},
    place::Place,
    stage::Stage,
};

/// The units that must not be started anew. kube-proxy may have to be: its starts are counted.
pub(super) const LASTING: [&str; 2] = ["kubelet", "kn-agent"];

/// Everything that a course left.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) stage: &'a Stage,
    pub(super) course: &'a Course,
    pub(super) seen: Seen,
    pub(super) kubelet: Log,
    pub(super) proxy: Log,
    /// Of the units that must last: before and after.
    pub(super) invocations: Vec<(String, String)>,
    /// Seconds that a Service took at the end.
    pub(super) late: f64,
    pub(super) seconds: f64,
}

/// One certificate's line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) renewals: usize,
    /// What was left when a certificate was replaced, in order, seconds.
    pub(super) left: Vec<f64>,
    /// The same when its user let go of it; the least.
    pub(super) let_go: f64,
    pub(super) looks: u64,
}

/// What a course came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) version: String,
    pub(super) what: &'static str,
    pub(super) seconds: f64,
    pub(super) rows: Vec<Row>,
    pub(super) requests: u64,
    /// Of these, answered 401.
    pub(super) refused: usize,
    pub(super) handshakes: u64,
    /// Of these, without a valid certificate or an answer.
    pub(super) in_vain: usize,
    pub(super) served: usize,
    pub(super) proxy_starts: usize,
    /// How often it went from one certificate to another.
    pub(super) proxy_changes: usize,
    pub(super) approved: usize,
    /// Certificates that the audit log names; none where the version does not.
    pub(super) named: usize,
    pub(super) late: f64,
    pub(super) problems: Vec<String>,
}

impl Outcome {
    /// Fails unless everything is as it must be.
    pub(super) fn judged(&self) -> Result<()> {
        let problems = self.problems.join("\n");
        ensure!(self.problems.is_empty(), "{}, {}: not as it must be:\n{problems}", self.version, self.what);
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}, {}: {:.0} s", self.version, self.what, self.seconds)?;
        for Row { place, renewals, left, let_go, looks } in &self.rows {
            let left: Vec<_> = left.iter().map(|seconds| format!("{seconds:.0}")).collect();
            writeln!(
                f,
                "  {place}: {renewals} renewals, {looks} looks; left when replaced, s: {}; when let go at least {let_go:.0}",
                left.join(" ")
            )?;
        }
        write!(
            f,
            "  {} requests of the node's, {} answered 401; {} handshakes, {} in vain, {} certificates served; \
             kube-proxy started {} times, took up another certificate {} times; {} approvals, {} certificates in the \
             audit log; the late Service after {:.1} s; {}",
            self.requests,
            self.refused,
            self.handshakes,
            self.in_vain,
            self.served,
            self.proxy_starts,
            self.proxy_changes,
            self.approved,
            self.named,
            self.late,
            if self.problems.is_empty() { "as it must be".to_owned() } else { self.problems.join("\n") },
        )
    }
}

/// Judges, and has the controls show that every search finds what it is for.
pub(super) fn judge(evidence: &Evidence<'_>) -> Result<Outcome> {
    let before = audit::read(evidence.stage)?;
    let answer = controls::ended_certificate(evidence.stage)?;
    let after = audit::read(evidence.stage)?;
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    for place in Place::ALL {
        let empty = Trail::default();
        let trail = evidence.seen.files.get(&place).unwrap_or(&empty);
        rows.push(row(evidence, place, trail, &mut problems));
    }
    served(evidence, &mut problems);
    let proxy_changes = processes(evidence, &mut problems);
    let_in(evidence, &before, &mut problems);
    let named = named(evidence, &before, &mut problems);
    let found = |audit: &Audit| audit.refused.iter().filter(|one| one.agent == controls::USER_AGENT).count();
    if answer != "401" || found(&before) != 0 || found(&after) != 1 {
        problems.push(format!("the control was answered {answer}, and found {} times", found(&after)));
    }
    Ok(Outcome {
        version: evidence.stage.control_plane.kubernetes().version()?,
        what: evidence.course.what,
        seconds: evidence.seconds,
        rows,
        requests: before.requests.values().sum(),
        refused: before.refused.len(),
        handshakes: evidence.seen.served.looks,
        in_vain: evidence.seen.served.gaps.len(),
        served: evidence.seen.served.issues.len(),
        proxy_starts: evidence.proxy.starts.len(),
        proxy_changes,
        approved: before.approved,
        named,
        late: evidence.late,
        problems,
    })
}

/// The file always holds a valid certificate, it is replaced before its end, and let go before its end.
fn row(evidence: &Evidence<'_>, place: Place, trail: &Trail, problems: &mut Vec<String>) -> Row {
    let left = trail.left();
    let let_go = match place {
        Place::KubeletClient => least(&evidence.kubelet.uses(trail, evidence.seen.end)),
        Place::ProxyClient => least(&evidence.proxy.uses(trail, evidence.seen.end)),
        // It is shown from memory, to each who connects.
        Place::KubeletServing => left.iter().copied().fold(f64::INFINITY, f64::min),
    };
    let needed = evidence.course.renewals(place);
    if trail.renewals() < needed {
        problems.push(format!("{place}: {} renewals, expected {needed}", trail.renewals()));
    }
    if let Some(gap) = trail.gaps.first() {
        let count = trail.gaps.len();
        problems.push(format!("{place}: {count} of {} looks found none that is valid: {gap}", trail.looks));
    }
    if left.iter().any(|left| *left <= 0.0) {
        problems.push(format!("{place}: replaced after its end: {left:?}"));
    }
    if let_go <= 0.0 {
        problems.push(format!("{place}: used for {:.0} s after its end", -let_go));
    }
    Row { place, renewals: trail.renewals(), left, let_go, looks: trail.looks }
}

fn least(uses: &[Use<'_>]) -> f64 {
    uses.iter().map(|one| one.left).fold(f64::INFINITY, f64::min)
}

/// Everybody who asked the kubelet was shown a valid certificate, and each new one was shown.
fn served(evidence: &Evidence<'_>, problems: &mut Vec<String>) {
    let served = &evidence.seen.served;
    if let Some(gap) = served.gaps.first() {
        problems.push(format!("{} of {} asked the kubelet in vain: {gap}", served.gaps.len(), served.looks));
    }
    let Some(files) = evidence.seen.files.get(&Place::KubeletServing) else { return };
    let shown: BTreeSet<&str> = served.issues.iter().map(|issue| issue.certificate.serial.as_str()).collect();
    let stored: BTreeSet<&str> = files.issues.iter().map(|issue| issue.certificate.serial.as_str()).collect();
    if let Some(other) = shown.difference(&stored).next() {
        problems.push(format!("the kubelet showed {other}, which its file never held"));
    }
    // One that is replaced at once need not be met.
    let until = files.issues.iter().skip(1).map(|issue| issue.seen).chain([evidence.seen.end]);
    for (issue, until) in files.issues.iter().zip(until) {
        let lasted = until.duration_since(issue.seen).as_secs_f64();
        if lasted > 3.0 && !shown.contains(issue.certificate.serial.as_str()) {
            problems.push(format!("the kubelet never showed {}", issue.certificate));
        }
    }
}

/// Nothing ended or was started anew, but kube-proxy where a life is too short. Returns how often that went from one
/// certificate to another.
fn processes(evidence: &Evidence<'_>, problems: &mut Vec<String>) -> usize {
    for (unit, (before, after)) in LASTING.iter().zip(&evidence.invocations) {
        if before != after {
            problems.push(format!("{unit} was started anew"));
        }
    }
    let Some(trail) = evidence.seen.files.get(&Place::ProxyClient) else { return 0 };
    let (renewals, starts) = (trail.renewals(), evidence.proxy.starts.len());
    // The last renewal may have come after the end, and its start with it.
    let expected = if evidence.course.rereads == 0 { renewals + 1..=renewals + 2 } else { 1..=1 };
    if !expected.contains(&starts) {
        problems.push(format!("kube-proxy was started {starts} times, expected {expected:?}"));
    }
    let changes = journal::changes(&evidence.proxy.uses(trail, evidence.seen.end));
    let needed = evidence.course.changes();
    if changes < needed {
        problems.push(format!("kube-proxy took up another certificate {changes} times, expected {needed}"));
    }
    changes
}

/// No request of the node's was answered 401, and there were some of everybody's.
fn let_in(evidence: &Evidence<'_>, audit: &Audit, problems: &mut Vec<String>) {
    if let Some(first) = audit.refused.first() {
        problems.push(format!(
            "{} requests were answered 401: {}: {}",
            audit.refused.len(),
            first.agent,
            first.what
        ));
    }
    for user in [format!("system:node:{}", evidence.stage.node.name()), "system:kube-proxy".to_owned()] {
        if audit.requests.get(&user).is_none_or(|count| *count < 10) {
            problems.push(format!("hardly a request of {user}: {:?}", audit.requests));
        }
    }
    let course = evidence.course;
    if audit.approved < 2 * course.kubelet + course.proxy || !audit.approved_by_others.is_empty() {
        let (count, others) = (audit.approved, &audit.approved_by_others);
        problems.push(format!("the approver approved {count} requests, and others {others:?}"));
    }
}

/// Where the audit log names certificates, each was known and valid at its last use. Returns how many.
fn named(evidence: &Evidence<'_>, audit: &Audit, problems: &mut Vec<String>) -> usize {
    let files = &evidence.seen.files;
    let known: Vec<_> = files.values().flat_map(|trail| &trail.issues).collect();
    // The kubelet closes its connections within 10 s of a renewal, and the last one may have been before the first look.
    let begin = known.iter().map(|issue| issue.seen).min().unwrap_or(evidence.seen.end)
        + SignedDuration::from_secs(15);
    let mut count = 0;
    for used in &audit.used {
        let found = known.iter().find(|issue| issue.certificate.fingerprint == used.fingerprint);
        count += usize::from(found.is_some());
        match found {
            // One of after the last look no file was seen to hold.
            None if used.last > begin && used.first < evidence.seen.end => {
                problems.push(format!("{} used a certificate that no file held: {used:?}", used.user));
            }
            Some(issue) if issue.certificate.left(used.last) <= 0.0 => {
                problems.push(format!("{} used a certificate after its end: {used:?}", used.user));
            }
            _ => {}
        }
    }
    count
}
