//! What a person reads where something is wrong, word for word: reason, what was found, what was expected.

use std::path::PathBuf;

use serde_json::{Map, json};

use super::parts::{conf, engine_with};
use super::world::World;
use super::{Phase, Step, Verdict, settle};
use crate::config::Config;
use crate::desired::{DaemonJson, Program, paths, units};
use crate::observe::{Observed, proxies::OtherProxy};
use crate::plan::View;
use crate::plan::preflight::{self, Outcome};
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::ports::systemd::UnitState;
use crate::reason::Reason;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};

pub(super) fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Satisfied(note) => format!("ok: {note}"),
        Verdict::Unmet { reason, message, .. } => {
            format!("{reason}: {message}")
        }
        other => panic!("{other:?}"),
    }
}

/// What `phase` says of a machine before joining.
pub(super) fn fresh(phase: Phase, change: impl FnOnce(&mut Config, &mut Observed)) -> String {
    let mut world = World::fresh();
    world.edit(change);
    text(&world.plan().verdicts[&phase])
}

/// What `phase` says of a Ready node.
pub(super) fn joined(phase: Phase, change: impl FnOnce(&mut Config, &mut Observed)) -> String {
    let mut world = World::fresh();
    assert!(settle(&mut world).is_ready());
    world.edit(change);
    // What another configuration needs no more goes first.
    let steps = super::steps(&world.plan());
    for step in steps.iter().filter(|step| matches!(step, Step::RetireUnit(_))) {
        world.apply(step);
    }
    text(&world.plan().verdicts[&phase])
}

pub(super) fn preflight(change: impl FnOnce(&mut Config, &mut Observed)) -> String {
    fresh(Phase::Preflight, change)
}

pub(super) fn keys(value: serde_json::Value) -> Map<String, serde_json::Value> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn programs_that_are_missing_too_old_or_do_not_know_a_flag() {
    assert_eq!(preflight(|_, _| {}), "ok: 17 checks");
    assert_eq!(
        preflight(|_, observed| observed.facts.kubelet = Program::default()),
        "BinaryMissing: check kubelet: no executable `kubelet` in /usr/local/bin, /usr/bin, /opt/kube/bin, /opt/bin, \
         /usr/sbin, /usr/local/sbin; it comes with the package kubelet of Kubernetes' own repositories, and with each of \
         its releases"
    );
    assert_eq!(
        preflight(|config, observed| {
            config.kubelet.binary = Some("/opt/k/kubelet-1.36".into());
            observed.facts.kubelet = Program::default();
            // Of the same name, and not the one that is meant.
            observed.facts.not_executable = vec!["/opt/k/kubelet".into()];
        }),
        "BinaryMissing: check kubelet: `/opt/k/kubelet-1.36` is not there; it comes with the package kubelet of \
         Kubernetes' own repositories, and with each of its releases"
    );
    assert_eq!(
        preflight(|_, observed| {
            observed.facts.kubelet = Program::default();
            observed.facts.not_executable = vec!["/usr/bin/kube-proxy".into(), "/usr/bin/kubelet".into()];
        }),
        "BinaryMissing: check kubelet: `/usr/bin/kubelet` is there and can't be executed: chmod 0755 /usr/bin/kubelet"
    );
    assert_eq!(
        preflight(|_, observed| observed.facts.kubelet.version = "v1.19.9".parse().ok()),
        "UnsupportedVersion: check kubelet: `/usr/bin/kubelet` is 1.19.9, supported are 1.20 to 1.36"
    );
    assert_eq!(
        preflight(|config, observed| {
            config.kubelet.extra_args.insert("cni-bin-dir2".to_owned(), "/x".to_owned());
            observed.facts.kubelet.flags = vec!["v".to_owned()];
        }),
        "UnknownFlag: check kubelet-flags: kubelet.extraArgs.cni-bin-dir2: kubelet 1.36 has no such flag"
    );
    assert_eq!(
        preflight(|_, observed| observed.facts.proxy = Program::default()),
        "BinaryMissing: check kube-proxy: no executable `kube-proxy` in /usr/local/bin, /usr/bin, /opt/kube/bin, \
         /opt/bin, /usr/sbin, /usr/local/sbin; it is among the server binaries of each release of Kubernetes"
    );
    assert_eq!(
        preflight(|_, observed| observed.facts.cri_dockerd = None),
        "BinaryMissing: check cri-dockerd: no executable `cri-dockerd` in /usr/local/bin, /usr/bin, /opt/kube/bin, \
         /opt/bin, /usr/sbin, /usr/local/sbin; the releases of github.com/Mirantis/cri-dockerd have it as a package and \
         as a program"
    );
}

