//! Every file of a node, as it is written for the oldest and the newest Kubernetes.

use std::fmt::Write as _;
use std::fs;

use super::*;
use crate::config::{HostFacts, Sources, load};

pub(super) fn node(version: &str) -> (Config, Facts) {
    let machine = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
    fs::write(machine.path().join("ca.pem"), ca).unwrap();
    let file = machine.path().join("config.yaml");
    let text = "cluster: {server: 'https://10.0.0.1:6443', ca: {file: /ca.pem}, podCIDR: 10.244.0.0/16}\n\
                node: {name: worker-1}\nnetwork: {plugin: bridge}\n";
    fs::write(&file, text).unwrap();
    let sources = Sources { root: machine.path().to_owned(), only: Some(file), env: Vec::new() };
    let host = HostFacts { hostname: "ignored".to_owned(), processors: 2, memory: 8 << 30 };
    let program = |path: &str| Program {
        path: Some(path.into()),
        version: Some(version.parse().unwrap()),
        ..Program::default()
    };
    let facts = Facts {
        kubelet: program("/usr/bin/kubelet"),
        proxy: program("/usr/bin/kube-proxy"),
        cri_dockerd: Some("/usr/bin/cri-dockerd".into()),
        cgroup_v2: true,
        resolv_conf: "/run/systemd/resolve/resolv.conf".into(),
        route_address: Some("10.0.0.2".parse().unwrap()),
        cni_bin_dir: Some("/opt/cni/bin".into()),
        iptables: Some("/usr/sbin/iptables".into()),
        nft: Some("/usr/sbin/nft".into()),
        cluster_dns: dns::ClusterDns::At("10.96.0.10".parse().unwrap()),
        ..Facts::default()
    };
    (load(&sources, &host).unwrap().config, facts)
}

fn files_for(version: &str) -> String {
    let (config, facts) = node(version);
    let desired = desired(&config, &facts).unwrap();
    desired.files().fold(String::new(), |mut text, file| {
        let content = String::from_utf8_lossy(&file.content);
        writeln!(text, "=== {} {:04o}\n{content}", file.path.display(), file.mode).unwrap();
        text
    })
}

#[test]
fn files_are_these() {
    insta::assert_snapshot!("1.36", files_for("v1.36.3"));
    insta::assert_snapshot!("1.20", files_for("v1.20.2"));
}
