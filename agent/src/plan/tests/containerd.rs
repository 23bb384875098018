//! containerd in the place of docker.

use super::messages::text;
use super::parts::engine_with;
use super::world::World;
use super::{Phase, Step, Verdict, settle};
use crate::config::{Config, RuntimeKind};
use crate::desired::containerd::Found;
use crate::desired::{paths, units};
use crate::observe::{Observed, runtime};
use crate::ports::Failure;
use crate::ports::root::FileOnDisk;
use crate::ports::systemd::UnitState;
use crate::reason::Reason;

/// containerd's configuration with the CRI disabled as docker ships it.
const CONTAINERDS: &str = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";

impl World {
    /// The same machine with containerd in the place of docker.
    pub(super) fn with_containerd() -> Self {
        let mut world = Self::fresh();
        world.config.runtime.kind = RuntimeKind::Containerd;
        world.observed.facts.cri_dockerd = None;
        world.observed.engine = runtime::inactive(RuntimeKind::Containerd);
        for (name, load) in [(units::DOCKER, "not-found"), (units::CONTAINERD, "loaded")] {
            if let Some(state) = world.unit(name) {
                load.clone_into(&mut state.load);
            }
        }
        let content = CONTAINERDS.as_bytes().to_vec();
        world.written(paths::containerd_config(), FileOnDisk { content, mode: 0o644, mtime_usec: 1 });
        world
    }
}

#[test]
fn containerd_that_is_missing_dead_or_contradicts_the_kubelet() {
    let of = |joined: bool, phase: Phase, change: &dyn Fn(&mut Config, &mut Observed)| {
        let mut world = World::with_containerd();
        assert!(!joined || settle(&mut world).is_ready());
        world.edit(change);
        text(&world.plan().verdicts[&phase])
    };
    let preflight = |change: &dyn Fn(&mut Config, &mut Observed)| of(false, Phase::Preflight, change);
    assert_eq!(preflight(&|_, _| {}), "ok: 16 checks");
    assert_eq!(
        preflight(&|_, observed| {
            let state = UnitState { load: "not-found".to_owned(), ..UnitState::default() };
            observed.units.insert(units::CONTAINERD, Ok(state));
        }),
        "BinaryMissing: check containerd: containerd.service is not-found; install containerd (Debian: containerd)"
    );
    assert_eq!(
        preflight(&|_, observed| {
            observed.facts.containerd = Found::new(Some(("[plugins.cri]\n".to_owned(), 0o644)), Vec::new());
        }),
        "FileTrouble: check containerd-config: `/etc/containerd/config.toml`: is of form 1; `containerd config migrate` \
         prints it in a form that is known"
    );
    let runtime = |change: &dyn Fn(&mut Config, &mut Observed)| of(true, Phase::Runtime, change);
    assert_eq!(runtime(&|_, _| {}), "ok: containerd 26.1.5, cgroup driver systemd");
    assert_eq!(
        runtime(&|_, observed| observed.engine.info = engine_with("cgroupfs").info),
        "CgroupDriverMismatch: containerd uses the cgroup driver cgroupfs, the kubelet would use systemd"
    );
    assert_eq!(
        runtime(&|_, observed| observed.engine.has_sandbox_image = false),
        "SandboxImageMissing: the pod sandbox image `registry.k8s.io/pause:3.10` is not on this node"
    );
    let old = |_: &mut Config, observed: &mut Observed| {
        observed.facts.kubelet.version = "v1.22.1".parse().ok();
    };
    let mut world = World::with_containerd();
    world.edit(old);
    settle(&mut world);
    assert_eq!(
        text(&world.plan().verdicts[&Phase::Runtime]),
        "CriMissing: kubelet 1.22.1 speaks runtime.v1alpha2, which containerd 26.1.5 does not"
    );
    world.edit(|_, observed| {
        if let Ok(info) = &mut observed.engine.info {
            info.speaks_v1alpha2 = true;
        }
    });
    assert!(settle(&mut world).is_ready());
    let engine = |reason, message: &str| {
        let failure = Failure::new(reason, message);
        of(true, Phase::Engine, &|_, observed| observed.engine.answers = Err(failure.clone()))
    };
    let silent = "containerd: no answer within 2s";
    assert_eq!(engine(Reason::RuntimeUnresponsive, silent), format!("RuntimeUnresponsive: {silent}"));
    assert_eq!(engine(Reason::CriMissing, "unknown service"), "CriMissing: unknown service");
}

