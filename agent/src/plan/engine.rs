//! docker itself: the container engine that the CRI stands on.

use super::{Verdict, View, again, bring_up, files, newest_write};
use crate::desired::{DaemonJson, paths, runtime, units};
use crate::reason::Reason;

/// docker runs with the configuration it needs, and answers.
///
/// It is the slowest start of a join and needs nothing of the rest: it begins while the kubelet is still asked for its
/// version. Its configuration, though, is not touched on a machine that turns out to be none that can join.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let facts = &view.observed.facts;
    if let DaemonJson::Broken(why) = &facts.daemon_json {
        return Verdict::blocked(Reason::FileTrouble, why.clone());
    }
    if let Some(spec) = runtime::daemon_json(view.config, facts) {
        if view.desired.is_none() {
            return super::version_unknown(view);
        }
        match files::write(view, &spec) {
            Ok(Some(step)) => return Verdict::Act(vec![step]),
            Ok(None) => {}
            Err(verdict) => return verdict,
        }
    }
    // docker is restarted for its configuration only while nothing of Kubernetes runs here: later that would hit pods.
    let written = if view.may_have_pods() { 0 } else { newest_write(view, [paths::daemon_json()]) };
    if let Some(verdict) = bring_up(view, units::DOCKER, written) {
        return verdict;
    }
    match &view.observed.docker.answers {
        Ok(()) => Verdict::Satisfied("docker answers".to_owned()),
        Err(failure) => Verdict::Waiting {
            reason: failure.reason,
            message: failure.message.clone(),
            until: Some(again(view, units::DOCKER)),
        },
    }
}