#[test]
fn docker_that_is_missing_masked_or_contradicts_the_kubelet() {
    let state = |load: &str| Ok(UnitState { load: load.to_owned(), ..UnitState::default() });
    assert_eq!(
        preflight(|_, observed| _ = observed.units.insert(units::DOCKER, state("not-found"))),
        "BinaryMissing: check docker: docker.service is not-found; install docker (Debian: docker.io)"
    );
    assert_eq!(
        preflight(|_, observed| _ = observed.units.insert(units::DOCKER, state("masked"))),
        "UnitMasked: check docker: docker.service is masked"
    );
    assert_eq!(
        preflight(|_, observed| {
            observed.facts.daemon_json = DaemonJson::Broken("`/etc/docker/daemon.json`: EOF".to_owned());
        }),
        "FileTrouble: check daemon-json: `/etc/docker/daemon.json`: EOF"
    );
    assert_eq!(
        preflight(|config, _| {
            config.runtime.daemon_json = keys(json!({"exec-opts": ["native.cgroupdriver=systemd"]}));
            config.kubelet.config = keys(json!({"cgroupDriver": "cgroupfs"}));
        }),
        "CgroupDriverMismatch: check cgroup-driver: docker would use systemd, the kubelet cgroupfs \
         (kubelet.config.cgroupDriver)"
    );
    assert_eq!(
        joined(Phase::Runtime, |_, observed| observed.engine.info = engine_with("cgroupfs").info),
        "CgroupDriverMismatch: docker uses the cgroup driver cgroupfs, the kubelet would use systemd"
    );
}

#[test]
fn a_sandbox_image_that_is_absent_is_the_runtimes_and_a_finding_of_check() {
    let lacking = |_: &mut Config, observed: &mut Observed| observed.engine.has_sandbox_image = false;
    let missing = "the pod sandbox image `registry.k8s.io/pause:3.10` is not on this node";
    assert_eq!(joined(Phase::Runtime, lacking), format!("SandboxImageMissing: {missing}"));
    let running = engine_with("systemd");
    assert_eq!(preflight(|_, observed| observed.engine = running.clone()), "ok: 17 checks");
    let mut world = World::fresh();
    assert!(check_said(&world, "sandbox-image").starts_with("ok: "));
    world.edit(|_, observed| observed.engine = running);
    assert_eq!(check_said(&world, "sandbox-image"), format!("SandboxImageMissing: {missing}"));
}

/// What the check of this name says before the node has joined.
pub(super) fn check_said(world: &World, name: &str) -> String {
    let view = View { config: &world.config, desired: None, observed: &world.observed, now: world.now };
    match preflight::checks(view).into_iter().find(|check| check.name == name).unwrap().outcome {
        Outcome::Passed(found) => format!("ok: {found}"),
        Outcome::NotYet(lacks) => format!("not yet: {lacks}"),
        Outcome::Failed(reason, found) => format!("{reason}: {found}"),
    }
}

#[test]
fn a_check_that_is_ignored_holds_nothing_back_and_one_that_does_not_exist_is_told() {
    let ignore = |config: &mut Config, check: &str| assert!(config.preflight.ignore.insert(check.to_owned()));
    assert_eq!(
        preflight(|config, _| ignore(config, "kublet")),
        "PreflightFailed: check ignore: preflight.ignore: there is no check `kublet`; there are kubelet, \
         kubelet-config, kubelet-flags, kube-proxy, kube-proxy-config, kube-proxy-flags, proxy-mode, cri-dockerd, docker, daemon-json, \
         containerd, containerd-config, cgroup-driver, swap, address, sandbox-image, images, cni-plugins, cni-conf, cni-programs, \
         cni-tunnels, certificate, kubeconfig, firewall"
    );
    let old = |config: &mut Config, observed: &mut Observed| {
        observed.facts.kubelet.version = "v1.37.0".parse().ok();
        ignore(config, "kubelet");
    };
    assert_eq!(preflight(old), "ok: 17 checks, ignored: kubelet");
    let mut world = World::fresh();
    world.edit(old);
    assert!(settle(&mut world).is_ready());
    // What a later phase would say again is ignored there too.
    assert!(
        joined(Phase::Network, |config, observed| {
            ignore(config, "cni-conf");
            ignore(config, "cni-plugins");
            observed.cni.missing = vec!["portmap"];
            observed.cni.confs = Ok(vec![conf("00-other.conf", r#"{"name": "a", "type": "a"}"#)]);
        })
        .starts_with("ok: ")
    );
    assert!(
        joined(Phase::Runtime, |config, observed| {
            ignore(config, "sandbox-image");
            ignore(config, "cgroup-driver");
            observed.engine.has_sandbox_image = false;
            observed.engine.info = engine_with("cgroupfs").info;
        })
        .starts_with("ok: ")
    );
}

/// What Identity says where the node's request is seen so; its name as NAME.
fn identity(seen: Result<Seen<CertificateSigningRequest>, Failure>) -> String {
    let mut world = World::fresh();
    settle(&mut world);
    let name = world.ask_again(seen);
    undated(&text(&world.plan().verdicts[&Phase::Identity]).replace(&name, "NAME"))
}

/// A message without the instants in it, which are those of the test's run.
fn undated(message: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ';', ':']);
        if bare.parse::<jiff::Timestamp>().is_ok() { word.replace(bare, "TIME") } else { word.to_owned() }
    };
    message.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn conditions(of: &[(&str, Option<&str>, Option<&str>)]) -> Seen<CertificateSigningRequest> {
    let condition =
        |&(kind, reason, message): &(&str, Option<&str>, Option<&str>)| CertificateSigningRequestCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: reason.map(str::to_owned),
            message: message.map(str::to_owned),
            ..Default::default()
        };
    let status = CertificateSigningRequestStatus {
        conditions: Some(of.iter().map(condition).collect()),
        certificate: None,
    };
    Seen::Present(Box::new(CertificateSigningRequest { status: Some(status), ..Default::default() }))
}

