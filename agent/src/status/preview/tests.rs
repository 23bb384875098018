//! A running node, and plans for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::config::{Config, HostFacts, RuntimeKind, Sources, load};
use crate::desired::{DaemonJson, Facts};
use crate::observe::Watched;
use crate::observe::runtime;
use crate::ports::Failure;
use crate::ports::root::FileOnDisk;
use crate::ports::systemd::UnitState;

const BEFORE: &str = "address: 0.0.0.0\nmaxPods: 110\nreadOnlyPort: 0\n";
const AFTER: &str = "address: 0.0.0.0\nmaxPods: 50\nreadOnlyPort: 0\n";
/// When every unit of the node started; its files are older.
const STARTED_USEC: u64 = 1_000_000;

fn config() -> Config {
    let variable = |name: &str, value: &str| (format!("KN_AGENT_{name}"), value.to_owned());
    let root = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed([]).unwrap().cert.pem();
    let env = vec![variable("CLUSTER__SERVER", "https://10.0.0.10:6443"), variable("CLUSTER__CA__DATA", &ca)];
    let sources = Sources { root: root.path().to_owned(), only: None, env };
    load(&sources, &HostFacts { hostname: "worker-1".to_owned(), ..HostFacts::default() }).unwrap().config
}

fn file(content: &str, mode: u32) -> FileOnDisk {
    FileOnDisk { content: content.as_bytes().to_vec(), mode, mtime_usec: 10 }
}

/// A node whose units all run, with `files` on disk.
fn running(files: &[(&Path, FileOnDisk)]) -> Observed {
    let unknown = || Err(Failure::new(Reason::Unobservable, "not looked at"));
    let unit = |&name| {
        let active = "active".to_owned();
        (name, Ok(UnitState { active, active_since_usec: STARTED_USEC, ..UnitState::default() }))
    };
    Observed {
        facts: Facts { cgroup_v2: true, resolv_conf: "/etc/resolv.conf".into(), ..Facts::default() },
        configured_ca: Ok(Vec::new()),
        files: files.iter().map(|(path, file)| ((*path).to_owned(), Ok(Some(file.clone())))).collect(),
        sysctls: BTreeMap::new(),
        units: units::ALL.iter().map(unit).collect(),
        client_ca: Ok(Vec::new()),
        supplied: None,
        proxy_kubeconfig: None,
        client_certificate: unknown(),
        proxy_certificate: unknown(),
        serving_certificate: unknown(),
        pending_client_key: Ok(None),
        pending_proxy_key: Ok(None),
        token: Ok(None),
        has_kept_token: false,
        renew_proxy: false,
        engine: runtime::inactive(RuntimeKind::Docker),
        cni: crate::observe::cni::Found::default(),
        kubelet_health: Ok(()),
        proxy_health: Ok(()),
        access: None,
        other_proxies: Vec::new(),
        overrides: BTreeMap::new(),
        watched: Watched::default(),
        attempts: BTreeMap::new(),
        under_way: BTreeSet::new(),
    }
}

fn write(path: &Path, content: &str, mode: u32) -> Step {
    Step::WriteFile(FileSpec::new(path, content, mode))
}

fn told(observed: &Observed, phase: Phase, steps: Vec<Step>) -> Preview {
    let config = config();
    let view = View { config: &config, desired: None, observed, now: Timestamp::UNIX_EPOCH };
    let verdicts = BTreeMap::from([(phase, Verdict::Act(steps))]);
    Preview::of(view, &Plan { verdicts, next: None })
}

fn daemon_json(keys: &serde_json::Value) -> Step {
    write(paths::daemon_json(), &format!("{keys:#}\n"), 0o644)
}

#[test]
fn files_are_told_by_what_changes_in_them() {
    let kubeconfig = "users:\n- name: kubelet\n  user:\n    token: canary\n";
    let observed = running(&[
        (paths::kubelet_config(), file(BEFORE, 0o644)),
        (paths::proxy_config(), file("mode: iptables\n", 0o644)),
        (paths::kubelet_kubeconfig(), file(kubeconfig, 0o600)),
    ]);
    let preview = told(
        &observed,
        Phase::Host,
        vec![
            write(paths::kubelet_config(), AFTER, 0o600),
            write(paths::proxy_config(), "mode: iptables\n", 0o600),
            write(&paths::units().join(units::KUBELET), "[Unit]\n[Service]\n", 0o600),
            write(paths::kubelet_kubeconfig(), "users: []\n", 0o600),
            Step::ReloadSystemd,
        ],
    );
    let text = preview.text();
    assert!(!text.contains("canary"), "{text}");
    insta::assert_snapshot!("files", text);
    insta::assert_json_snapshot!("document", preview);
}

