//! Images that lie on the node as files.

use std::path::Path;

use super::{Verdict, View, bring_up, newest_write};
use crate::desired::{images, paths, units};
use crate::reason::Reason;

/// They are loaded before anything asks for one; `None` where they are, or there are none. On a node only where the
/// sandbox image is lost: what the kubelet has tidied away since is not brought back at each boot.
pub(super) fn loaded(view: View<'_>) -> Option<Verdict> {
    let unit = paths::units().join(units::IMAGES);
    let is_wanted = view.desired?.host_files.iter().any(|file| file.path == unit);
    if !is_wanted || (view.is_joined() && view.observed.engine.has_sandbox_image) {
        return None;
    }
    let tars = view.observed.facts.image_tars.iter().map(|(_, written)| *written);
    let written = tars.max().unwrap_or(0).max(newest_write(view, [unit.as_path()]));
    bring_up(view, units::IMAGES, written)
}

/// There are some, and a program that loads them.
pub(super) fn check(view: View<'_>, directory: &Path) -> Result<String, (Reason, String)> {
    let facts = &view.observed.facts;
    let program = images::loader(view.config.runtime.kind);
    match (&facts.image_loader, facts.image_tars.len()) {
        (None, _) => Err((Reason::BinaryMissing, super::programs::missing(view, program, None))),
        (_, 0) => Err((
            Reason::FileTrouble,
            format!("`{}` holds no file that ends in `.tar` (runtime.images)", directory.display()),
        )),
        (Some(_), found) => Ok(format!("{found} in `{}`", directory.display())),
    }
}