#[test]
fn a_request_that_is_pending_denied_failed_or_not_issued() {
    assert_eq!(identity(Ok(Seen::NotYet)), "CsrPending: CSR `NAME` is submitted");
    assert_eq!(identity(Ok(conditions(&[]))), "CsrPending: CSR `NAME` waits for approval");
    assert_eq!(
        identity(Ok(conditions(&[("Approved", None, None)]))),
        "CsrUnissued: CSR `NAME` is approved and waits for its signer kubernetes.io/kube-apiserver-client-kubelet"
    );
    assert_eq!(
        identity(Ok(conditions(&[("Denied", Some("NotOurs"), Some("ask in room 5"))]))),
        "CsrDenied: CSR `NAME` was denied: NotOurs: ask in room 5; asked again with a new key at TIME"
    );
    assert_eq!(
        identity(Ok(conditions(&[("Approved", None, None), ("Failed", None, Some("no such usage"))]))),
        "CsrFailed: the signer refused CSR `NAME`: no reason: no such usage; asked again with a new key at TIME"
    );
    assert_eq!(
        identity(Ok(conditions(&[("kn-agent.io/Held", Some("NodeIsLive"), Some("it is Ready"))]))),
        "CsrPending: CSR `NAME` waits for approval; the approver holds it: NodeIsLive: it is Ready"
    );
    // As ours says it.
    assert_eq!(
        identity(Ok(conditions(&[(
            "kn-agent.io/Held",
            Some("NodeIsLive"),
            Some("kn-agent approver: it is Ready")
        )]))),
        "CsrPending: CSR `NAME` waits for approval; the approver holds it: NodeIsLive: it is Ready"
    );
}

#[test]
fn credentials_that_are_refused_and_who_would_allow_them() {
    let refused = |reason, message: &str| Err(Failure::new(reason, format!("cannot watch {message}")));
    assert_eq!(
        identity(refused(Reason::Unauthorized, "it: Unauthorized (HTTP 401)")),
        "Unauthorized: cannot watch it: Unauthorized (HTTP 401); it does not accept the bootstrap token abcdef"
    );
    let forbidden =
        "; ClusterRoleBinding `kn-agent:node-bootstrapper` is missing or not for this token's groups";
    assert_eq!(
        identity(refused(Reason::Forbidden, "it (HTTP 403)")),
        format!("Forbidden: cannot watch it (HTTP 403){forbidden}")
    );
    assert_eq!(
        identity(refused(Reason::ApiUntrusted, "it: UnknownIssuer")),
        "ApiUntrusted: cannot watch it: UnknownIssuer; asked https://10.0.0.1:6443"
    );
    assert_eq!(
        joined(Phase::Registered, |_, observed| {
            let failure = Failure::new(Reason::ApiUntrusted, "cannot watch Node `n1`: UnknownIssuer");
            observed.watched.node = Some(Err(failure));
        }),
        "ApiUntrusted: cannot watch Node `n1`: UnknownIssuer; asked https://10.0.0.1:6443"
    );
    // Where only the creation is refused.
    let mut world = World::fresh();
    settle(&mut world);
    let name = world.ask_again(Ok(Seen::Absent));
    world.fail(&format!("submit CSR {name}"), Failure::new(Reason::Forbidden, "cannot create it"));
    assert_eq!(
        text(&world.plan().verdicts[&Phase::Identity]),
        format!("Forbidden: cannot create it{forbidden}")
    );
    assert_eq!(
        fresh(Phase::Trust, |_, observed| observed.configured_ca = Ok(b"nothing".to_vec())),
        "CaUnusable: cluster.ca: there is no certificate in it"
    );
    let mut world = World::fresh();
    settle(&mut world);
    world.ask_again(Ok(Seen::Absent));
    world.edit(|config, observed| (config.identity.token, observed.token) = (None, Ok(None)));
    assert_eq!(
        text(&world.plan().verdicts[&Phase::Identity]),
        "TokenMissing: there is no certificate yet, and identity.token is not set; on an admin machine run `kn-agent \
         token create --node n1 --print token`, then write it to `/etc/kn-agent/token` (mode 0600) and set `identity: \
         {token: {file: /etc/kn-agent/token}}`"
    );
}

