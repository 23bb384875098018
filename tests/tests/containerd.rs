//! containerd as the runtime: to Ready, a pod behind a Service, and what is told where it is not well.
#![allow(clippy::disallowed_methods, reason = "tests are all about files, programs and time")]
#![allow(missing_docs, reason = "a test's name says what it shows")]

mod scenario;

use anyhow::{Result, ensure};
use lab::{Engine, Minor};
use scenario::{JOIN, NODE, Scenario};

const CONFIG: &str = "/etc/containerd/config.toml";

/// What the operator wrote, with docker's package's own line.
const OPERATORS: &str = "# ours, since 2019\ndisabled_plugins = [\"cri\"]\n";

/// Ready from outside too, on containerd, with a pod that answers.
fn joins(scenario: &Scenario, version: &str) -> Result<()> {
    scenario.configure(&scenario.fresh_config()?)?;
    let status = scenario.wait_ready(JOIN)?;
    lab::say(format_args!("{}", serde_json::to_string(&status["phases"])?));
    let kubectl = scenario.control_plane.kubectl()?;
    ensure!(kubectl.node_condition(NODE, "Ready")?.as_deref() == Some("True"));
    let runtime =
        kubectl.run(&["get", "node", NODE, "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}"])?;
    ensure!(runtime.starts_with(&format!("containerd://{version}")), "{runtime}");
    ensure!(scenario.unit("docker.service", "ActiveState")? == "inactive");
    scenario.node.exec(&["kn-agent", "status"]).map(lab::say)?;
    lab::prove_workload(&scenario.control_plane, &scenario.node)?;
    ensure!(scenario.node.exec(&["kn-agent", "plan"])?.starts_with("nothing to do"));
    Ok(())
}

#[test]
fn kubernetes_1_36_joins_with_containerd_and_a_configuration_of_the_operators() -> Result<()> {
    let scenario = Scenario::start_with("containerd", Minor::V1_36, Engine::Containerd)?;
    joins(&scenario, "1.7.")
}
