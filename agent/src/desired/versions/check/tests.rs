//! Operators' settings against versions, word for word.

use serde_json::{Value, json};

use super::{Check, State, runtime};
use crate::config::{Config, HostFacts, ProxyMode, RuntimeKind, Sources, load};
use crate::desired::versions::{SUPPORTED, Version};

fn version(minor: u16) -> Version {
    Version { major: 1, minor, patch: 0 }
}

/// What is said of these fields and flags.
fn told(check: Check, fields: Value, flags: &[(&str, &str)]) -> Vec<(State, String)> {
    let Value::Object(fields) = fields else { panic!() };
    let mut found = Vec::new();
    check.object("", &format!("{}.config", check.component.key()), &fields, &mut found);
    found.extend(flags.iter().filter_map(|(flag, value)| check.flag(flag, value)));
    found.iter().map(|finding| (finding.state, finding.to_string())).collect()
}

fn kubelet(minor: u16, fields: Value, flags: &[(&str, &str)]) -> Vec<(State, String)> {
    told(Check::kubelet(version(minor)), fields, flags)
}

fn proxy(minor: u16, fields: Value, flags: &[(&str, &str)]) -> Vec<(State, String)> {
    told(Check::proxy(version(minor)), fields, flags)
}

#[test]
fn what_is_right_is_left_alone() {
    let fields = json!({
        "maxPods": 50,
        "evictionHard": {"memory.available": "500Mi"},
        "authentication": {"webhook": {"cacheTTL": "2m"}},
        "featureGates": {"Anything": true},
        "clusterDNS": ["10.96.0.10"],
        "staticPodURLHeader": {"Accept": ["a", "b"]},
        "failSwapOn": null,
    });
    for minor in SUPPORTED.0..=SUPPORTED.1 {
        assert_eq!(kubelet(minor, fields.clone(), &[("v", "4"), ("root-dir", "/x")]), [], "1.{minor}");
        let fields = json!({"conntrack": {"maxPerCore": 0}, "clientConnection": {"qps": 5.5}});
        assert_eq!(proxy(minor, fields, &[("v", "4")]), [], "1.{minor}");
    }
}

#[test]
fn what_no_version_knows_is_refused_with_what_was_meant() {
    let unknown = |text: &str| (State::Unknown, text.to_owned());
    assert_eq!(
        kubelet(36, json!({"maxPod": 1, "authentication": {"webhok": {}}, "clientCAFile": "/x"}), &[]),
        [
            unknown(
                "kubelet.config.authentication.webhok: kubelet 1.36 has no such field; did you mean \
                 `authentication.webhook`?"
            ),
            unknown(
                "kubelet.config.clientCAFile: kubelet 1.36 has no such field; did you mean \
                 `authentication.x509.clientCAFile`?"
            ),
            unknown("kubelet.config.maxPod: kubelet 1.36 has no such field; did you mean `maxPods`?"),
        ]
    );
    assert_eq!(
        kubelet(36, json!({"eviction-hard": {}}), &[("maxPods", "5"), ("max-pod", "5"), ("qqqqqq", "")]),
        [
            unknown(
                "kubelet.config.eviction-hard: kubelet 1.36 has no such field; did you mean `evictionHard`?"
            ),
            unknown(
                "kubelet.extraArgs.maxPods: kubelet 1.36 has no such flag; write `kubelet.config.maxPods`"
            ),
            unknown("kubelet.extraArgs.max-pod: kubelet 1.36 has no such flag; did you mean `max-pods`?"),
            unknown("kubelet.extraArgs.qqqqqq: kubelet 1.36 has no such flag"),
        ]
    );
    assert_eq!(
        kubelet(36, json!({"registerWithTaints": [{"key": "a"}, {"efect": "b"}]}), &[]),
        [unknown(
            "kubelet.config.registerWithTaints[1].efect: kubelet 1.36 has no such field; did you mean \
             `registerWithTaints[].effect`?"
        )]
    );
}

#[test]
fn what_another_version_knows_is_refused_with_what_takes_its_place() {
    assert_eq!(
        kubelet(
            36,
            json!({"logging": {"sanitization": true}}),
            &[
                ("logtostderr", "true"),
                ("docker_root", "/x"),
                ("experimental-kernel-memcg-notification", "true"),
                ("seccomp-profile-root", "/x"),
                ("allow-privileged", "true"),
            ]
        ),
        [
            "kubelet.config.logging.sanitization: is gone since 1.24; remove it",
            "kubelet.extraArgs.logtostderr: is gone since 1.26; remove it: everything is logged to stderr, which the \
             journal keeps",
            "kubelet.extraArgs.docker_root: is gone since 1.24; remove it: the kubelet does not speak to docker any more; \
             docker's own settings belong into `runtime.daemonJson`",
            "kubelet.extraArgs.experimental-kernel-memcg-notification: is gone since 1.25; write \
             `kubelet.config.kernelMemcgNotification`",
            "kubelet.extraArgs.seccomp-profile-root: is gone since 1.23; remove it; 1.22 said: will be removed in 1.23, in \
             favor of using the `<root-dir>/seccomp` directory",
            "kubelet.extraArgs.allow-privileged: is gone since 1.15; remove it: admission decides, see Pod Security",
        ]
        .map(|text| (State::Gone, text.to_owned()))
    );
    assert_eq!(
        kubelet(22, json!({"registerNode": true}), &[("config-dir", "/x")]),
        [
            "kubelet.config.registerNode: kubelet 1.22 does not know it yet, 1.23 does",
            "kubelet.extraArgs.config-dir: kubelet 1.22 does not know it yet, 1.28 does",
        ]
        .map(|text| (State::NotYet, text.to_owned()))
    );
    let verbosity = kubelet(22, json!({"logging": {"flushFrequency": 1}}), &[]);
    assert!(verbosity[0].1.ends_with("kubelet 1.22 does not know it yet, 1.23 does"), "{verbosity:?}");
    // Known in both, and of another kind in the older.
    let nanoseconds = json!({"logging": {"flushFrequency": 5_000_000_000_u64}});
    assert_eq!(kubelet(25, nanoseconds.clone(), &[]), []);
    assert_eq!(kubelet(36, nanoseconds, &[]), []);
    assert_eq!(
        kubelet(25, json!({"logging": {"flushFrequency": "5s"}}), &[]),
        [(
            State::Mistyped,
            "kubelet.config.logging.flushFrequency: expected a whole number, found the text `5s`".to_owned()
        )]
    );
}

