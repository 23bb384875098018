//! `kubeadm join` on the same machine: its own control-plane objects, its own kubelet unit, the same runtime.
//!
//! It is spared what it does not do itself: kube-proxy (a DaemonSet there) is not waited for, the network's configuration
//! lies there before, and the CA is not verified.

use anyhow::{Context as _, Result};

use super::arms::Bench;
use crate::{
    PAUSE_IMAGE, floor,
    kubeadm::{self, TOKEN},
};

/// As kubeadm's own package has it.
const KUBELET_UNIT: &str = "[Unit]
Wants=network-online.target
After=network-online.target
[Service]
Environment='KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf'
Environment=KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS
Restart=always
StartLimitInterval=0
RestartSec=10
[Install]
WantedBy=multi-user.target
";

/// The cluster's side is there.
#[derive(Debug)]
pub(super) struct Kubeadm {
    join: String,
}

impl Kubeadm {
    /// Makes what `kubeadm init` leaves in a cluster for those who join.
    pub(super) fn prepare(bench: &Bench<'_>) -> Result<Self> {
        let plane = bench.control_plane;
        let server = plane.server();
        let address = server.trim_start_matches("https://");
        kubeadm::init(plane, &["upload-config kubeadm", "upload-config kubelet", "bootstrap-token"])?;
        let join = format!(
            "systemctl start docker.service cri-docker.service && exec kubeadm join {address} --token {TOKEN} \
             --discovery-token-unsafe-skip-ca-verification --cri-socket unix:///run/cri-dockerd.sock \
             --node-name {} --ignore-preflight-errors all > /run/kubeadm.log 2>&1",
            bench.node.name()
        );
        Ok(Self { join })
    }

    /// Seconds from the start of docker to Ready.
    pub(super) fn join(&self, bench: &Bench<'_>) -> Result<f64> {
        let node = bench.node;
        node.put("/etc/systemd/system/kubelet.service", KUBELET_UNIT, 0o644)?;
        let shim = floor::CRI_DOCKERD_UNIT.replace("@PAUSE@", PAUSE_IMAGE);
        node.put("/etc/systemd/system/cri-docker.service", shim, 0o644)?;
        node.put("/etc/cni/net.d/10-default.conf", floor::CNI.replace("@SUBNET@", "10.244.200.0/24"), 0o644)?;
        // The programs are one file; its name says which of them it is.
        node.sh("ln -f /usr/local/bin/kubelet /usr/local/bin/kubeadm && systemctl daemon-reload", &[])?;
        let joined = bench.timed(&["docker.service"], &["sh", "-c", &self.join]);
        let joined = joined.with_context(|| node.exec(&["cat", "/run/kubeadm.log"]).unwrap_or_default())?;
        Ok(joined.seconds)
    }
}
