//! What the agent writes for a version, with everything set that makes it write more.

use anyhow::{Context as _, Result};
use kn_agent::config::{Config, HostFacts, Sources, load};
use kn_agent::desired::versions::Component;
use kn_agent::desired::{self, Facts, desired};

use crate::program::Program;

/// A component's file and the flags of its unit.
pub(crate) struct Rendered {
    pub(crate) file: String,
    /// Name and value.
    pub(crate) flags: Vec<(String, String)>,
}

fn config(minor: u16) -> Result<Config> {
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()])?.cert.pem();
    let text = format!(
        "cluster: {{server: 'https://10.0.0.1:6443', ca: {{data: {ca:?}}}, podCIDR: 10.244.0.0/16, dns: {{address: \
         10.96.0.10}}}}\nnode: {{name: n1, address: 10.0.0.2, labels: {{a: b}}, taints: ['a=b:NoSchedule']}}\n\
         identity: {{token: {{value: abcdef.0123456789abcdef}}}}\n{}",
        // From 1.35 on the kubelet ends on cgroup v1 before it looks for anything; the field came with 1.31.
        if minor < 31 { "" } else { "kubelet: {config: {failCgroupV1: false}}\n" }
    );
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    let sources = Sources { root: "/".into(), only: Some(file.path().to_owned()), env: Vec::new() };
    Ok(load(&sources, &HostFacts { hostname: "n1".to_owned(), ..HostFacts::default() })?.config)
}

/// The file and the unit for the version of `program`.
pub(crate) fn of(program: &Program) -> Result<Rendered> {
    let found = |path: &str| desired::Program {
        path: Some(path.into()),
        version: Some(program.version),
        ..desired::Program::default()
    };
    let facts = Facts {
        kubelet: found("/usr/bin/kubelet"),
        proxy: found("/usr/bin/kube-proxy"),
        cri_dockerd: Some("/usr/bin/cri-dockerd".into()),
        cgroup_v2: true,
        resolv_conf: "/etc/resolv.conf".into(),
        ..Facts::default()
    };
    let desired = desired(&config(program.version.minor)?, &facts).context("nothing is desired")?;
    let content = |name: &str| {
        let mut files = desired.host_files.iter();
        let file = files.find(|file| file.path.ends_with(name)).with_context(|| format!("no {name}"))?;
        anyhow::Ok(String::from_utf8(file.content.clone())?)
    };
    let (file, unit) = match program.component {
        Component::Kubelet => ("kubelet.yaml", "kubelet.service"),
        Component::KubeProxy => ("kube-proxy.yaml", "kube-proxy.service"),
    };
    let unit = content(unit)?;
    let flags = unit.split_whitespace().filter_map(|word| word.trim_matches('"').strip_prefix("--"));
    let flags =
        flags.filter_map(|flag| flag.split_once('=')).map(|(name, value)| (name.into(), value.into()));
    Ok(Rendered { file: content(file)?, flags: flags.collect() })
}
