//! What a join need not wait for.

use super::{Step, Verdict, View, files, unit};
use crate::desired::units;

/// docker's drop-in is there, and systemd knows it.
///
/// It needs a reload, during which PID 1 answers nobody for a tenth of a second: it is made when the node is Ready, and
/// counts from docker's next start on.
pub(super) fn verdict(view: View<'_>) -> Verdict {
    let Some(desired) = view.desired else { return super::version_unknown(view) };
    match files::write(view, &desired.docker_drop_in) {
        Ok(Some(step)) => return Verdict::Act(vec![step]),
        Ok(None) => {}
        Err(verdict) => return verdict,
    }
    match unit(view, units::DOCKER) {
        Err(verdict) => verdict,
        Ok(state) if state.needs_reload => Verdict::Act(vec![Step::ReloadSystemd]),
        Ok(_) => Verdict::Satisfied("docker's drop-in".to_owned()),
    }
}
