//! The Node object: registered, and Ready.

use k8s_openapi::api::core::v1::Node;

use super::{Step, Verdict, View};
use crate::desired::{FileSpec, paths};
use crate::ports::cluster::Seen;
use crate::reason::Reason;

fn node(view: View<'_>) -> Result<Option<&Node>, Verdict> {
    match &view.observed.watched.node {
        None | Some(Ok(Seen::NotYet)) => {
            Err(Verdict::waiting(Reason::Unobservable, "asking the API server for the Node"))
        }
        Some(Ok(Seen::Absent)) => Ok(None),
        Some(Ok(Seen::Present(node))) => Ok(Some(node)),
        Some(Err(failure)) => Err(Verdict::from_failure(failure, None)),
    }
}

/// The Node exists. One that was Ready before is not made again.
pub(super) fn registered(view: View<'_>) -> Verdict {
    let name = &view.config.node.name;
    match node(view) {
        Err(verdict) => verdict,
        Ok(Some(_)) => Verdict::Satisfied(format!("Node {name}")),
        Ok(None) if view.is_joined() => Verdict::blocked(
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
        Ok(None) => return Verdict::waiting(Reason::NodeNotReady, "the Node does not exist"),
        Err(verdict) => return verdict,
    };
    let condition =
        node.status.as_ref().and_then(|s| s.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready"));
    let Some(condition) = condition else {
        return Verdict::waiting(Reason::NodeNotReady, "the kubelet has not reported yet");
    };
    if condition.status != "True" {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        return Verdict::waiting(
            Reason::NodeNotReady,
            format!("{}: {}", text(&condition.reason), text(&condition.message)),
        );
    }
    let uid = node.metadata.uid.clone().unwrap_or_default() + "\n";
    match super::files::write(view, &FileSpec::new(paths::joined(), uid, 0o600)) {
        Ok(Some(step)) => Verdict::Act(vec![step]),
        Ok(None) => Verdict::Satisfied("the Node is Ready".to_owned()),
        Err(verdict) => verdict,
    }
}
