//! The Node object: registered, and Ready.

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};

use super::{Step, Verdict, View};
use crate::desired::node::taints;
use crate::desired::{FileSpec, address, paths};
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

/// Conditions by which the kubelet and the network say that no more pods should come; the controller-manager taints the
/// Node for them.
const PRESSURE: [&str; 4] = ["DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable"];

fn node(view: View<'_>) -> Result<Option<&Node>, Verdict> {
    match &view.observed.watched.node {
        None | Some(Ok(Seen::NotYet)) => {
            Err(Verdict::unmet(Reason::Unobservable, "asking the API server for the Node"))
        }
        Some(Ok(Seen::Absent)) => Ok(None),
        Some(Ok(Seen::Present(node))) => Ok(Some(node)),
        Some(Err(failure)) => Err(Verdict::from_failure(&asked(view, failure), None)),
    }
}

/// A failure with whom was asked, where that may be the wrong one.
fn asked(view: View<'_>, failure: &Failure) -> Failure {
    match failure.reason {
        Reason::ApiUnreachable | Reason::ApiUntrusted => {
            let message = format!("{}; asked {}", failure.message, view.config.cluster.server);
            Failure::new(failure.reason, message)
        }
        _ => failure.clone(),
    }
}

/// The Node exists. One that was Ready before is not made again.
pub(super) fn registered(view: View<'_>) -> Verdict {
    let name = &view.config.node.name;
    match node(view) {
        Err(verdict) => verdict,
        Ok(Some(_)) => Verdict::Satisfied(format!("Node {name}")),
        Ok(None) if view.is_joined() => Verdict::unmet(
            Reason::NodeDeleted,
            format!("the Node `{name}` was Ready before and does not exist any more"),
        ),
        Ok(None) => match view.desired {
            Some(desired) => Verdict::Act(vec![Step::CreateNode(Box::new(desired.node.clone()))]),
            None => super::version_unknown(view),
        },
    }
}

/// The Node's Ready condition, and the note that it was Ready once.
pub(super) fn ready(view: View<'_>) -> Verdict {
    let node = match node(view) {
        Ok(Some(node)) => node,
        Ok(None) => return Verdict::unmet(Reason::NodeNotReady, "the Node does not exist"),
        Err(verdict) => return verdict,
    };
    let Some(condition) = ready_condition(node) else {
        return Verdict::unmet(Reason::NodeNotReady, "the kubelet has not reported yet");
    };
    if condition.status != "True" {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        return Verdict::unmet(
            Reason::NodeNotReady,
            format!("{}: {}", text(&condition.reason), text(&condition.message)),
        );
    }
    let uid = node.metadata.uid.clone().unwrap_or_default() + "\n";
    let kept = address::to_remember(view.config, &view.observed.facts);
    let remembered = uid + &kept.map_or_else(String::new, |address| format!("{address}\n"));
    match super::host::write(view, &FileSpec::new(paths::joined(), remembered, 0o600)) {
        Ok(Some(step)) => Verdict::Act(vec![step]),
        Ok(None) => Verdict::Satisfied(match keeps_pods_away(view, node) {
            told if told.is_empty() => "the Node is Ready".to_owned(),
            told => format!("the Node is Ready, but keeps pods away: {}", told.join("; ")),
        }),
        Err(verdict) => verdict,
    }
}

fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")
}

/// Whether the API server has it as Ready.
pub(super) fn is_ready(view: View<'_>) -> bool {
    let condition = node(view).ok().flatten().and_then(ready_condition);
    condition.is_some_and(|condition| condition.status == "True")
}

/// What keeps pods away from a Node that is Ready, but for the taints of the configuration: those are meant.
fn keeps_pods_away(view: View<'_>, node: &Node) -> Vec<String> {
    let spec = node.spec.as_ref();
    let cordoned = spec.is_some_and(|spec| spec.unschedulable == Some(true));
    let own = taints(view.config);
    let meant = |taint: &Taint| own.iter().any(|own| own.key == taint.key && own.effect == taint.effect);
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let taints = taints
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !meant(taint))
        // The cordon says it already.
        .filter(|taint| !(cordoned && taint.key == "node.kubernetes.io/unschedulable"))
        .map(|taint| format!("taint {}:{}", taint.key, taint.effect));
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let conditions = conditions
        .filter(|condition| PRESSURE.contains(&condition.type_.as_str()) && condition.status == "True")
        .map(|condition| {
            format!("{}: {}", condition.type_, condition.message.as_deref().unwrap_or("no message"))
        });
    let cordon = cordoned.then(|| "cordoned (kubectl uncordon ends it)".to_owned());
    cordon.into_iter().chain(taints).chain(conditions).collect()
}
