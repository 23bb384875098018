//! What lies over what: defaults, files, environment.

use std::path::Path;

use super::*;

#[test]
fn minimum_gets_every_default() {
    let loaded = Machine::with(MINIMUM).load().unwrap();
    let config = loaded.config;
    assert_eq!(config.cluster.server.as_str(), "https://10.0.0.10:6443");
    assert_eq!(config.cluster.name, "kubernetes");
    assert_eq!(config.cluster.ca, CaSource::File("/ca.pem".into()));
    assert_eq!(config.cluster.dns, Dns { address: None, domain: "cluster.local".to_owned() });
    assert!(matches!(config.identity.token, Some(TokenSource::File(path)) if path == Path::new("/token")));
    assert_eq!(config.identity.key, KeyAlgorithm::EcdsaP256);
    assert_eq!(config.node.name.as_str(), "worker-1");
    assert_eq!(config.runtime.sandbox_image, "registry.k8s.io/pause:3.10");
    assert_eq!(config.network.plugin, NetworkPlugin::None);
    assert_eq!(config.network.conf_dir, Path::new("/etc/cni/net.d"));
    assert!(config.proxy.enabled && config.proxy.mode == ProxyMode::Iptables);
    assert_eq!(loaded.files.len(), 1);
}

#[test]
fn every_key_arrives() {
    let text = r#"
apiVersion: kn-agent.io/v1alpha1
kind: NodeConfig
cluster:
  server: https://api.example.com
  ca: {file: /ca.pem}
  name: "1.30"
  dns: {address: [10.96.0.10], domain: example.com.}
  podCIDR: 10.244.0.0/16
  serviceCIDR: 10.96.0.0/16
identity: {mode: bootstrap, token: {credential: kn}, key: rsa-2048}
node:
  name: a.example.com
  address: 10.0.0.11
  labels: {example.com/rack: 07, gpu: true, empty: }
  taints: ["a=b:NoSchedule", "c:NoExecute"]
runtime: {kind: docker, sandboxImage: "p:1", criDockerd: /c, daemonJson: {log-opts: {max-size: 10m}}}
network: {plugin: calico, confDir: /d, binDir: /b}
kubelet: {binary: /k, config: {maxPods: 200, authentication: {webhook: {cacheTTL: 1m0s}}}, extraArgs: {v: 4}}
proxy: {enabled: false, binary: /p, mode: nftables, config: {hostnameOverride: a.example.com}, extraArgs: {v: "2"}}
preflight: {ignore: [swap, ports]}
"#;
    let config = Machine::with(text).load().unwrap().config;
    assert_eq!(config.cluster.name, "1.30");
    assert_eq!(
        config.cluster.dns,
        Dns { address: Some("10.96.0.10".parse().unwrap()), domain: "example.com".to_owned() }
    );
    assert!(matches!(&config.identity.token, Some(TokenSource::Credential(name)) if name == "kn"));
    assert_eq!(config.identity.key, KeyAlgorithm::Rsa2048);
    // As written: `07` is no 7 and `true` no boolean where text is wanted.
    let labels: Vec<_> =
        config.node.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("empty", ""), ("example.com/rack", "07"), ("gpu", "true")]);
    assert_eq!(config.node.taints.len(), 2);
    assert_eq!(config.runtime.daemon_json["log-opts"]["max-size"], "10m");
    assert_eq!(config.network.plugin, NetworkPlugin::Calico);
    assert_eq!(config.kubelet.config["maxPods"], 200);
    assert_eq!(config.kubelet.extra_args["v"], "4");
    assert!(!config.proxy.enabled && config.proxy.mode == ProxyMode::Nftables);
    assert!(config.preflight.ignore.contains("swap"));
}

