//! Certificates over time: renewed, late, worse than what is there.

use super::fixture::Issued;
use super::signer::Approver;
use super::world::World;
use super::{PASSES, Phase, Step, message, ready, reason, settle, steps};
use crate::desired::certificates::Purpose;
use crate::desired::units;
use crate::observe::certificates::Certificate;
use crate::plan::identity::window;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

fn issued(life: i64) -> Certificate {
    let mut world = ready();
    let certificate = world.certificate(Purpose::KubeProxy);
    (certificate.not_before, certificate.not_after) = (-300, life);
    certificate.clone()
}

#[test]
fn a_thousand_nodes_renew_between_70_and_90_percent_and_never_many_at_once() {
    const HOUR: i64 = 3600;
    for life in [2 * HOUR, 24 * HOUR, 365 * 24 * HOUR] {
        let certificate = issued(life);
        let mut buckets = [0_u32; 100];
        for node in 0..1000 {
            let window = window(&format!("worker-{node}"), Purpose::KubeProxy, &certificate);
            assert!((window.from..=window.until).contains(&window.at));
            assert!(window.at >= life * 70 / 100 - 9 && window.at <= life * 90 / 100, "{life}: {window:?}");
            assert!(life - window.at > 360, "{life}: {window:?}");
            buckets[usize::try_from(window.at * 100 / life).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|&renewals| renewals <= 100), "{life}: {buckets:?}");
        assert_eq!(buckets.iter().sum::<u32>(), 1000);
    }
    // A life that is short, and then one that is too short, for the file to be read again in time.
    for (life, leaves) in [(1800, true), (900, true), (600, true), (510, false), (180, false)] {
        let certificate = issued(life);
        for node in 0..1000 {
            let window = window(&format!("worker-{node}"), Purpose::KubeProxy, &certificate);
            assert_eq!(life - window.at > 360, leaves, "{life}: {window:?}");
            assert!(window.at >= life / 4 && window.at < life, "{life}: {window:?}");
        }
    }
}

#[test]
fn kube_proxys_certificate_is_renewed_again_and_again_with_new_keys_and_the_node_stays_ready() {
    let mut world = World::fresh();
    world.life = 1800;
    assert!(settle(&mut world).is_ready());
    let (mut seen, begin) = (Vec::new(), world.now.as_second());
    for _ in 0..100 {
        world.wait_as_planned();
        for _ in 0..6 {
            assert!(world.plan().is_ready(), "{:#?}", world.plan());
            assert!(world.undecided().len() <= 1);
            let used = world.certificate(Purpose::KubeProxy).clone();
            assert!(used.is_valid_at(world.now) && used.not_after - world.now.as_second() > 360);
            if seen.last() != Some(&used.public_key_hash) {
                seen.push(used.public_key_hash);
            }
            for step in steps(&world.plan()) {
                world.apply(&step);
            }
            world.others_move();
        }
        assert!(matches!(world.observed.pending_proxy_key, Ok(None)));
    }
    assert!(seen.len() > 20, "{}", seen.len());
    let each = (world.now.as_second() - begin) / i64::try_from(seen.len()).unwrap();
    assert!((1000..1500).contains(&each), "a renewal every {each} s");
}

/// kube-proxy as far as its certificate goes: it reads the file at its start and every five minutes from then on.
struct Proxy {
    used: Certificate,
    read_at: i64,
    starts: u32,
    /// The least that was left of a certificate when it was let go of, seconds.
    left: i64,
}

impl Proxy {
    fn started(world: &mut World) -> Self {
        let used = world.certificate(Purpose::KubeProxy).clone();
        Self { used, read_at: world.now.as_second(), starts: 0, left: i64::MAX }
    }

    fn read(&mut self, world: &mut World) {
        self.read_at = world.now.as_second();
        self.left = self.left.min(self.used.not_after - self.read_at);
        self.used = world.certificate(Purpose::KubeProxy).clone();
    }

