//! Whom the node trusts, and what was issued before.

use super::*;

const PIN: &str = "sha256:7c2e69131a36ae2a042a339b33381c6d0d43887e2de83720eff5359e26aec866";

#[test]
fn trust_and_identity_errors_say_what_to_write() {
    let with_pins = |more: &str| format!("cluster: {{ca: {{pins: ['{PIN}']}}}}\n{more}");
    let fixed = with_pins("identity: {token: {value: d18f94b5fa585c7123f56803d925d2e7}}");
    let report = report_over_minimum(&[
        ("cluster: {ca: {pins: []}}", "cluster.ca.pins: an empty list"),
        ("cluster: {ca: {pins: sha256:ab}}", "expected a list of texts"),
        (
            "cluster: {ca: {pins: ['sha256:ab']}}",
            "it has 2 digits; expected `sha256:` and 64 hexadecimal digits",
        ),
        ("cluster: {ca: {pins: ['md5:ab']}}", "only sha256 is known"),
        ("cluster: {ca: {pin: ['md5:ab']}}", "did you mean `pins`?"),
        (&format!("cluster: {{ca: {{file: /ca.pem, pins: ['{PIN}']}}}}"), "both `file` and `pins` are given"),
        (&fixed, "a static token signs nothing"),
        ("cluster: {clientCA: {file: /missing.pem}}", "cluster.clientCA.file: cannot read `/missing.pem`"),
        ("cluster: {clientCA: {data: nonsense}}", "cluster.clientCA.data: no PEM certificate"),
        ("identity: {mode: certificates}", "did you mean `certificate`?"),
        ("identity: {mode: certificate}", "identity.keyFile: missing"),
        ("identity: {mode: certificate, certFile: a.pem, keyFile: /b}", "`a.pem` is no absolute path"),
        ("identity: {certFile: /a, keyFile: /b}", "set `identity.mode: certificate`, or remove it"),
        (
            "identity: {mode: certificate, certFile: /a, keyFile: /b}\nkubelet: {config: {rotateCertificates: true}}",
            "kubelet.config.rotateCertificates: is set by kn-agent in mode `certificate`",
        ),
        ("proxy: {kubeconfig: kube-proxy.kubeconfig}", "`kube-proxy.kubeconfig` is no absolute path"),
        ("proxy: {extraArgs: {kubeconfig: /a}}", "this flag is set by kn-agent; set `proxy.kubeconfig`"),
    ]);
    insta::assert_snapshot!("trust", report);
}

#[test]
fn pins_a_pair_and_a_kubeconfig_are_taken_as_they_are() {
    let machine = Machine::with(&format!(
        "cluster: {{server: 'https://a', ca: {{pins: ['{}']}}, clientCA: {{file: /ca.pem}}}}\n\
         identity: {{mode: certificate, certFile: /a.pem, keyFile: /a-key.pem}}\nproxy: {{kubeconfig: /p}}\n",
        PIN.to_uppercase()
    ));
    let config = machine.load().unwrap().config;
    assert_eq!(config.cluster.ca, CaSource::Pins(vec![PIN.parse().unwrap()]));
    assert_eq!(config.cluster.client_ca, Some(ClientCaSource::File("/ca.pem".into())));
    let pair = SuppliedPair { certificate: "/a.pem".into(), key: "/a-key.pem".into() };
    assert_eq!((config.identity.supplied, config.identity.token), (Some(pair), None));
    assert_eq!(config.proxy.kubeconfig, Some("/p".into()));
}

#[test]
fn a_later_choice_of_the_ca_replaces_the_pins() {
    let machine = Machine::with(&format!("cluster: {{server: 'https://a', ca: {{pins: ['{PIN}']}}}}\n"));
    machine.write("/etc/kn-agent/config.d/10-ca.yaml", "cluster: {ca: {file: /ca.pem}}\n", 0o644);
    assert_eq!(machine.load().unwrap().config.cluster.ca, CaSource::File("/ca.pem".into()));
}
