//! Values that can't be meant, or would break the components.

use serde_json::json;

use super::*;

#[test]
fn value_errors_say_what_was_found() {
    let report = report_over_minimum(&[
        ("cluster: {server: 'http://a'}", "it must begin with https://"),
        ("cluster: {server: 'https://a/b'}", "it must not have a path"),
        ("cluster: {name: ''}", "config.yaml:1: cluster.name: empty"),
        ("cluster: {podCIDR: 10.244.0.1/16}", "write 10.244.0.0/16"),
        (
            "cluster:\n  podCIDR: 10.96.0.0/12\n  serviceCIDR: 10.96.0.0/16",
            "config.yaml:2: cluster.podCIDR: 10.96.0.0/12 overlaps",
        ),
        ("cluster: {dns: {address: dns.example.com}}", "`dns.example.com` is no IP address"),
        ("cluster: {dns: {address: [10.96.0.10, 10.96.0.11]}}", "more than one address"),
        ("cluster: {dns: {domain: Cluster_Local}}", "`Cluster_Local` is no DNS domain"),
        (
            "node: {name: Worker-1}",
            "has upper-case letters, which Kubernetes refuses in a node name; write `worker-1`",
        ),
        ("node: {name: a_b}", "`a_b` is no DNS name"),
        ("node: {address: worker}", "`worker` is no IP address"),
        ("node: {addressFrom: [10.0.0.1/8]}", "config.yaml:1: node.addressFrom: `10.0.0.1/8`"),
        (
            "node: {address: 10.0.0.1, addressFrom: [10.0.0.0/8]}",
            "`node.address` says already which address it is; leave one of the two out",
        ),
        ("node: {labels: {node-role.kubernetes.io/worker: ''}}", "NodeRestriction"),
        ("node: {labels: {node-restriction.kubernetes.io/a: b}}", "NodeRestriction"),
        ("node: {labels: {k8s.io/a: b}}", "use a domain of your own"),
        ("node: {labels: {'a b': c}}", "`a b` is no key"),
        ("node: {labels: {'a_b/c': d}}", "before `/` must be a DNS name"),
        ("node: {labels: {a: 'b c'}}", "the value `b c` must be"),
        ("node: {taints: ['a=b']}", "`a=b` is no taint; write `key=value:Effect`"),
        ("node: {taints: ['a=b:Noschedule']}", "did you mean `NoSchedule`?"),
        ("node: {taints: ['a=b:Never']}", "an effect is `NoSchedule`"),
        ("runtime: {sandboxImage: 'a b'}", "`a b` is no image"),
        (
            "cluster: {podCIDR: 10.96.0.0/16, dns: {address: 10.96.0.10}}",
            "10.96.0.0/16 holds 10.96.0.10 (`cluster.dns.address`), which is a Service",
        ),
        ("runtime: {criDockerd: cri-dockerd}", "`cri-dockerd` is no absolute path; begin it with `/`"),
        ("runtime: {images: \"/i\\nExecStartPre=/x\"}", "`/i\\nExecStartPre=/x` holds a control character"),
        ("proxy: {kubeconfig: '/k\\'}", "or ends in a space or a backslash"),
        ("kubelet: {binary: '/k '}", "or ends in a space or a backslash"),
    ]);
    insta::assert_snapshot!("values", report);
}

#[test]
fn host_name_that_does_not_do_is_said() {
    let machine = Machine::with(MINIMUM);
    let errors =
        load(&machine.sources(), &HostFacts { hostname: "my_host".to_owned(), ..HostFacts::default() })
            .unwrap_err();
    insta::assert_snapshot!("host_name", errors.to_string());
}

