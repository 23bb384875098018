//! The lab proven without the agent: a node made Ready by hand-written configuration. What it takes is the floor that
//! the agent is measured against.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    Artefacts, ControlPlane, Identity, Kubectl, Minor, Node, PAUSE_IMAGE, pki,
    progress::{Steps, detail},
    quirks, wait_until, workload,
};

const READY_LIMIT: Duration = Duration::from_mins(2);
const POD_CIDR_LIMIT: Duration = Duration::from_secs(10);

pub(crate) const CRI_DOCKERD_UNIT: &str = "[Unit]
After=docker.service
Requires=docker.service
[Service]
Type=notify
ExecStart=/usr/local/bin/cri-dockerd --container-runtime-endpoint=unix:///run/cri-dockerd.sock --network-plugin=cni \
--cni-bin-dir=/usr/lib/cni --cni-conf-dir=/etc/cni/net.d --pod-infra-container-image=@PAUSE@
";

const KUBELET_UNIT: &str = "[Unit]
After=@RUNTIME@.service
Requires=@RUNTIME@.service
[Service]
Type=notify
Environment=AWS_EC2_METADATA_DISABLED=true
ExecStart=/usr/local/bin/kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.kubeconfig \
--hostname-override=@NAME@ --node-ip=@ADDRESS@ @FLAGS@
";

/// What the kubelet talks to: its unit, and the flags that say so.
struct RuntimeInterface {
    unit: &'static str,
    flags: &'static str,
}

impl RuntimeInterface {
    fn of(minor: Minor) -> Self {
        match minor {
            Minor::V1_20 => Self {
                unit: "docker",
                flags: "--network-plugin=cni --cni-bin-dir=/usr/lib/cni --cni-conf-dir=/etc/cni/net.d \
--pod-infra-container-image=@PAUSE@",
            },
            Minor::V1_36 => Self {
                unit: "cri-dockerd",
                flags: "--container-runtime-endpoint=unix:///run/cri-dockerd.sock",
            },
        }
    }
}

const PROXY_UNIT: &str = "[Service]
ExecStart=/usr/local/bin/kube-proxy --config=/etc/kubernetes/kube-proxy.yaml
";

const KUBELET_CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
failSwapOn: false
resolvConf: ''
";

const PROXY_CONFIG: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: @POD_CIDR@
hostnameOverride: @NAME@
clientConnection: {kubeconfig: /etc/kubernetes/kube-proxy.kubeconfig}
";

/// A Node as its own identity may create it. The kubelet 1.20 needs the two maps.
const NODE: &str = "apiVersion: v1
kind: Node
metadata: {name: @NAME@, labels: {kubernetes.io/hostname: @NAME@}}
status: {capacity: {pods: '110'}, allocatable: {pods: '110'}}
";

/// A kubelet is not Ready before it is there, and else makes it itself.
const CSI_NODE: &str = "apiVersion: storage.k8s.io/v1
kind: CSINode
metadata:
  name: @NAME@
  ownerReferences: [{apiVersion: v1, kind: Node, name: @NAME@, uid: @UID@}]
spec: {drivers: []}
";

pub(crate) const CNI: &str = r#"{
  "cniVersion": "0.4.0", "name": "default", "type": "bridge", "bridge": "cni0",
  "isGateway": true, "ipMasq": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "@SUBNET@"}]], "routes": [{"dst": "0.0.0.0/0"}]}
}
"#;

/// Proves the lab and prints what starting a node takes.
pub fn floor(artefacts: &Artefacts) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("control plane");
    let control_plane = ControlPlane::start("floor", artefacts)?;
    detail(format_args!("{} at {}", artefacts.kubernetes().version()?, control_plane.server()));

    steps.step("a node, everything on it stopped");
    let cold = boot(&control_plane, artefacts, "cold")?;
    let seconds = start(&control_plane, &cold, &["kubelet", "kube-proxy"])?;
    detail(format_args!("runtime, kubelet and kube-proxy started; Ready after {seconds:.2} s"));

    steps.step("a node whose runtime already runs");
    let warm = boot(&control_plane, artefacts, "warm")?;
    warm.exec(&["systemctl", "start", RuntimeInterface::of(control_plane.minor()).unit])?;
    let seconds = start(&control_plane, &warm, &["kubelet"])?;
    detail(format_args!("kubelet started; Ready after {seconds:.2} s"));

    steps.step("a pod and a Service");
    workload::prove(&control_plane, &cold)?;

    steps.step("as the administrator sees it");
    detail(control_plane.kubectl()?.run(&["get", "nodes", "-o", "wide"])?);
    Ok(())
}

