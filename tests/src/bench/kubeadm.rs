//! `kubeadm join` on the same machine: its own control-plane objects, its own kubelet unit, the same runtime.
//!
//! It is spared what it does not do itself: kube-proxy (a DaemonSet there) is not waited for, the network's configuration
//! lies there before, and the CA is not verified.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::arms::Bench;
use crate::{ControlPlane, PAUSE_IMAGE, floor, process::run, quirks};

const TOKEN: &str = "abcdef.0123456789abcdef";

const CONFIG: &str = "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- {token: @TOKEN@, groups: ['system:bootstrappers:kubeadm:default-node-token'], usages: [signing, authentication]}
nodeRegistration: {name: control-plane, criSocket: 'unix:///run/cri-dockerd.sock'}
localAPIEndpoint: {advertiseAddress: @HOST@, bindPort: @PORT@}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: @VERSION@
controlPlaneEndpoint: @HOST@:@PORT@
networking: {podSubnet: @POD_CIDR@, serviceSubnet: @SERVICE_CIDR@}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failSwapOn: false
resolvConf: ''
@QUIRKS@
";

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
        let (host, port) = address.rsplit_once(':').context("a server without a port")?;
        let version = plane.kubernetes().version()?;
        let config = CONFIG
            .replace("@TOKEN@", TOKEN)
            .replace("@HOST@", host)
            .replace("@PORT@", port)
            .replace("@VERSION@", version.trim_start_matches("Kubernetes "))
            .replace("@POD_CIDR@", ControlPlane::POD_CIDR)
            .replace("@SERVICE_CIDR@", ControlPlane::SERVICE_CIDR)
            .replace("@QUIRKS@", &quirks::kubelet_config(plane.minor()).join("\n"));
        let path = plane.run().directory().join("kubeadm.yaml");
        fs::write(&path, config)?;
        for phase in ["upload-config kubeadm", "upload-config kubelet", "bootstrap-token"] {
            let mut command = Command::new(plane.kubernetes().program("kubeadm")?);
            command.args(["init", "phase"]).args(phase.split(' '));
            command.arg("--config").arg(&path).arg("--kubeconfig").arg(plane.admin_kubeconfig());
            run(&mut command)?;
        }
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
        joined.with_context(|| node.exec(&["cat", "/run/kubeadm.log"]).unwrap_or_default())
    }
}
