//! What a run leaves on the host while it lives, and must not leave after.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{Run, cgroup};

/// Where to look for a run's traces, also after the run is gone.
#[derive(Debug)]
pub struct Footprint {
    directory: PathBuf,
    bridge: PathBuf,
    cgroup_prefix: String,
}

/// What was found of one kind.
#[derive(Debug)]
pub struct Trace {
    /// What it is, in the plural.
    pub kind: &'static str,
    /// Each by its name.
    pub found: Vec<String>,
}

impl Footprint {
    /// Where a run leaves traces.
    pub fn of(run: &Run) -> Self {
        Self {
            directory: run.directory().to_owned(),
            bridge: Path::new("/sys/class/net").join(run.bridge()),
            cgroup_prefix: run.cgroup_name(""),
        }
    }

    /// Looks for every kind of trace.
    pub fn traces(&self) -> Result<Vec<Trace>> {
        let cgroups = cgroup::matching(&self.cgroup_prefix)?;
        let existing = |path: &Path| path.exists().then(|| path.display().to_string()).into_iter().collect();
        Ok(vec![
            Trace { kind: "processes", found: self.processes_that_mention_us("cmdline")? },
            Trace { kind: "mounts", found: self.processes_that_mention_us("mountinfo")? },
            Trace { kind: "bridge", found: existing(&self.bridge) },
            Trace { kind: "cgroups", found: cgroups.iter().map(|path| path.display().to_string()).collect() },
            Trace { kind: "directory", found: existing(&self.directory) },
        ])
    }

    /// The processes whose `/proc/PID/<file>` names the run's directory.
    fn processes_that_mention_us(&self, file: &str) -> Result<Vec<String>> {
        let needle = self.directory.display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let is_process = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
            // Processes end while we look.
            let Ok(content) = fs::read(path.join(file)) else { continue };
            if is_process && String::from_utf8_lossy(&content).contains(&needle) {
                let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
                let pid = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.push(format!("{}[{pid}]", name.trim()));
            }
        }
        Ok(found)
    }
}