#[test]
fn units_that_fail_and_disks_that_are_full() {
    let failing = |name: &'static str| {
        move |_: &mut Config, observed: &mut Observed| {
            let state = UnitState {
                load: "loaded".to_owned(),
                enabled: "enabled".to_owned(),
                active: "activating".to_owned(),
                sub: "auto-restart".to_owned(),
                restarts: 3,
                exit_status: 1,
                log: vec!["first".to_owned(), "last".to_owned()],
                ..UnitState::default()
            };
            observed.units.insert(name, Ok(state));
        }
    };
    for (phase, name, code) in [
        (Phase::Kubelet, units::KUBELET, "UnitCrashLoop"),
        (Phase::Proxy, units::KUBE_PROXY, "UnitCrashLoop"),
        (Phase::Engine, units::DOCKER, "RuntimeCrashLoop"),
        (Phase::Runtime, units::CRI_DOCKERD, "RuntimeCrashLoop"),
    ] {
        assert_eq!(
            joined(phase, failing(name)),
            format!("{code}: `{name}` was restarted 3 times, last exit status 1\n  first\n  last")
        );
    }
    assert_eq!(
        joined(Phase::Kubelet, |config, observed| {
            failing(units::KUBELET)(config, observed);
            if let Some(Ok(state)) = observed.units.get_mut(units::KUBELET) {
                (state.sub, state.exit_status) = ("start".to_owned(), 0);
            }
        }),
        "UnitCrashLoop: `kubelet.service` was restarted 3 times, and is being started\n  first\n  last"
    );
    assert_eq!(
        joined(Phase::Kubelet, |_, observed| {
            let word = "masked".to_owned();
            let masked = UnitState { load: word.clone(), enabled: word, ..UnitState::default() };
            observed.units.insert(units::KUBELET, Ok(masked));
        }),
        "UnitMasked: `kubelet.service` is masked"
    );
    let mut world = World::fresh();
    let full = "cannot write `/etc/kubernetes/pki/ca.crt`: No space left on device (os error 28)";
    world.fail(&format!("write {}", paths::ca().display()), Failure::new(Reason::DiskFull, full));
    assert_eq!(text(&world.plan().verdicts[&Phase::Trust]), format!("DiskFull: {full}"));
}

#[test]
fn two_kube_proxies_are_told_and_hold_nothing_back() {
    let mut world = World::fresh();
    settle(&mut world);
    world.edit(|_, observed| {
        observed.other_proxies = vec![OtherProxy { pid: 42, cgroup: "/kubepods/pod1/c1".to_owned() }];
    });
    let plan = world.plan();
    assert_eq!(
        text(&plan.verdicts[&Phase::Upkeep]),
        "ProxyTwice: beside `kube-proxy.service` runs another kube-proxy: process 42 in `/kubepods/pod1/c1`"
    );
    assert!(plan.is_ready());
}

#[test]
fn who_gives_a_unit_another_command_line_is_told_whether_it_works_or_not() {
    let drop_in = PathBuf::from("/etc/systemd/system/kube-proxy.service.d/name.conf");
    let told =
        "; its command line is not ours but that of `/etc/systemd/system/kube-proxy.service.d/name.conf`";
    let mut world = World::fresh();
    settle(&mut world);
    let proxy = |world: &World| text(&world.plan().verdicts[&Phase::Proxy]);
    assert!(!proxy(&world).contains("command line"), "{}", proxy(&world));
    world.edit(|_, observed| drop(observed.overrides.insert(units::KUBE_PROXY, vec![drop_in])));
    assert_eq!(proxy(&world), format!("ok: kube-proxy{told}"));
    assert!(world.plan().is_ready());
    world.edit(|_, observed| observed.proxy_health = Err("/healthz answered 503".to_owned()));
    assert_eq!(proxy(&world), format!("Unhealthy: kube-proxy: /healthz answered 503{told}"));
}
