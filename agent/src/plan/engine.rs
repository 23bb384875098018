//! The container engine that the CRI stands on: docker, or containerd, which is both.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{Verdict, View, again, bring_up, host, newest_write};
use crate::config::RuntimeKind;
use crate::desired::{FileSpec, engine, units};
use crate::reason::Reason;

/// It runs with the configuration it needs, and answers.
///
/// docker's is the slowest start of a join and needs nothing of the rest: it begins while the kubelet is still asked for
/// its version. Its configuration, though, is not touched on a machine that turns out to be none that can join.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    if let Some(verdict) = configured(view) {
        return verdict;
    }
    let kind = view.config.runtime.kind;
    let name = engine::unit(kind);
    let inputs = units::inputs(name);
    // docker is restarted for its configuration only while nothing of Kubernetes runs here: later that would hit pods.
    let written = match kind {
        RuntimeKind::Docker if view.may_have_pods() => 0,
        RuntimeKind::Docker | RuntimeKind::Containerd => {
            newest_write(view, inputs.iter().map(PathBuf::as_path))
        }
    };
    if let Some(verdict) = bring_up(view, name, written) {
        return verdict;
    }
    match &view.observed.engine.answers {
        Ok(()) => Verdict::Satisfied(format!("{} answers", engine::name(kind))),
        Err(failure) => {
            let until = (!failure.reason.needs_operator()).then(|| again(view, name));
            Verdict::from_failure(failure, until)
        }
    }
}

/// What its configuration must be: known before the kubelet's version is, and read but once a pass where that is known.
pub(super) fn files_of(view: View<'_>) -> Cow<'_, Result<Vec<FileSpec>, String>> {
    match view.desired {
        Some(desired) => Cow::Borrowed(&desired.engine_files),
        None => Cow::Owned(engine::files(view.config, &view.observed.facts)),
    }
}

/// Its configuration is as it must be; `None` where it is.
fn configured(view: View<'_>) -> Option<Verdict> {
    let files = files_of(view);
    let files = match files.as_ref() {
        Ok(files) => files,
        Err(why) => return Some(Verdict::unmet(Reason::FileTrouble, why)),
    };
    if !files.is_empty() && view.desired.is_none() {
        return Some(super::version_unknown(view));
    }
    let mut steps = Vec::new();
    for spec in files {
        match host::write(view, spec) {
            Ok(step) => steps.extend(step),
            Err(verdict) => return Some(verdict),
        }
    }
    (!steps.is_empty()).then_some(Verdict::Act(steps))
}