#[test]
fn containerd_starts_anew_for_its_configuration_on_a_node_too() {
    let mut world = World::with_containerd();
    let mut restarts = 0;
    for _ in 0..30 {
        let steps: Vec<_> = world.plan().steps().cloned().collect();
        restarts += steps.iter().filter(|step| matches!(step, Step::RestartUnit { .. })).count();
        for step in &steps {
            world.apply(step);
        }
        world.others_move();
    }
    assert!(world.plan().is_ready());
    assert_eq!(restarts, 0, "a join restarts nothing");
    world.edit(|config, _| config.runtime.sandbox_image = "example.com/pause:2".to_owned());
    let engine = world.plan().verdicts[&Phase::Engine].clone();
    let Verdict::Act(steps) = &engine else { panic!("{engine:?}") };
    assert_eq!(steps.iter().map(Step::key).collect::<Vec<_>>(), ["write /etc/containerd/config.toml"]);
    for step in steps {
        world.apply(step);
    }
    let because = "its files changed after it started".to_owned();
    let restart = Step::RestartUnit { unit: units::CONTAINERD, because };
    assert_eq!(world.plan().verdicts[&Phase::Engine], Verdict::Act(vec![restart]));
    assert!(settle(&mut world).is_ready());
}

#[test]
fn images_on_the_node_are_loaded_once_and_before_the_kubelet_starts() {
    let mut world = World::with_containerd();
    let check = |world: &World| text(&world.plan().verdicts[&Phase::Preflight]);
    world.edit(|config, observed| {
        config.runtime.images = Some("/opt/images".into());
        observed.facts.image_loader = Some("/usr/bin/ctr".into());
    });
    assert_eq!(
        check(&world),
        "FileTrouble: check images: `/opt/images` holds no file that ends in `.tar` (runtime.images)"
    );
    world.edit(|_, observed| observed.facts.image_tars = vec![("/opt/images/a b.tar".into(), 1)]);
    let mut order = Vec::new();
    for _ in 0..30 {
        let steps: Vec<_> = world.plan().steps().cloned().collect();
        order.extend(steps.iter().map(Step::key));
        for step in &steps {
            world.apply(step);
        }
        world.others_move();
    }
    assert!(world.plan().is_ready());
    let at =
        |key: &str| order.iter().position(|step| step == key).unwrap_or_else(|| panic!("{key}: {order:?}"));
    assert!(at("start containerd.service") < at("start kn-agent-images.service"));
    assert!(at("start kn-agent-images.service") < at("start kubelet.service"));
    assert_eq!(order.iter().filter(|step| step.contains("start kn-agent-images")).count(), 1);
    let unit = &world.observed.files[&paths::units().join(units::IMAGES)];
    let unit = String::from_utf8(unit.as_ref().unwrap().as_ref().unwrap().content.clone()).unwrap();
    let import = "ExecStart=/usr/bin/ctr --namespace=k8s.io images import \"/opt/images/a b.tar\"\n";
    assert!(unit.ends_with(import), "{unit}");
    // A boot: what is loaded stays. Where the sandbox image is lost it is loaded again.
    "inactive".clone_into(&mut world.unit(units::IMAGES).unwrap().active);
    assert!(world.plan().verdicts[&Phase::Runtime].is_satisfied());
    world.edit(|_, observed| observed.engine.has_sandbox_image = false);
    assert_eq!(world.plan().verdicts[&Phase::Runtime], Verdict::Act(vec![Step::StartUnit(units::IMAGES)]));
}