    /// Time goes by, and everybody does what there is to do.
    fn live(&mut self, world: &mut World, seconds: i64) {
        world.wait(seconds);
        loop {
            let steps = steps(&world.plan());
            for step in &steps {
                world.apply(step);
                if matches!(step, Step::RestartUnit { unit: units::KUBE_PROXY, .. }) {
                    self.starts += 1;
                    self.read(world);
                }
            }
            if !world.others_move() && steps.is_empty() {
                break;
            }
        }
        if world.now.as_second() >= self.read_at + 300 {
            self.read(world);
        }
        assert!(self.used.is_valid_at(world.now), "in use at {}: {:?}", world.now, self.used);
    }
}

#[test]
fn kube_proxy_never_uses_a_certificate_to_its_end_and_is_started_anew_only_where_a_life_is_too_short() {
    for (life, restarts) in [(90, true), (400, true), (510, true), (530, false), (600, false), (900, false)] {
        let mut world = World::fresh();
        world.life = life;
        assert!(settle(&mut world).is_ready());
        let mut proxy = Proxy::started(&mut world);
        for _ in 0..500 {
            proxy.live(&mut world, 7);
        }
        let Proxy { starts, left, .. } = proxy;
        assert_eq!(starts > 0, restarts, "life {life}: started {starts} times");
        assert!((1..life).contains(&left), "life {life}: {left} s were left");
    }
}

#[test]
fn kube_proxy_is_started_anew_with_a_certificate_that_comes_late_or_after_the_end() {
    let restart = |world: &World| {
        steps(&world.plan())
            .iter()
            .any(|step| matches!(step, Step::RestartUnit { unit: units::KUBE_PROXY, .. }))
    };
    for (left, expected) in [(400, false), (300, true), (-10, true)] {
        let mut world = ready();
        world.approver = Approver::Sleeps;
        world.observed.renew_proxy = true;
        settle(&mut world);
        let now = world.now.as_second();
        let used = world.certificate(Purpose::KubeProxy);
        (used.not_before, used.not_after) = (now - 3600, now + left);
        world.approver = Approver::Approves;
        settle_to_the_certificate(&mut world);
        assert_eq!(restart(&world), expected, "{left} s left: {:#?}", steps(&world.plan()));
    }
    // A unit that does not run is not started out of its turn.
    let mut world = ready();
    world.observed.proxy_certificate = Ok(None);
    "inactive".clone_into(&mut world.unit(units::KUBE_PROXY).unwrap().active);
    settle_to_the_certificate(&mut world);
    assert!(!restart(&world), "{:#?}", steps(&world.plan()));
}

/// Goes on until kube-proxy's certificate is there to be installed.
fn settle_to_the_certificate(world: &mut World) {
    for _ in 0..PASSES {
        let steps = steps(&world.plan());
        if steps.iter().any(|step| matches!(step, Step::InstallCertificate { .. })) {
            return;
        }
        for step in &steps {
            world.apply(step);
        }
        world.others_move();
    }
    panic!("no certificate came: {:#?}", world.plan());
}

#[test]
fn kube_proxys_certificate_is_renewed_when_it_is_asked_for_and_once() {
    let mut world = ready();
    let before = world.certificate(Purpose::KubeProxy).public_key_hash.clone();
    world.observed.renew_proxy = true;
    assert!(settle(&mut world).is_ready());
    let after = world.certificate(Purpose::KubeProxy).public_key_hash.clone();
    assert!(before != after && !world.observed.renew_proxy);
    // A crash right after the installation: the key is still there, and so is the wish.
    world.observed.renew_proxy = true;
    world.apply(&Step::MakeKey { path: crate::desired::paths::pending_proxy_key().to_owned(), refusals: 0 });
    world.observed.pending_proxy_key.as_mut().unwrap().as_mut().unwrap().public_key_hash = after.clone();
    assert!(settle(&mut world).is_ready());
    assert_eq!(world.certificate(Purpose::KubeProxy).public_key_hash, after);
    assert!(!world.observed.renew_proxy);
}

