//! docker's `daemon.json` and cri-dockerd's unit.

use serde_json::{Map, Value, json};

use super::{DaemonJson, Facts, FileSpec, cni_bin_dir, kubelet, paths, units};
use crate::config::Config;

const DRIVER_OPTION: &str = "native.cgroupdriver=";

/// The cgroup driver both sides use: the one in docker's own configuration, else docker's default on this host:
/// `systemd` on cgroup v2, `cgroupfs` on v1 (moby, daemon/runtime_unix.go).
pub fn cgroup_driver(config: &Config, facts: &Facts) -> String {
    let theirs = match &facts.daemon_json {
        DaemonJson::Keys(keys) => driver_in(keys),
        DaemonJson::Broken(_) => None,
    };
    driver_in(&config.runtime.daemon_json)
        .or(theirs)
        .unwrap_or_else(|| if facts.cgroup_v2 { "systemd" } else { "cgroupfs" }.to_owned())
}

fn driver_in(keys: &Map<String, Value>) -> Option<String> {
    let options = keys.get("exec-opts")?.as_array()?;
    options.iter().find_map(|o| o.as_str()?.strip_prefix(DRIVER_OPTION).map(str::to_owned))
}

/// `daemon.json` with the operator's keys kept; `None` where it needs no change or does not parse (a check tells).
pub fn daemon_json(config: &Config, facts: &Facts, driver: &str) -> Option<FileSpec> {
    let DaemonJson::Keys(found) = &facts.daemon_json else { return None };
    let mut merged = Value::Object(found.clone());
    kubelet::merge(&mut merged, &config.runtime.daemon_json);
    let mut options: Vec<Value> =
        merged.get("exec-opts").and_then(Value::as_array).cloned().unwrap_or_default();
    if !options.iter().any(|o| o.as_str().is_some_and(|o| o.starts_with(DRIVER_OPTION))) {
        options.push(json!(format!("{DRIVER_OPTION}{driver}")));
        merged["exec-opts"] = Value::Array(options);
    }
    if merged == Value::Object(found.clone()) {
        return None;
    }
    let text = serde_json::to_string_pretty(&merged).unwrap_or_default() + "\n";
    Some(FileSpec::new(paths::daemon_json(), text, 0o644))
}

/// `cri-docker.service`: ours, since cri-dockerd's own package expects a socket unit and flags of its own. `None`
/// while the program is not found.
pub fn cri_dockerd_unit(config: &Config, facts: &Facts) -> Option<FileSpec> {
    let program = facts.cri_dockerd.as_ref()?;
    let flags = [
        ("container-runtime-endpoint".to_owned(), format!("unix://{}", paths::cri_socket().display())),
        ("network-plugin".to_owned(), "cni".to_owned()),
        ("cni-conf-dir".to_owned(), config.network.conf_dir.display().to_string()),
        ("cni-bin-dir".to_owned(), cni_bin_dir(config, facts).display().to_string()),
        ("pod-infra-container-image".to_owned(), config.runtime.sandbox_image.clone()),
    ];
    let text = format!(
        "# Written by kn-agent; changes are put back. Settings belong into /etc/kn-agent/config.yaml.\n\
         [Unit]\n\
         Description=CRI interface of docker\n\
         Documentation=https://mirantis.github.io/cri-dockerd/\n\
         Wants={docker}\n\
         After={docker}\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         {exec}\
         Restart=always\n\
         RestartSec=2\n\
         LimitNOFILE=1048576\n\
         LimitNPROC=infinity\n\
         Delegate=yes\n\
         KillMode=process\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        docker = units::DOCKER,
        exec = units::exec_start(&program.display().to_string(), &flags),
    );
    Some(FileSpec::new(&paths::units().join(units::CRI_DOCKERD), text, 0o644))
}
