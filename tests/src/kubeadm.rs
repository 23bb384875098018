//! What `kubeadm init` leaves in a cluster for those who join.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{ControlPlane, Minor, process::run, quirks};

/// The token it makes: for signing and authentication.
pub const TOKEN: &str = "abcdef.0123456789abcdef";

const CONFIG: &str = "apiVersion: kubeadm.k8s.io/@API@
kind: InitConfiguration
bootstrapTokens:
- {token: @TOKEN@, groups: ['system:bootstrappers:kubeadm:default-node-token'], usages: [signing, authentication]}
nodeRegistration: {name: control-plane, criSocket: '@SOCKET@'}
localAPIEndpoint: {advertiseAddress: @HOST@, bindPort: @PORT@}
---
apiVersion: kubeadm.k8s.io/@API@
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

/// Runs these of its phases, as the administrator.
pub fn init(plane: &ControlPlane, phases: &[&str]) -> Result<()> {
    let server = plane.server();
    let address = server.trim_start_matches("https://");
    let (host, port) = address.rsplit_once(':').context("a server without a port")?;
    let version = plane.kubernetes().version()?;
    let (api, socket) = match plane.minor() {
        Minor::V1_20 => ("v1beta2", "/var/run/dockershim.sock"),
        Minor::V1_36 => ("v1beta4", "unix:///run/cri-dockerd.sock"),
    };
    let config = CONFIG
        .replace("@API@", api)
        .replace("@SOCKET@", socket)
        .replace("@TOKEN@", TOKEN)
        .replace("@HOST@", host)
        .replace("@PORT@", port)
        .replace("@VERSION@", version.trim_start_matches("Kubernetes "))
        .replace("@POD_CIDR@", ControlPlane::POD_CIDR)
        .replace("@SERVICE_CIDR@", ControlPlane::SERVICE_CIDR)
        .replace("@QUIRKS@", &quirks::kubelet_config(plane.minor())?.join("\n"));
    let path = plane.run().directory().join("kubeadm.yaml");
    fs::write(&path, config)?;
    // As kubeadm's own, with the CA in it: 1.20 copies its text.
    let kubeconfig = plane.run().directory().join("kubeadm.kubeconfig");
    fs::write(&kubeconfig, plane.kubectl()?.run(&["config", "view", "--raw", "--flatten"])?)?;
    for phase in phases {
        let mut command = Command::new(plane.kubernetes().program("kubeadm")?);
        command.args(["init", "phase"]).args(phase.split(' '));
        command.arg("--config").arg(&path).arg("--kubeconfig").arg(&kubeconfig);
        run(&mut command)?;
    }
    Ok(())
}