/// Boots a node, creates its Node object and writes everything its programs read.
pub(crate) fn boot(control_plane: &ControlPlane, artefacts: &Artefacts, name: &str) -> Result<Node> {
    let start = Instant::now();
    let node = Node::boot(control_plane.run(), artefacts, name)?;
    detail(format_args!("{name} booted at {} in {:.1} s", node.address(), start.elapsed().as_secs_f64()));
    let (own, identity) = control_plane.kubectl_as(
        &format!("kubelet-{name}"),
        &format!("system:node:{name}"),
        &["system:nodes"],
    )?;
    let subnet = create_node(&own, &node)?;
    install(control_plane, &node, &identity, &subnet).with_context(|| format!("cannot configure {name}"))?;
    Ok(node)
}

/// POSTs the Node and its CSINode, and waits for its podCIDR.
pub(crate) fn create_node(own: &Kubectl, node: &Node) -> Result<String> {
    own.create(&NODE.replace("@NAME@", node.name()))?;
    let object = own.get(&["node", node.name()])?;
    let uid = object["metadata"]["uid"].as_str().context("a Node without a uid")?;
    own.create(&CSI_NODE.replace("@NAME@", node.name()).replace("@UID@", uid))?;
    wait_until("the podCIDR", POD_CIDR_LIMIT, || {
        let object = own.get(&["node", node.name()])?;
        Ok(object["spec"]["podCIDR"].as_str().map(str::to_owned))
    })
}

fn install(control_plane: &ControlPlane, node: &Node, identity: &Identity, subnet: &str) -> Result<()> {
    let name = node.name();
    node.put("/etc/kubernetes/pki/ca.crt", fs::read(control_plane.ca())?, 0o644)?;
    let (_, proxy) = control_plane.kubectl_as(&format!("proxy-{name}"), "system:kube-proxy", &[])?;
    for (program, identity) in [("kubelet", identity), ("kube-proxy", &proxy)] {
        let there = Identity {
            certificate: format!("/etc/kubernetes/pki/{program}.crt").into(),
            key: format!("/etc/kubernetes/pki/{program}.key").into(),
        };
        node.put(&there.certificate.display().to_string(), fs::read(&identity.certificate)?, 0o644)?;
        node.put(&there.key.display().to_string(), fs::read(&identity.key)?, 0o600)?;
        let ca = "/etc/kubernetes/pki/ca.crt".as_ref();
        let kubeconfig = pki::kubeconfig(&control_plane.server(), ca, &there);
        node.put(&format!("/etc/kubernetes/{program}.kubeconfig"), kubeconfig, 0o600)?;
    }
    let runtime = RuntimeInterface::of(control_plane.minor());
    let fill = |text: &str| {
        text.replace("@RUNTIME@", runtime.unit)
            .replace("@FLAGS@", runtime.flags)
            .replace("@NAME@", name)
            .replace("@ADDRESS@", &node.address().to_string())
            .replace("@PAUSE@", PAUSE_IMAGE)
            .replace("@POD_CIDR@", ControlPlane::POD_CIDR)
            .replace("@SUBNET@", subnet)
    };
    let kubelet_config =
        format!("{KUBELET_CONFIG}{}\n", quirks::kubelet_config(control_plane.minor())?.join("\n"));
    let proxy_config = format!("{PROXY_CONFIG}{}\n", quirks::proxy_config().join("\n"));
    for (path, text) in [
        ("/etc/kubernetes/kubelet.yaml", kubelet_config.as_str()),
        ("/etc/kubernetes/kube-proxy.yaml", &proxy_config),
        ("/etc/cni/net.d/10-default.conf", CNI),
        ("/etc/systemd/system/cri-dockerd.service", CRI_DOCKERD_UNIT),
        ("/etc/systemd/system/kubelet.service", KUBELET_UNIT),
        ("/etc/systemd/system/kube-proxy.service", PROXY_UNIT),
    ] {
        node.put(path, fill(text), 0o644)?;
    }
    node.exec(&["systemctl", "daemon-reload"])?;
    Ok(())
}

/// Starts units and returns the seconds until a watch from outside sees the node Ready.
fn start(control_plane: &ControlPlane, node: &Node, units: &[&str]) -> Result<f64> {
    let kubectl = control_plane.kubectl()?;
    let log = control_plane.run().subdirectory("log")?.join("watch.log");
    let watch = kubectl.watch(&format!("node/{}", node.name()), "condition=Ready", READY_LIMIT, &log)?;
    let start = Instant::now();
    node.exec(&[&["systemctl", "start", "--no-block"], units].concat())?;
    watch.met().with_context(|| journal(node))?;
    Ok(start.elapsed().as_secs_f64())
}

/// The end of a node's journal, for an error.
pub(crate) fn journal(node: &Node) -> String {
    node.exec(&["journalctl", "--no-pager", "--lines=60", "--priority=info"]).unwrap_or_default()
}
