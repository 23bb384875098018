//! A kubeconfig of kube-proxy's that was made elsewhere: what it must lead to.

use serde_json::{Value, json};

use super::messages::check_said;
use super::supplied::{Operator, Order, said};
use super::{Phase, settle};
use crate::reason::Reason;

/// What a test does to a kubeconfig before it is written.
type Edit = fn(&mut Value);

#[test]
fn a_kubeconfig_that_leads_nowhere_or_to_anybody_is_refused() {
    let operator = Operator::new();
    let mut world = operator.node(&Order::node());
    operator.kubeconfig(&mut world, &Order::proxy(), |_| {});
    settle(&mut world);
    let start = "KubeconfigUnusable! proxy.kubeconfig `/kube-proxy.kubeconfig`: ";
    let cases: [(Edit, &str); 9] = [
        (|f| f["current-context"] = json!(""), "it has no current-context"),
        (|f| f["current-context"] = json!("x"), "its current-context `x` does not exist"),
        (|f| f["clusters"] = json!([]), "its cluster `kubernetes` does not exist"),
        (|f| f["users"] = json!([]), "its user `kube-proxy` does not exist"),
        (
            |f| f["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!(true),
            "it has `insecure-skip-tls-verify: true`: anybody could pose as the API server",
        ),
        (
            |f| f["clusters"][0]["cluster"] = json!({"server": "https://10.0.0.1:6443"}),
            "it has neither `certificate-authority-data` nor `certificate-authority`",
        ),
        (
            |f| f["clusters"][0]["cluster"]["server"] = json!("http://10.0.0.1"),
            "its server is `http://10.0.0.1`, expected https://HOST:PORT",
        ),
        (
            |f| f["users"][0]["user"] = json!({"username": "a"}),
            "its user `kube-proxy` has neither a client certificate nor a token",
        ),
        (
            |f| f["users"][0]["user"]["client-key-data"] = Value::Null,
            "its user `kube-proxy` has a client certificate and no key",
        ),
    ];
    for (edit, expected) in cases {
        operator.kubeconfig(&mut world, &Order::proxy(), edit);
        assert_eq!(said(&world, Phase::ProxyIdentity), format!("{start}{expected}"));
    }
    operator.put("kube-proxy.kubeconfig", "users: [{", 0o600);
    operator.look(&mut world);
    assert_eq!(said(&world, Phase::ProxyIdentity), format!("{start}it does not parse as a kubeconfig"));
    operator.put("kube-proxy.kubeconfig", "{}", 0o644);
    operator.look(&mut world);
    assert_eq!(
        said(&world, Phase::ProxyIdentity),
        "KeyExposed! proxy.kubeconfig `/kube-proxy.kubeconfig` has mode 0644, expected 0600"
    );
    operator.kubeconfig(&mut world, &Order { days: (-20, -10), ..Order::proxy() }, |_| {});
    assert!(said(&world, Phase::ProxyIdentity).starts_with("SuppliedExpired! proxy.kubeconfig "));
}

#[test]
fn a_kubeconfig_may_name_files_hold_a_token_and_lead_to_another_address() {
    let operator = Operator::new();
    let mut world = operator.node(&Order::node());
    operator.kubeconfig(&mut world, &Order::proxy(), |_| {});
    settle(&mut world);
    let (certificate, key) = operator.issue(&Order::proxy());
    std::fs::create_dir(operator.directory.path().join("pki")).unwrap();
    operator.put("pki/ca.pem", &operator.ca, 0o644);
    operator.put("pki/proxy.pem", &certificate, 0o644);
    operator.put("pki/proxy-key.pem", &key, 0o600);
    let files = |fields: &mut Value| {
        fields["clusters"][0]["cluster"] =
            json!({"server": "https://10.0.0.9:6443", "certificate-authority": "/pki/ca.pem"});
        fields["users"][0]["user"] =
            json!({"client-certificate": "pki/proxy.pem", "client-key": "pki/proxy-key.pem"});
    };
    operator.kubeconfig(&mut world, &Order::proxy(), files);
    let told = said(&world, Phase::ProxyIdentity);
    assert!(
        told.starts_with("ok: proxy.kubeconfig `/kube-proxy.kubeconfig`: system:kube-proxy, valid for "),
        "{told}"
    );
    assert!(
        told.ends_with("; its server is https://10.0.0.9:6443, cluster.server is https://10.0.0.1:6443"),
        "{told}"
    );
    operator.kubeconfig(&mut world, &Order::proxy(), |fields| {
        fields["users"][0]["user"] = json!({"token": "canary"});
    });
    assert_eq!(said(&world, Phase::ProxyIdentity), "ok: proxy.kubeconfig `/kube-proxy.kubeconfig`: a token");
    assert!(!format!("{:?}", world.observed).contains("canary"));
}

#[test]
fn supplied_files_are_checked_and_hold_back_only_what_uses_them() {
    let operator = Operator::new();
    let mut world = operator.node(&Order::node());
    operator.kubeconfig(&mut world, &Order::proxy(), |_| {});
    for name in ["certificate", "kubeconfig"] {
        let said = check_said(&world, name);
        assert!(said.starts_with("ok: ") && said.contains("valid for"), "{said}");
    }
    operator.put("node-key.pem", &operator.issue(&Order::node()).1, 0o600);
    operator.put("kube-proxy.kubeconfig", "users: canary", 0o600);
    operator.look(&mut world);
    for (name, reason, said) in [
        ("certificate", Reason::CertificateUnusable, "is the key of another certificate"),
        ("kubeconfig", Reason::KubeconfigUnusable, "does not parse"),
    ] {
        let found = check_said(&world, name);
        assert!(found.starts_with(reason.as_str()), "{found}");
        assert!(found.contains(said) && !found.contains("canary"), "{found}");
    }
    assert!(world.plan().verdicts[&Phase::Preflight].is_satisfied());
    std::fs::remove_file(operator.directory.path().join("node.pem")).unwrap();
    operator.look(&mut world);
    assert!(check_said(&world, "certificate").contains("does not exist"));
}