#[test]
fn every_phase_that_is_not_satisfied_says_why() {
    let config = config();
    let observed = running(&[]);
    let view = View { config: &config, desired: None, observed: &observed, now: Timestamp::UNIX_EPOCH };
    let verdicts = BTreeMap::from([
        (Phase::Preflight, Verdict::Satisfied("7 checks".to_owned())),
        (Phase::Trust, Verdict::unmet(Reason::CaUnusable, "cluster.ca: no certificate")),
        (Phase::Identity, Verdict::Held),
    ]);
    let preview = Preview::of(view, &Plan { verdicts, next: None });
    insta::assert_snapshot!("reasons", preview.text());
    insta::assert_json_snapshot!("reasons_document", preview);
}

#[test]
fn only_units_that_run_start_anew() {
    let mut observed = running(&[(paths::kubelet_config(), file(BEFORE, 0o600))]);
    let steps = || vec![write(paths::kubelet_config(), AFTER, 0o600)];
    let restarts = told(&observed, Phase::Host, steps()).restarts;
    assert_eq!(
        restarts.iter().map(|r| (r.unit, r.stops_pods)).collect::<Vec<_>>(),
        [(units::KUBELET, false)]
    );
    observed.units.insert(units::KUBELET, Ok(UnitState::default()));
    assert_eq!(told(&observed, Phase::Host, steps()).restarts, []);
}

#[test]
fn services_that_stop_answering_for_another_mode_are_told() {
    let observed = running(&[(paths::proxy_config(), file("mode: iptables\n", 0o600))]);
    let consequence = |phase, step| {
        let restarts = told(&observed, phase, vec![step]).restarts;
        assert_eq!(restarts.iter().map(|restart| restart.unit).collect::<Vec<_>>(), [units::KUBE_PROXY]);
        restarts[0].consequence
    };
    let stop = "pods keep running; Services do not answer for a moment";
    let other = write(paths::proxy_config(), "mode: nftables\n", 0o600);
    assert!(consequence(Phase::Host, other).starts_with(stop));
    assert!(consequence(Phase::Proxy, Step::StartUnit(units::PROXY_CLEANUP)).starts_with(stop));
    // The control: the same mode.
    let same = write(paths::proxy_config(), "mode: iptables\nx: 1\n", 0o600);
    assert!(consequence(Phase::Host, same).contains("the rules of Services stay"));
}

#[test]
fn a_restart_that_is_a_step_is_told_once() {
    let observed = running(&[(paths::kubelet_config(), file(BEFORE, 0o600))]);
    let restart = Step::RestartUnit { unit: units::KUBELET, because: "its files changed".to_owned() };
    let steps = vec![write(paths::kubelet_config(), AFTER, 0o600), restart];
    let restarts = told(&observed, Phase::Kubelet, steps).restarts;
    assert_eq!(restarts.len(), 1, "{restarts:?}");
    assert_eq!(restarts[0].because, "its files changed");
}

#[test]
fn docker_stops_pods_unless_it_runs_with_live_restore() {
    let restart = |observed: &Observed| {
        let because = "its files changed after it started".to_owned();
        told(observed, Phase::Runtime, vec![Step::RestartUnit { unit: units::DOCKER, because }]).restarts[0]
            .clone()
    };
    let live = json!({"live-restore": true});
    let mut observed = running(&[(paths::daemon_json(), file(&live.to_string(), 0o644))]);
    assert!(restart(&observed).stops_pods);
    observed.facts.daemon_json = DaemonJson::Keys(live.as_object().unwrap().clone());
    assert!(!restart(&observed).stops_pods);
    // Written after docker started: the docker that runs does not know it yet.
    let mut late = file(&live.to_string(), 0o644);
    late.mtime_usec = 2_000_000;
    observed.files.insert(paths::daemon_json().to_owned(), Ok(Some(late)));
    assert!(restart(&observed).stops_pods);
}

#[test]
fn docker_is_left_running_on_a_node_and_under_a_kubelet_that_runs() {
    let mut observed = running(&[(paths::daemon_json(), file("{}\n", 0o644))]);
    let steps = || vec![daemon_json(&json!({"log-driver": "journald"}))];
    assert_eq!(told(&observed, Phase::Runtime, steps()).restarts, [], "the kubelet runs");
    observed.units.insert(units::KUBELET, Ok(UnitState::default()));
    let before = told(&observed, Phase::Runtime, steps());
    assert!(
        before.restarts[0].stops_pods
            && before.phases.iter().all(|p| p.steps.iter().all(|s| s.note.is_none()))
    );
    observed.files.insert(paths::joined().to_owned(), Ok(Some(file("uid\n", 0o600))));
    let after = told(&observed, Phase::Runtime, steps());
    assert_eq!(after.restarts, []);
    insta::assert_snapshot!("docker_left_running", after.text());
}

#[test]
fn nothing_to_do_is_said() {
    let observed = running(&[]);
    let preview = told(&observed, Phase::Ready, Vec::new());
    assert!(preview.text().starts_with("nothing to do\n"));
}
