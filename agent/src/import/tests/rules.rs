//! What becomes of flags.

use super::super::flags::{Flag, Meaning};
use super::super::values::Kind;
use super::*;
use crate::desired::versions::{Component, SUPPORTED, Setting, Sort, settings};

#[test]
fn tables_are_in_order_and_name_a_source_for_what_is_gone() {
    for table in [flags::KUBELET, flags::PROXY, flags::DOCKERD] {
        let names: Vec<&str> = table.iter().map(|flag| flag.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        for Flag { name, meaning, .. } in table {
            if let Meaning::Gone(release, instead, source) = meaning {
                let minor: u16 = release.strip_prefix("1.").unwrap().parse().unwrap();
                assert!((10..=36).contains(&minor) && !instead.is_empty() && !source.is_empty(), "{name}");
            }
        }
    }
}

/// Kubernetes' own data, of every version that is supported, says the same: two lists that nobody keeps together by hand.
#[test]
fn tables_agree_with_what_kubernetes_says_of_its_flags() {
    let mut seen = [0; 3];
    for (component, table) in [(Component::Kubelet, flags::KUBELET), (Component::KubeProxy, flags::PROXY)] {
        for flag in table {
            let of = |s: &&Setting| s.component == component && s.sort == Sort::Flag && s.name == flag.name;
            let spans: Vec<&Setting> = settings().iter().filter(of).collect();
            let (last, fields) = (spans.last().map(|s| s.last), spans.iter().filter_map(|s| s.field));
            let fields: Vec<&str> = fields.collect();
            match flag.meaning {
                Meaning::Field(field, _) if !fields.is_empty() => {
                    assert!(fields.contains(&field), "--{}: {field}, not {fields:?}", flag.name);
                    seen[0] += 1;
                }
                Meaning::Gone(release, ..) => {
                    let minor: u16 = release.strip_prefix("1.").unwrap().parse().unwrap();
                    // Before what is supported, the data does not know it at all.
                    assert_eq!(last.map_or(minor.min(20), |last| last + 1), minor, "--{}", flag.name);
                    seen[1] += 1;
                }
                Meaning::Flag => {
                    assert_eq!(last, Some(SUPPORTED.1), "--{}", flag.name);
                    seen[2] += 1;
                }
                _ => {}
            }
        }
    }
    assert!(seen[0] > 60 && seen[1] > 10 && seen[2] > 4, "{seen:?}");
}

/// A value for a flag that is not its default, and that can be found again.
fn value_for(flag: &Flag) -> &'static str {
    match (flag.name, flag.meaning) {
        (_, Meaning::Field(_, Kind::Bool)) if flag.default == "true" => "false",
        (_, Meaning::Field(_, Kind::Bool)) => "true",
        (_, Meaning::Field(_, Kind::Number)) => "77",
        (_, Meaning::Field(_, Kind::Map)) => "x77=y",
        (_, Meaning::Field(_, Kind::Thresholds)) => "x77<1",
        (_, Meaning::Field(_, Kind::Gates)) => "x77=true",
        ("cluster-dns" | "node-ip", _) => "10.0.0.77",
        ("node-labels", _) => "x77=y",
        ("register-with-taints", _) => "x77=y:NoSchedule",
        ("cluster-cidr", _) => "10.77.0.0/16",
        ("proxy-mode", _) => "nftables",
        ("hostname-override", _) => "x77",
        ("cluster-domain", _) => "x77.y",
        ("container-runtime", _) => "docker",
        ("container-runtime-endpoint", _) => "/x77/containerd.sock",
        _ => "/x77",
    }
}

