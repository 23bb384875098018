//! Modules of the kernel's, as far as files tell of them.

use std::io::ErrorKind;
use std::path::Path;

use crate::desired::modes::Module;
use crate::ports::root::Root;

/// The release of the running kernel; empty where it does not say.
pub(super) fn release(root: &Root) -> String {
    let file = root.read_following(Path::new("/proc/sys/kernel/osrelease")).ok().flatten();
    let text = file.map(|file| String::from_utf8_lossy(&file.content).into_owned());
    text.unwrap_or_default().trim().to_owned()
}

/// Whether the module `name` lies on the disk for this release, or is told to be a part of it (depmod(8): `modules.dep`,
/// `modules.builtin`).
pub(super) fn on_disk(root: &Root, release: &str, name: &str) -> Module {
    let directory = Path::new("/lib/modules").join(release);
    let lists = ["modules.dep", "modules.builtin"].map(|list| root.read_following(&directory.join(list)));
    let mut found = lists.iter().filter_map(|list| list.as_ref().ok()?.as_ref());
    if found.any(|list| names(&String::from_utf8_lossy(&list.content), name)) {
        return Module::Loadable;
    }
    let hidden =
        std::fs::metadata(root.path(&directory)).is_err_and(|error| error.kind() != ErrorKind::NotFound);
    if hidden || lists.iter().any(Result::is_err) { Module::Unknown } else { Module::Absent }
}

/// What stands behind the colon is what a module needs.
fn names(list: &str, module: &str) -> bool {
    let file = format!("/{module}.ko");
    list.lines().filter_map(|line| line.split(':').next()).any(|path| path.contains(&file))
}