#[test]
fn what_would_break_the_components_is_refused() {
    let report = report_over_minimum(&[
        (
            "kubelet:\n  config:\n    authentication:\n      anonymous:\n        enabled: true",
            "config.yaml:5: kubelet.config.authentication.anonymous.enabled",
        ),
        ("kubelet: {config: {authentication: null}}", "kubelet.config.authentication: must be a mapping"),
        ("kubelet: {config: {authentication: {x509: {clientCAFile: /ca}}}}", "set `cluster.ca`"),
        ("kubelet: {config: {authorization: {mode: AlwaysAllow}}}", "must be `Webhook`"),
        ("kubelet: {config: {readOnlyPort: 10255}}", "must be 0"),
        ("kubelet: {config: {rotateCertificates: false}}", "must be `true`"),
        (
            "kubelet: {config: {apiVersion: v1, kind: Pod}}",
            "kubelet.config.kind: must be `KubeletConfiguration`",
        ),
        ("kubelet: {extraArgs: {config: /a}}", "this flag is set by kn-agent; set `kubelet.config`"),
        ("kubelet: {extraArgs: {kubeconfig: /a}}", "set `cluster.server`"),
        ("kubelet: {extraArgs: {bootstrap-kubeconfig: /a}}", "set `identity.token`"),
        ("kubelet: {extraArgs: {hostname-override: a}}", "set `node.name`"),
        ("kubelet: {extraArgs: {--hostname_override: a}}", "set `node.name`"),
        ("kubelet: {extraArgs: {cert-dir: /a}}", "this flag is set by kn-agent"),
        ("kubelet: {extraArgs: {node-ip: 10.0.0.1}}", "set `node.address`"),
        ("kubelet: {extraArgs: {anonymous-auth: 'true'}}", "this flag is set by kn-agent"),
        ("kubelet: {extraArgs: {--v: 4}}", "write `v`"),
        ("kubelet: {extraArgs: {'v=4 x': ''}}", "is no name of a flag"),
        ("kubelet: {extraArgs: {a: \"b\\0c\"}}", "kubelet.extraArgs.a: holds a NUL character"),
        ("kubelet: {extraArgs: {\"a\\x01\": b}}", "is no name of a flag"),
        (
            "kubelet: {config: {enforceNodeAllocatable: [pods, kube-reserved]}}",
            "`kube-reserved` is enforced on a cgroup, and none is named: the kubelet would not start",
        ),
        (
            "kubelet: {config: {enforceNodeAllocatable: [system-reserved-compressible]}}",
            "set `kubelet.config.systemReservedCgroup`",
        ),
        ("proxy: {config: {hostnameOverride: other}}", "`other` is another node than this one, `worker-1`"),
        (
            "cluster: {serviceCIDR: 10.96.0.0/16}\nproxy: {config: {clusterCIDR: 10.96.0.0/12}}",
            "10.96.0.0/12 overlaps the block of the Services",
        ),
        (
            "cluster: {serviceCIDR: 10.96.0.0/16}\nproxy: {config: {clusterCIDR: nonsense}}",
            "is no block of addresses",
        ),
        ("proxy: {config: {clientConnection: {kubeconfig: /a}}}", "kube-proxy has a certificate of its own"),
        ("proxy: {extraArgs: {proxy-mode: ipvs}}", "set `proxy.mode`"),
        ("proxy: {config: {mode: ipvs}}", "proxy.config.mode: is set by kn-agent"),
        (
            "network: {plugin: calico}\nproxy: {config: {iptables: {masqueradeAll: true}}}",
            "proxy.config.iptables.masqueradeAll: pods would see the node",
        ),
        (
            "network: {plugin: calico}\nproxy: {config: {nftables: {masqueradeAll: true}}}",
            "proxy.config.nftables.masqueradeAll: pods would see the node",
        ),
    ]);
    insta::assert_snapshot!("components", report);
    // The control: where nothing enforces policies it may be wanted.
    let machine = Machine::with(&format!(
        "{MINIMUM}network: {{plugin: flannel}}\nproxy: {{config: {{iptables: {{masqueradeAll: true}}}}}}\n"
    ));
    assert_eq!(machine.errors(), "");
}

#[test]
fn restricted_ports_are_read_and_what_would_close_them_for_all_is_refused() {
    let report = report_over_minimum(&[
        ("firewall: {restrict: [{prt: 1}]}", "did you mean `port`?"),
        ("firewall: {restrict: 10250}", "expected a list of mappings with `allow`, `port`"),
        ("firewall: {restrict: [10250]}", "firewall.restrict[0]: expected a mapping with `allow`, `port`"),
        ("firewall: {restrict: [{port: 70000, allow: [10.0.0.0/8]}]}", "`70000` is no port"),
        ("firewall: {restrict: [{allow: [10.0.0.0/8]}]}", "firewall.restrict[0].port: missing"),
        ("firewall: {restrict: [{port: 10250}]}", "nobody would reach this port"),
        ("firewall:\n  restrict:\n  - {port: 10250, allow: [10.0.0.7]}", "firewall.restrict[0].allow[0]"),
        ("firewall: {restrict: [{port: 10250, allow: [10.0.0.1/8]}]}", "write 10.0.0.0/8"),
        (
            "firewall: {restrict: [{port: 1, allow: [10.0.0.0/8]}, {port: 1, allow: ['fd00::/8']}]}",
            "firewall.restrict[1]: port 1 is restricted already",
        ),
    ]);
    insta::assert_snapshot!("firewall", report);
    let machine = Machine::with(&format!(
        "{MINIMUM}firewall: {{restrict: [{{port: 10250, allow: [10.0.0.0/8, 'fd00::/8']}}]}}\n"
    ));
    let restrict = machine.load().unwrap().config.firewall.restrict;
    assert_eq!((restrict.len(), restrict[0].port, restrict[0].allow.len()), (1, 10_250, 2));
}

#[test]
fn ca_errors_name_the_file() {
    let base64 =
        |text: &str| serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap();
    let no_pem = base64("no certificate");
    let report = report_over_minimum(&[
        (
            "cluster: {ca: {file: /missing.pem}}",
            "cannot read `/missing.pem`: No such file or directory (os error 2)",
        ),
        ("cluster: {ca: {file: ca.pem}}", "no absolute path"),
        ("cluster: {ca: {file: /token}}", "`/token`: no PEM certificate in it"),
        ("cluster: {ca: {file: /ca.pem, data: x}}", "both `data` and `file` are given; keep one of them"),
        ("cluster: {ca: {data: nonsense}}", "no PEM certificate"),
        (&format!("cluster: {{ca: {{data: {}}}}}", no_pem.as_str().unwrap()), "no PEM certificate"),
        (
            "cluster:\n  ca:\n    data: |\n      -----BEGIN CERTIFICATE-----\n      AAAA\n      -----END CERTIFICATE-----",
            "certificate 1 in the PEM text is damaged",
        ),
    ]);
    insta::assert_snapshot!("ca", report);
    let pem = ca_pem();
    for data in [json!(pem), base64(&pem)] {
        let machine =
            Machine::with(&json!({"cluster": {"server": "https://a", "ca": {"data": data}}}).to_string());
        assert_eq!(machine.load().unwrap().config.cluster.ca, CaSource::Pem(pem.clone()));
    }
}