#[test]
fn no_flag_is_lost_unsaid() {
    let mut seen = 0;
    for (program, table) in
        [("kubelet", flags::KUBELET), ("kube-proxy", flags::PROXY), ("dockerd", flags::DOCKERD)]
    {
        for flag in table {
            let (name, value) = (flag.name, value_for(flag));
            let (config, notes) = unit(&format!("/k/{program} --{name}={value}")).unwrap();
            let config = config.replace("/k/", "");
            let is_field = matches!(flag.meaning, Meaning::Field(field, _)
                if config.contains(field.rsplit('.').next().unwrap_or_default()));
            let is_kept = config.contains(value.split(['=', '<']).next().unwrap_or_default());
            let is_told = notes.contains(&format!("--{name}={value}: "));
            assert!(is_told || is_kept || is_field, "{program} --{name}={value}:\n{config}\n{notes}");
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen}");
    // The control: what is given to no program is in neither.
    let (config, notes) = unit("/k/kubelet").unwrap();
    assert!(!config.contains("77") && !notes.contains("77"), "{config}{notes}");
}

#[test]
fn the_runtime_is_the_one_the_kubelet_had() {
    let remote = "/k/kubelet --container-runtime=remote --container-runtime-endpoint";
    for (command, kind) in [
        (format!("{remote}=unix:///run/containerd/containerd.sock"), "containerd"),
        (format!("{remote}=/run/containerd/containerd.sock"), "containerd"),
        (
            "/k/kubelet --container-runtime-endpoint=unix:///run/containerd/containerd.sock".to_owned(),
            "containerd",
        ),
        (format!("{remote}=unix:///var/run/cri-dockerd.sock"), "docker"),
        ("/k/kubelet --container-runtime=docker".to_owned(), ""),
        // A kubelet that runs its own dockershim does not look at the endpoint.
        ("/k/kubelet --container-runtime=docker --container-runtime-endpoint=unix:///x.sock".to_owned(), ""),
    ] {
        let (config, notes) = unit(&command).unwrap();
        assert_eq!(key(&config, "/runtime/kind").as_str().unwrap_or_default(), kind, "{command}: {config}");
        for flag in command.split(" --").skip(1) {
            assert!(notes.contains(&format!("--{flag}: ")), "{command}: {flag}: {notes}");
        }
    }
}

#[test]
fn labels_that_a_node_may_not_give_itself_are_left_out_and_told() {
    let (config, notes) = unit(
        "/k/kubelet --node-labels=gpu=,kubernetes.io/role=node,zone=a --node-labels=node-role.kubernetes.io/worker=",
    )
    .unwrap();
    let labels = key(&config, "/node/labels");
    assert_eq!(labels, serde_json::json!({"gpu": "", "zone": "a"}), "{config}");
    for part in [
        "--node-labels: kubernetes.io/role=node: dropped: the API server lets no node set labels of `kubernetes.io`",
        "--node-labels: node-role.kubernetes.io/worker=: dropped:",
        "roles are set from outside: `kubectl label node`",
    ] {
        assert!(notes.contains(part), "{notes}\nwithout {part}");
    }
}

#[test]
fn flags_given_again_add_up_where_the_kubelet_adds_them_up() {
    let (config, notes) = unit(
        "/k/kubelet --node-labels=a=1 --node-labels=b=2 --cluster-dns=10.0.0.2 --cluster-dns=10.0.0.3 \
         --register-with-taints=a=b:NoExecute --register-with-taints=c=d:NoSchedule",
    )
    .unwrap();
    assert_eq!(key(&config, "/node/labels"), serde_json::json!({"a": "1", "b": "2"}));
    assert_eq!(key(&config, "/kubelet/config/clusterDNS"), serde_json::json!(["10.0.0.2", "10.0.0.3"]));
    assert_eq!(key(&config, "/node/taints"), serde_json::json!(["c=d:NoSchedule"]));
    assert!(
        notes.contains("--register-with-taints=a=b:NoExecute: dropped: given again further down"),
        "{notes}"
    );
}

#[test]
fn a_kubeconfig_may_be_json_and_no_secret_of_it_is_repeated() {
    let json = r#"{"apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.9:6443", "certificate-authority": "/ca.pem"}}],
        "users": [{"name": "u", "user": {"token": "abcdef.0123456789abcdef"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}"#;
    let (config, notes) = imported(
        &[("x.service", "[Service]\nExecStart=/k/kubelet --bootstrap-kubeconfig=/k\n"), ("k", json)],
        "",
    )
    .unwrap();
    assert_eq!(key(&config, "/cluster/server"), "https://10.0.0.9:6443", "{config}");
    assert!(!config.contains("0123456789abcdef") && !notes.contains("0123456789abcdef"), "{config}{notes}");
    assert!(notes.contains("token"), "{notes}");
}

#[test]
fn an_unknown_flag_is_kept_and_told() {
    let (config, notes) = unit("/k/kubelet --frobnicate 3 --max-pod=5").unwrap();
    assert_eq!(key(&config, "/kubelet/extraArgs/frobnicate"), "3");
    assert!(
        notes.contains("x.service:2: --frobnicate=3: kept in kubelet.extraArgs, but not known here"),
        "{notes}"
    );
    assert!(
        notes.contains(
            "--max-pod=5: kept in kubelet.extraArgs, but not known here (did you mean `--max-pods`?)"
        ),
        "{notes}"
    );
    let (config, notes) = unit("/k/kube-proxy --frobnicate").unwrap();
    assert_eq!(key(&config, "/proxy/extraArgs/frobnicate"), "true");
    assert!(notes.contains("kube-proxy ignores most flags"), "{notes}");
    let (_, notes) = unit("/k/dockerd --frobnicate").unwrap();
    assert!(notes.contains("--frobnicate: dropped: not known here"), "{notes}");
}

#[test]
fn what_lets_anybody_in_is_dropped_and_said_why() {
    for (command, part) in [
        ("/k/kubelet --anonymous-auth", "--anonymous-auth: dropped: kn-agent always sets `false`: anybody"),
        ("/k/kubelet --anonymous-auth=true", "always sets `false`"),
        ("/k/kubelet --authorization-mode AlwaysAllow", "always sets `Webhook`"),
        ("/k/kubelet --read-only-port=10255", "always sets `0`: that port answers everybody"),
        ("/k/kube-proxy --masquerade-all", "network policies would be void"),
        (
            "/k/dockerd -H tcp://0.0.0.0:2375",
            "-H=tcp://0.0.0.0:2375: dropped: docker answers on its own socket",
        ),
    ] {
        let (config, notes) = unit(command).unwrap();
        assert!(notes.contains(part), "{command}: {notes}");
        for word in ["anonymous", "AlwaysAllow", "10255", "masquerade", "tcp:"] {
            assert!(!config.contains(word), "{command}: {config}");
        }
    }
}

#[test]
fn the_block_of_pods_is_a_key_and_that_of_services_is_told_apart() {
    let (config, notes) = unit("/k/kube-proxy --cluster-cidr=172.20.0.0/16").unwrap();
    assert_eq!(key(&config, "/cluster/podCIDR"), "172.20.0.0/16");
    assert!(notes.contains("never that of the Services"), "{notes}");
}

#[test]
fn both_programs_go_by_the_kubelets_name() {
    let kubelet = "[Service]\nExecStart=/k/kubelet --hostname-override=a\n";
    let proxy = |name: &str| format!("[Service]\nExecStart=/k/kube-proxy --hostname-override={name}\n");
    let run = |name: &str| {
        imported(&[("kubelet", kubelet), ("proxy", &proxy(name)), ("k", KUBECONFIG)], "").unwrap()
    };
    let (config, notes) = run("b");
    assert_eq!(key(&config, "/node/name"), "a");
    assert!(notes.contains("proxy:2: --hostname-override=b: dropped: the kubelet's is `a`"), "{notes}");
    assert!(!run("a").1.contains("--hostname-override"));
}

#[test]
fn a_flag_given_twice_counts_once_or_adds_up() {
    let (config, notes) =
        unit("/k/kubelet --v=1 --kube-reserved=cpu=1 --v=2 --kube-reserved=memory=1Gi").unwrap();
    assert_eq!(key(&config, "/kubelet/extraArgs/v"), "2");
    assert_eq!(
        key(&config, "/kubelet/config/kubeReserved"),
        serde_json::json!({"cpu": "1", "memory": "1Gi"})
    );
    assert!(notes.contains("--v=1: dropped: given again"), "{notes}");
}

#[test]
fn domain_and_address_of_the_dns_belong_together() {
    let (config, notes) = unit("/k/kubelet --cluster-domain=example.org.").unwrap();
    assert_eq!(key(&config, "/cluster/dns/domain"), "example.org");
    assert!(
        notes.contains("changed: `example.org`") && notes.contains("Service kube-system/kube-dns"),
        "{notes}"
    );
    let (config, _) = unit("/k/kubelet --cluster-dns=10.0.0.2,10.0.0.3 --cluster-domain=a.b").unwrap();
    assert_eq!(key(&config, "/kubelet/config/clusterDNS"), serde_json::json!(["10.0.0.2", "10.0.0.3"]));
    assert_eq!(key(&config, "/kubelet/config/clusterDomain"), "a.b");
}

#[test]
fn identity_follows_from_what_is_there() {
    let kubeconfig = |user: &str| format!("{KUBECONFIG}users: [{{name: u, user: {{{user}}}}}]\n");
    let run = |flags: &str, user: &str| {
        let unit = format!("[Service]\nExecStart=/k/kubelet --kubeconfig=/etc/kubelet.conf {flags}\n");
        imported(&[("x.service", &unit), ("kubelet.conf", &kubeconfig(user))], "").unwrap()
    };
    let pair = "client-certificate: /a.pem, client-key: /a.key";
    let (config, notes) = run("--tls-cert-file=/s.pem --tls-private-key-file=/s.key", pair);
    assert_eq!(key(&config, "/identity/certFile"), "/a.pem");
    assert!(notes.contains("--tls-cert-file=/s.pem: dropped: the kubelet serves with"), "{notes}");
    let (config, _) = run("--tls-cert-file=/s.pem --tls-private-key-file=/s.key", "");
    assert_eq!(key(&config, "/identity/keyFile"), "/s.key");
    let (config, notes) =
        run("--tls-cert-file=/s.pem --tls-private-key-file=/s.key --bootstrap-kubeconfig=/b", "");
    assert_eq!(key(&config, "/identity/token/file"), "/etc/kn-agent/token");
    assert!(notes.contains("--tls-cert-file=/s.pem: dropped: the kubelet asks"), "{notes}");
    // What the kubelet renews itself came from a token.
    let own = "client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem, \
               client-key: /var/lib/kubelet/pki/kubelet-client-current.pem";
    let (config, notes) = run("", own);
    assert_eq!(key(&config, "/identity/token/file"), "/etc/kn-agent/token");
    assert!(notes.contains("no file holds one"), "{notes}");
    let (_, notes) = run("", "token: abcdef.0123456789abcdef");
    assert!(notes.contains("bootstrap token abcdef: not repeated here"), "{notes}");
    assert!(!notes.contains("0123456789abcdef"), "{notes}");
    let (_, notes) = run("", "token: too-short");
    assert!(notes.contains("no bootstrap token") && !notes.contains("too-short"), "{notes}");
}

#[test]
fn a_token_of_kube_proxys_is_none_of_the_nodes() {
    let kubelet = "[Service]\nExecStart=/k/kubelet --tls-cert-file=/s.pem --tls-private-key-file=/s.key\n";
    let proxy = "[Service]\nExecStart=/k/kube-proxy --kubeconfig=/etc/p.kubeconfig\n";
    let kubeconfig = format!("{KUBECONFIG}users: [{{name: u, user: {{token: abcdef.0123456789abcdef}}}}]\n");
    let files = [("kubelet", kubelet), ("proxy", proxy), ("p.kubeconfig", kubeconfig.as_str())];
    let (config, notes) = imported(&files, "").unwrap();
    assert_eq!(key(&config, "/identity/mode"), "certificate");
    assert_eq!(key(&config, "/proxy/kubeconfig"), "/etc/p.kubeconfig");
    assert!(!notes.contains("not repeated here: put"), "{notes}");
    // The control: under another name it is the node's.
    let files = [("kubelet", kubelet), ("proxy", proxy), ("b.kubeconfig", kubeconfig.as_str())];
    assert_eq!(key(&imported(&files, "").unwrap().0, "/identity/token/file"), "/etc/kn-agent/token");
}

#[test]
fn modes_of_kube_proxy_are_kept_where_there_are_such() {
    for (mode, kept) in
        [("ipvs", true), ("nftables", true), ("iptables", false), ("userspace", false), ("x", false)]
    {
        let (config, notes) = unit(&format!("/k/kube-proxy --proxy-mode={mode}")).unwrap();
        assert_eq!(config.contains(&format!("mode: {mode}")), kept, "{config}");
        assert_eq!(notes.contains(&format!("--proxy-mode={mode}: dropped")), !kept, "{notes}");
    }
}