#[test]
fn values_of_another_kind_are_refused() {
    let fields = json!({
        "clusterDNS": "10.96.0.10",
        "evictionHard": {"memory.available": 100},
        "failSwapOn": "false",
        "maxPods": "110",
        "syncFrequency": 60,
        "authentication": true,
    });
    let texts = [
        "kubelet.config.authentication: expected a mapping, found `true`",
        "kubelet.config.clusterDNS: expected a list of texts, found the text `10.96.0.10`",
        "kubelet.config.evictionHard.memory.available: expected a text in quotes, found `100`",
        "kubelet.config.failSwapOn: expected true or false, found the text `false`",
        "kubelet.config.maxPods: expected a whole number, found the text `110`",
        "kubelet.config.syncFrequency: expected a duration such as `10s` or `1m30s`, found `60`",
        "kubelet.extraArgs.max-pods: expected a whole number, found `many`",
    ];
    let texts = texts.map(|text| (State::Mistyped, text.to_owned()));
    assert_eq!(kubelet(36, fields, &[("max-pods", "many")]), texts);
}

#[test]
fn what_is_deprecated_or_without_effect_is_only_told() {
    let found =
        kubelet(36, json!({"iptablesDropBit": 15}), &[("max-pods", "110"), ("register-node", "true")]);
    let texts = [
        "kubelet.config.iptablesDropBit: is deprecated since 1.28",
        "kubelet.extraArgs.max-pods: is deprecated; write `kubelet.config.maxPods`",
        "kubelet.extraArgs.register-node: is deprecated since 1.23; write `kubelet.config.registerNode`",
    ];
    assert_eq!(found, texts.map(|text| (State::Deprecated, text.to_owned())));
    let found = proxy(36, json!({}), &[("masquerade-all", "true"), ("logging-format", "json"), ("v", "4")]);
    let text = "proxy.extraArgs.masquerade-all: has no effect: kube-proxy takes it from its file alone; write \
                `proxy.config.iptables.masqueradeAll`";
    assert_eq!(found, [(State::Ignored, text.to_owned())]);
    assert!(!State::Deprecated.refuses() && !State::Ignored.refuses() && State::Unknown.refuses());
}

/// The shortest configuration.
fn minimum() -> Config {
    let variable = |name: &str, value: &str| (format!("KN_AGENT_{name}"), value.to_owned());
    let ca = rcgen::generate_simple_self_signed([]).unwrap().cert.pem();
    let env = vec![variable("CLUSTER__SERVER", "https://10.0.0.10:6443"), variable("CLUSTER__CA__DATA", &ca)];
    let root = tempfile::tempdir().unwrap();
    let sources = Sources { root: root.path().to_owned(), only: None, env };
    load(&sources, &HostFacts { hostname: "worker-1".to_owned(), ..HostFacts::default() }).unwrap().config
}

#[test]
fn a_mode_that_is_to_go_is_told_from_the_version_that_says_so() {
    let mut config = minimum();
    config.proxy.mode = ProxyMode::Ipvs;
    assert_eq!(Check::proxy(version(34)).fields(&config), []);
    let [found] = &Check::proxy(version(35)).fields(&config)[..] else { panic!() };
    assert_eq!(found.state, State::Deprecated);
    assert_eq!(found.to_string(), "proxy.mode: ipvs is deprecated since 1.35; write `nftables`");
    config.proxy.mode = ProxyMode::Nftables;
    assert_eq!(Check::proxy(version(35)).fields(&config), []);
}

#[test]
fn what_a_kubelet_needs_beside_the_runtime_is_told_and_refuses_nothing() {
    let mut config = minimum();
    let told = |config: &Config, minor| runtime(config, version(minor)).map(|found| found.to_string());
    assert_eq!(told(&config, 23), None);
    assert_eq!(
        told(&config, 24).unwrap(),
        "runtime.kind: kubelet 1.24 does not speak to docker itself; have cri-dockerd on the node; kn-agent writes its \
         unit and starts it"
    );
    let found = runtime(&config, version(36)).unwrap();
    assert!(!found.state.refuses() && found.source.as_deref() == Some("KEP-2221"));
    config.runtime.kind = RuntimeKind::Containerd;
    assert_eq!(
        told(&config, 22).unwrap(),
        "runtime.kind: kubelet 1.22 speaks runtime.v1alpha2 alone; keep containerd 1.6 or 1.7: 2.x does not know it"
    );
    assert_eq!(told(&config, 23), None);
}
