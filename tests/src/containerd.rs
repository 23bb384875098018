//! A containerd of the lab's own build on a node, as one installs a release of it beside the distribution's.

use anyhow::Result;

use crate::{Engine, Node, quirks};

/// As containerd's own releases have it.
const UNIT: &str = "[Unit]
After=network.target dbus.service
[Service]
Type=notify
ExecStart=/usr/local/bin/containerd
Delegate=yes
KillMode=process
[Install]
WantedBy=multi-user.target
";

/// Has the node run its own build where `engine` is one: 1.7 with the configuration that is there, 2 with its default.
pub fn use_ours(node: &Node, engine: Engine) -> Result<()> {
    if matches!(engine, Engine::Docker | Engine::Containerd) {
        return Ok(());
    }
    node.put("/etc/systemd/system/containerd.service", UNIT, 0o644)?;
    node.exec(&["systemctl", "daemon-reload"])?;
    if engine == Engine::Containerd2 {
        node.sh(
            "mkdir -p /etc/containerd/conf.d; containerd config default > /etc/containerd/config.toml",
            &[],
        )?;
        node.put("/etc/containerd/conf.d/10-lab.toml", quirks::containerd_2_drop_in()?, 0o644)?;
    }
    Ok(())
}