#[test]
fn a_renewal_that_does_not_come_is_an_alarm_and_holds_nothing_back() {
    let mut world = World::fresh();
    world.life = 86_400;
    assert!(settle(&mut world).is_ready());
    world.approver = Approver::Sleeps;
    assert_eq!(reason(&world, Phase::Renewal), None);
    let end = world.certificate(Purpose::KubeProxy).not_after;
    let mut met = Vec::new();
    while world.now.as_second() < end - 60 {
        settle(&mut world);
        assert!(world.plan().is_ready() && world.undecided().len() <= 1);
        met.extend(reason(&world, Phase::Renewal));
        let told = message(&world, Phase::Renewal);
        assert!(met.is_empty() || told.contains("CSR `kn-proxy-"), "{told}");
        world.wait(600);
    }
    met.dedup();
    assert_eq!(met, [Reason::CsrPending, Reason::RenewalFailing]);
    world.approver = Approver::Approves;
    settle(&mut world);
    assert_eq!(reason(&world, Phase::Renewal), None);
}

#[test]
fn a_kubelet_that_does_not_renew_is_told_while_its_certificate_is_valid() {
    let mut world = ready();
    let now = world.now.as_second();
    let client = world.certificate(Purpose::KubeletClient);
    (client.not_before, client.not_after) = (now - 890, now + 110);
    assert_eq!(reason(&world, Phase::Renewal), None);
    assert_eq!(world.plan().next.unwrap().as_second(), now + 10);
    let client = world.certificate(Purpose::KubeletClient);
    client.not_after = now + 90;
    let plan = world.plan();
    assert!(plan.is_ready());
    assert_eq!(reason(&world, Phase::Renewal), Some(Reason::RenewalFailing));
    let told = message(&world, Phase::Renewal);
    assert!(told.contains("kubelet-client-current.pem` ends at ") && told.contains("is active"), "{told}");
}

#[test]
fn a_certificate_that_is_worse_does_not_replace_a_good_one() {
    let mut world = ready();
    let kept = world.certificate(Purpose::KubeProxy).clone();
    world.observed.renew_proxy = true;
    // As if it had been issued before the one in use.
    world.certificate(Purpose::KubeProxy).not_before += 200;
    world.life -= 3600;
    settle(&mut world);
    assert_eq!(reason(&world, Phase::Renewal), Some(Reason::CertificateRejected));
    assert_eq!(world.certificate(Purpose::KubeProxy).public_key_hash, kept.public_key_hash);
    for wrong in [Issued::OtherKey, Issued::OtherCa, Issued::Garbage] {
        let mut world = ready();
        let kept = world.certificate(Purpose::KubeProxy).clone();
        world.observed.renew_proxy = true;
        world.issue_as(wrong);
        assert!(settle(&mut world).is_ready(), "{wrong:?}");
        assert_eq!(reason(&world, Phase::Renewal), Some(Reason::CertificateRejected), "{wrong:?}");
        assert_eq!(*world.certificate(Purpose::KubeProxy), kept, "{wrong:?}");
    }
}

#[test]
fn a_serving_certificate_is_judged_by_its_life_and_its_names() {
    let mut world = ready();
    assert_eq!(reason(&world, Phase::ServingCert), Some(Reason::ServingCertPending));
    let mut certificate = world.certificate(Purpose::KubeProxy).clone();
    certificate.names = vec!["n1".to_owned(), "10.0.0.2".to_owned()];
    world.observed.serving_certificate = Ok(Some(certificate.clone()));
    let addresses = serde_json::json!([
        {"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "n1"}
    ]);
    let with = |world: &mut World, addresses: serde_json::Value| {
        let Some(Ok(Seen::Present(node))) = &mut world.observed.watched.node else { panic!() };
        node.status.as_mut().unwrap().addresses = serde_json::from_value(addresses).unwrap();
    };
    with(&mut world, addresses);
    assert_eq!(reason(&world, Phase::ServingCert), None);
    with(&mut world, serde_json::json!([{"type": "InternalIP", "address": "10.0.0.3"}]));
    assert_eq!(reason(&world, Phase::ServingCert), Some(Reason::ServingCertNames));
    assert!(
        message(&world, Phase::ServingCert)
            .ends_with("is for n1, 10.0.0.2, and not for 10.0.0.3 of the Node")
    );
    certificate.not_after = world.now.as_second() - 1;
    world.observed.serving_certificate = Ok(Some(certificate));
    assert_eq!(reason(&world, Phase::ServingCert), Some(Reason::ServingCertExpired));
    assert!(world.plan().is_ready());
}
