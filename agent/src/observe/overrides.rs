//! Drop-ins of others that give a unit of ours another command line than we wrote.

use std::path::{Path, PathBuf};

use crate::ports::root::Root;

/// Where systemd looks for the drop-ins of a unit (systemd.unit(5)).
const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// The drop-ins of `unit` that set its `ExecStart=`. One that can't be read counts for none: systemd can't read it either.
pub(super) fn of(root: &Root, unit: &str) -> Vec<PathBuf> {
    let directories = DIRECTORIES.iter().map(|directory| Path::new(directory).join(format!("{unit}.d")));
    let files = directories.flat_map(|directory| {
        let names = root.list(&directory).unwrap_or_default();
        names.into_iter().map(move |name| directory.join(name))
    });
    let is_conf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "conf");
    files.filter(is_conf).filter(|path| sets_command(root, path)).collect()
}

fn sets_command(root: &Root, path: &Path) -> bool {
    let Ok(Some(file)) = root.read_following(path) else { return false };
    let text = String::from_utf8_lossy(&file.content);
    text.lines().filter_map(|line| line.split_once('=')).any(|(key, _)| key.trim() == "ExecStart")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_that_set_the_command_are_found_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let put = |path: &str, text: &str| root.write(Path::new(path), text.as_bytes(), 0o644).unwrap();
        let ours = "/etc/systemd/system/kubelet.service.d";
        assert_eq!(of(&root, "kubelet.service"), Vec::<PathBuf>::new());
        put(&format!("{ours}/limits.conf"), "[Service]\nLimitNOFILE=1\n# ExecStart=/x\nExecStartPre=/x\n");
        put(&format!("{ours}/command.conf.bak"), "[Service]\nExecStart=/x\n");
        put("/etc/systemd/system/kube-proxy.service.d/command.conf", "[Service]\nExecStart=/x\n");
        assert_eq!(of(&root, "kubelet.service"), Vec::<PathBuf>::new());
        put(&format!("{ours}/command.conf"), "[Service]\n ExecStart =\n");
        put("/run/systemd/system/kubelet.service.d/10.conf", "[Service]\nExecStart=/x\n");
        let found = of(&root, "kubelet.service");
        assert_eq!(
            found,
            [format!("{ours}/command.conf").as_str(), "/run/systemd/system/kubelet.service.d/10.conf"]
                .map(PathBuf::from)
        );
    }
}
