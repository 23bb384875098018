//! docker's `daemon.json` and cri-dockerd's unit.

use serde_json::{Map, Value, json};

use super::{DaemonJson, Facts, FileSpec, cni_bin_dir, fields, paths, units};
use crate::config::{Config, RuntimeKind};

const DRIVER_OPTION: &str = "native.cgroupdriver=";

/// The cgroup driver docker is to use: the one configured for docker, else the one configured for the kubelet, else
/// docker's default.
pub fn docker_cgroup_driver(config: &Config, facts: &Facts) -> String {
    let theirs = match &facts.daemon_json {
        DaemonJson::Keys(keys) => driver_in(keys),
        DaemonJson::Broken(_) => None,
    };
    driver_in(&config.runtime.daemon_json)
        .or(theirs)
        .or_else(|| kubelets_own(config))
        .unwrap_or_else(|| default_driver(facts).to_owned())
}

/// The cgroup driver the kubelet uses: the one configured for it, else that of the docker that runs, else the one docker
/// is to start with. What is written for docker's next start is none of the kubelet's before that. containerd starts
/// anew for its configuration: its own default, `cgroupfs` everywhere, is not asked for.
pub fn kubelet_cgroup_driver(config: &Config, facts: &Facts) -> String {
    let engines = || match config.runtime.kind {
        RuntimeKind::Docker => {
            facts.engine_cgroup_driver.clone().unwrap_or_else(|| docker_cgroup_driver(config, facts))
        }
        RuntimeKind::Containerd => facts.containerd.cgroup_driver.unwrap_or(default_driver(facts)).to_owned(),
    };
    kubelets_own(config).unwrap_or_else(engines)
}

fn kubelets_own(config: &Config) -> Option<String> {
    config.kubelet.config.get("cgroupDriver")?.as_str().map(str::to_owned)
}

/// docker's default on this host (moby, daemon/runtime_unix.go).
fn default_driver(facts: &Facts) -> &'static str {
    if facts.cgroup_v2 { "systemd" } else { "cgroupfs" }
}

fn driver_in(keys: &Map<String, Value>) -> Option<String> {
    let options = keys.get("exec-opts")?.as_array()?;
    options.iter().find_map(|o| o.as_str()?.strip_prefix(DRIVER_OPTION).map(str::to_owned))
}

/// `daemon.json` with the operator's keys kept; `None` where it needs no change.
///
/// docker's default driver is not written down: on a host that moves to cgroup v2 it would be the wrong one for ever.
///
/// # Errors
/// It does not parse.
pub fn daemon_json(config: &Config, facts: &Facts) -> Result<Option<FileSpec>, String> {
    let found = match &facts.daemon_json {
        DaemonJson::Keys(found) => found,
        DaemonJson::Broken(why) => return Err(why.clone()),
    };
    let mut merged = Value::Object(found.clone());
    fields::merge(&mut merged, &config.runtime.daemon_json);
    let mut options: Vec<Value> =
        merged.get("exec-opts").and_then(Value::as_array).cloned().unwrap_or_default();
    let driver = docker_cgroup_driver(config, facts);
    let is_said = options.iter().any(|o| o.as_str().is_some_and(|o| o.starts_with(DRIVER_OPTION)));
    if !is_said && driver != default_driver(facts) {
        options.push(json!(format!("{DRIVER_OPTION}{driver}")));
        merged["exec-opts"] = Value::Array(options);
    }
    if merged == Value::Object(found.clone()) {
        return Ok(None);
    }
    let text = serde_json::to_string_pretty(&merged).unwrap_or_default() + "\n";
    Ok(Some(FileSpec::new(paths::daemon_json(), text, 0o644)))
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