#[test]
fn files_lie_over_one_another_in_order() {
    let machine =
        Machine::new().set("KN_AGENT_NODE__NAME", "from-env").set("KN_AGENT_LOG", "debug").set("PATH", "/");
    let file = |path: &str, name: &str, more: &str| {
        machine.write(
            path,
            &format!("node: {{name: {name}, labels: {{{name}: x}}, taints: ['{name}:NoExecute']}}\n{more}"),
            0o600,
        );
    };
    file("/usr/lib/kn-agent/config.d/50.yaml", "vendor", MINIMUM);
    file("/etc/kn-agent/config.yaml", "main", "");
    file("/etc/kn-agent/config.d/20.yaml", "second", "");
    file("/etc/kn-agent/config.d/10.yaml", "first", "");
    file("/etc/kn-agent/config.d/.30.yaml", "hidden", "");
    file("/etc/kn-agent/config.d/30.yml", "other", "");
    let loaded = machine.load().unwrap();
    assert_eq!(loaded.config.node.name.as_str(), "from-env");
    assert_eq!(loaded.config.node.labels.keys().collect::<Vec<_>>(), ["first", "main", "second", "vendor"]);
    assert_eq!(
        loaded.config.node.taints.iter().map(|taint| taint.key.as_str()).collect::<Vec<_>>(),
        ["second"]
    );
    let names: Vec<_> =
        loaded.files.iter().map(|path| path.strip_prefix(machine.root.path()).unwrap()).collect();
    assert_eq!(
        names,
        [
            "usr/lib/kn-agent/config.d/50.yaml",
            "etc/kn-agent/config.yaml",
            "etc/kn-agent/config.d/10.yaml",
            "etc/kn-agent/config.d/20.yaml"
        ]
        .map(Path::new)
    );
}

#[test]
fn one_named_file_stands_for_the_default_set() {
    let mut machine = Machine::with("nonsense");
    machine.write("/other.yaml", MINIMUM, 0o644);
    machine.only = Some(machine.real("/other.yaml"));
    assert_eq!(machine.load().unwrap().files, [machine.real("/other.yaml")]);
    machine.only = Some(machine.real("/missing.yaml"));
    let errors = machine.load().unwrap_err();
    assert!(!errors.not_configured && errors.to_string().contains("missing.yaml: cannot read: No such file"));
}

#[test]
fn nothing_configured_is_told_apart() {
    for machine in [Machine::new(), Machine::with(""), Machine::with("# nothing\n"), Machine::with("{}")] {
        let errors = machine.load().unwrap_err();
        assert!(errors.not_configured, "{errors}");
    }
    let errors = Machine::with("node: {name: a}").load().unwrap_err();
    assert!(!errors.not_configured, "{errors}");
    insta::assert_snapshot!("not_configured", Machine::new().errors());
    // What a key means can be asked before; as can where its default is from.
    let host = HostFacts { hostname: "n1".to_owned(), ..HostFacts::default() };
    let provenance = Provenance::unconfigured(&host).unwrap();
    let explained = |key| provenance.explain(key).map(|known| known.to_string()).unwrap_or_default();
    assert!(explained("node.name").contains("value: n1"), "{}", explained("node.name"));
    assert!(explained("cluster.server").contains("value: not set"), "{}", explained("cluster.server"));
    assert!(provenance.explain("node.nam").is_err());
}

#[test]
fn environment_is_read_by_type() {
    let loaded = Machine::with(MINIMUM)
        .set("KN_AGENT_CLUSTER__POD_CIDR", "10.244.0.0/16")
        .set("KN_AGENT_CLUSTER__SERVICECIDR", "10.96.0.0/16")
        .set("KN_AGENT_CLUSTER__DNS__ADDRESS", "10.96.0.10")
        .set("KN_AGENT_NODE__NAME", "007")
        .set("KN_AGENT_NODE__TAINTS", "a=b:NoSchedule, c:NoExecute")
        .set("KN_AGENT_NODE__LABELS", "{rack: 07}")
        .set("KN_AGENT_KUBELET__CONFIG", "{maxPods: 50}")
        .set("KN_AGENT_PROXY__ENABLED", "false")
        .set("KN_AGENT_IDENTITY__KEY", "")
        .set("KN_AGENT_IDENTITY__TOKEN__VALUE", TOKEN)
        .load()
        .unwrap();
    let config = loaded.config;
    assert_eq!(config.cluster.pod_cidr.unwrap().to_string(), "10.244.0.0/16");
    assert_eq!(config.node.name.as_str(), "007");
    assert_eq!(config.node.taints.len(), 2);
    assert_eq!(config.node.labels["rack"], "07");
    assert_eq!(config.kubelet.config["maxPods"], 50);
    assert!(!config.proxy.enabled);
    assert!(matches!(config.identity.token, Some(TokenSource::Value(token)) if token.expose() == TOKEN));
}
