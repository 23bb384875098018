//! A control plane and a node that stay up, for a person to work on.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::Result;

use crate::{Artefacts, ControlPlane, Node, config_fragment, interrupt, kubectl::Kubectl, say};

/// What to bring up.
#[derive(Debug)]
pub struct Options<'a> {
    /// The run's name.
    pub name: &'a str,
    /// The nodes' names.
    pub nodes: &'a [String],
}

/// Brings it up and returns when interrupted.
pub fn up(artefacts: &Artefacts, options: &Options<'_>) -> Result<()> {
    let Options { name, nodes } = options;
    let control_plane = ControlPlane::start(name, artefacts)?;
    say(format_args!("control plane: {} at {}", artefacts.kubernetes().version()?, control_plane.server()));
    let mut booted = Vec::new();
    for name in *nodes {
        let start = std::time::Instant::now();
        let node = Node::boot(control_plane.run(), artefacts, name)?;
        say(format_args!("{name}: booted at {} in {:.1} s", node.address(), start.elapsed().as_secs_f64()));
        booted.push(node);
    }
    publish(&control_plane, &booted)?;
    hold();
    Ok(())
}

/// Writes what another terminal needs, and says how to use it.
pub(crate) fn publish(control_plane: &ControlPlane, nodes: &[Node]) -> Result<()> {
    let directory = control_plane.run().directory();
    fs::write(directory.join("50-lab.yaml"), config_fragment(control_plane.minor())?)?;
    let environment = environment(control_plane, nodes)?;
    fs::write(directory.join("env"), &environment)?;
    explain(&directory.join("env"), &environment);
    Ok(())
}

/// Returns when interrupted.
pub(crate) fn hold() {
    while !interrupt::interrupted() {
        // Signals end the sleep of no thread but their own; this one only has to notice within a blink.
        std::thread::sleep(Duration::from_millis(100));
    }
    say("stopping");
}

/// `KEY='value'` lines that a shell can source.
fn environment(control_plane: &ControlPlane, nodes: &[Node]) -> Result<String> {
    let mut text = String::new();
    let kubectl: Kubectl = control_plane.kubectl()?;
    let mut line = |key: &str, value: &dyn std::fmt::Display| writeln!(text, "{key}='{value}'");
    line("KUBECONFIG", &control_plane.admin_kubeconfig().display())?;
    line("KUBECTL", &kubectl.program().display())?;
    line("SERVER", &control_plane.server())?;
    line("CA", &control_plane.ca().display())?;
    line("AUDIT_LOG", &control_plane.audit_log().display())?;
    line("CONFIG_FRAGMENT", &control_plane.run().directory().join("50-lab.yaml").display())?;
    for (index, node) in nodes.iter().enumerate() {
        let suffix = if index == 0 { String::new() } else { format!("_{}", index + 1) };
        line(&format!("NODE{suffix}"), &node.enter_command()?.join(" "))?;
        line(&format!("NODE_NAME{suffix}"), &node.name())?;
        line(&format!("NODE_ADDRESS{suffix}"), &node.address())?;
        line(&format!("NODE_WRITTEN{suffix}"), &node.written().display())?;
    }
    Ok(text)
}

fn explain(file: &Path, environment: &str) {
    say(format_args!("\n{environment}\nin another terminal:"));
    say(format_args!("  set -a; . {}; set +a", file.display()));
    say("  $KUBECTL get nodes                                   # the administrator's kubectl");
    say("  $NODE journalctl -f                                  # any command in the node");
    say("  cat agent.deb | $NODE sh -c 'cat > /root/agent.deb'  # a file into the node");
    say("Ctrl-C here removes everything.");
}
