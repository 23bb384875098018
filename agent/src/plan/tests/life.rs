//! Certificates over time: refused, deleted, taken by others, expired, renewed.

use jiff::Timestamp;

use super::fixture::{FIXTURE, Issued};
use super::signer::Approver;
use super::world::World;
use super::{Phase, Step, Verdict, settle, steps};
use crate::desired::certificates::{self as desired, Purpose};
use crate::observe::certificates::Certificate;
use crate::observe::token::SeenToken;
use crate::plan::identity::window;
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

fn ready() -> World {
    let mut world = World::fresh();
    assert!(settle(&mut world).is_ready());
    world
}

fn reason(world: &World, phase: Phase) -> Option<Reason> {
    match &world.plan().verdicts[&phase] {
        Verdict::Waiting { reason, .. } | Verdict::Blocked { reason, .. } => Some(*reason),
        _ => None,
    }
}

fn message(world: &World, phase: Phase) -> String {
    match &world.plan().verdicts[&phase] {
        Verdict::Waiting { message, .. } | Verdict::Blocked { message, .. } | Verdict::Satisfied(message) => {
            message.clone()
        }
        other => panic!("{other:?}"),
    }
}

fn makes_a_key(world: &World) -> bool {
    world.plan().steps().any(|step| matches!(step, Step::MakeKey { .. }))
}

/// A certificate of this life, begun five minutes before zero as signers do.
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
    for (life, leaves) in [(1800, true), (900, true), (600, false), (180, false)] {
        let certificate = issued(life);
        for node in 0..1000 {
            let window = window(&format!("worker-{node}"), Purpose::KubeProxy, &certificate);
            assert_eq!(life - window.at > 360, leaves, "{life}: {window:?}");
            assert!(window.at >= life / 3 && window.at < life, "{life}: {window:?}");
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
fn what_is_denied_is_asked_for_again_ever_later_with_a_new_key_and_recovers() {
    let mut world = World::fresh();
    world.approver = Approver::Denies;
    let mut denied: Vec<i64> = Vec::new();
    let begin = world.now.as_second();
    while world.now.as_second() < begin + 6 * 3600 {
        let before = world.observed.watched.requests.len();
        settle(&mut world);
        assert_eq!(reason(&world, Phase::Identity), Some(Reason::CsrDenied));
        if world.observed.watched.requests.len() > before {
            denied.push(world.now.as_second());
        }
        world.wait_as_planned();
    }
    let pauses: Vec<i64> = denied.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (at, pause) in pauses.iter().enumerate() {
        let least = (60 << at.min(10)).min(1800);
        assert!((least..=least * 6 / 5 + 2).contains(pause), "{pauses:?}");
    }
    assert!(pauses.len() >= 12, "{pauses:?}");
    world.approver = Approver::Approves;
    world.wait_as_planned();
    assert!(settle(&mut world).is_ready());
}

#[test]
fn another_token_is_used_at_once_whatever_became_of_the_last_ones_request() {
    for approver in [Approver::Denies, Approver::Sleeps] {
        let mut world = World::fresh();
        world.approver = approver;
        settle(&mut world);
        assert!(!makes_a_key(&world));
        world.put_token(Some("fedcba"));
        assert!(makes_a_key(&world), "{approver:?}");
        world.approver = Approver::Approves;
        assert!(settle(&mut world).is_ready());
    }
    // What is approved is waited for.
    let mut world = World::fresh();
    settle(&mut world);
    let request = World::fresh().ask_again(Ok(Seen::NotYet));
    let mut seen = FIXTURE.request(&desired::kubelet_client(&world.config), &FIXTURE.keys[0], "abcdef");
    seen.status = Some(
        serde_json::from_value(serde_json::json!({"conditions": [
            {"type": "Approved", "status": "True"}
        ]}))
        .unwrap(),
    );
    seen.metadata.name = Some(request);
    seen.spec.request.0.clear();
    let spec_less = Seen::Present(Box::new(seen));
    world.ask_again(Ok(spec_less));
    world.put_token(Some("fedcba"));
    assert_eq!(reason(&world, Phase::Identity), Some(Reason::CsrUnissued));
}

#[test]
fn nobody_approves_for_two_days_and_there_is_one_request() {
    let mut world = World::fresh();
    world.approver = Approver::Sleeps;
    for hour in 0..48 {
        settle(&mut world);
        assert_eq!(world.undecided().len(), 1);
        assert_eq!(reason(&world, Phase::Identity), Some(Reason::CsrPending));
        // The controller-manager collects what waits for a day.
        if hour % 24 == 23 {
            world.delete_requests();
            assert!(matches!(&steps(&world.plan())[..], [.., Step::SubmitRequest { .. }]));
        }
        world.wait(3600);
    }
    assert_eq!(world.observed.watched.requests.len(), 1, "one name all the time");
}

#[test]
fn a_request_that_is_deleted_again_and_again_is_submitted_ever_later() {
    let mut world = World::fresh();
    world.approver = Approver::Sleeps;
    settle(&mut world);
    world.delete_requests();
    settle(&mut world);
    assert_eq!(reason(&world, Phase::Identity), Some(Reason::CsrPending));
    for pause in [60, 120, 240] {
        world.delete_requests();
        settle(&mut world);
        assert_eq!(reason(&world, Phase::Identity), Some(Reason::CsrDeleted));
        world.wait(pause - 5);
        assert!(world.undecided().is_empty() && steps(&world.plan()).is_empty());
        world.wait(6);
        settle(&mut world);
        assert_eq!(reason(&world, Phase::Identity), Some(Reason::CsrPending));
    }
    world.approver = Approver::Approves;
    assert!(settle(&mut world).is_ready());
}

#[test]
fn a_request_that_others_put_under_our_name_is_not_followed() {
    let world = ready();
    let spec = desired::kubelet_client(&world.config);
    let foreign = |change: &dyn Fn(&mut k8s_openapi::api::certificates::v1::CertificateSigningRequest)| {
        let mut world = ready();
        let mut stolen = FIXTURE.request(&spec, &FIXTURE.keys[super::fixture::SPARE], "abcdef");
        change(&mut stolen);
        world.issue_as(Issued::Right);
        world.ask_again(Ok(Seen::Present(Box::new(stolen))));
        world.others_move();
        let steps = steps(&world.plan());
        let new_key = matches!(&steps[..], [.., Step::MakeKey { refusals: 1, .. }]);
        let installs = steps.iter().any(|step| matches!(step, Step::InstallCertificate { .. }));
        assert!(settle(&mut world).is_ready());
        (new_key, installs)
    };
    assert_eq!(foreign(&|_| {}), (false, true));
    let other_key = FIXTURE.request(&spec, &FIXTURE.keys[50], "abcdef").spec.request;
    assert_eq!(foreign(&|request| request.spec.request = other_key.clone()), (true, false));
    assert_eq!(foreign(&|request| request.spec.signer_name = "example.com/other".to_owned()), (true, false));
    assert_eq!(foreign(&|request| request.spec.usages = Some(vec!["client auth".to_owned()])), (true, false));
}

#[test]
fn an_identity_that_is_lost_is_named_and_recovered_with_a_token_and_blocked_without() {
    type Loss = fn(&mut World);
    let losses: [(Reason, &str, Loss); 4] = [
        (Reason::CertificateExpired, "kubelet-client-current.pem` expired at ", |world| {
            let now = world.now.as_second();
            world.observed.kubelet_health = Err("stopped".to_owned());
            world.certificate(Purpose::KubeletClient).not_after = now - 1;
        }),
        (Reason::IdentityRefused, "(HTTP 401) although it is valid", |world| {
            let key = world.certificate(Purpose::KubeletClient).public_key_hash.clone();
            world.observed.watched.refused_key = Some(key);
        }),
        (Reason::NodeRenamed, "CN=system:node:N1, O=system:nodes`, expected `CN=system:node:n1", |world| {
            let client = world.certificate(Purpose::KubeletClient);
            client.common_name = "system:node:N1".to_owned();
            client.subject[0].1 = "system:node:N1".to_owned();
        }),
        (Reason::OtherCluster, "which is not cluster.ca: another one of the same name", |world| {
            let mut stranger = World::fresh();
            stranger.issue_as(Issued::OtherCa);
            let spec = desired::kubelet_client(&stranger.config);
            let request = FIXTURE.request(&spec, &FIXTURE.keys[0], "abcdef");
            let now = world.now.as_second();
            let pem = FIXTURE.issue(&request, Issued::OtherCa, (now - 300, now + 3600));
            let mut other = crate::observe::certificates::parse(pem.as_bytes()).unwrap();
            other.key_fits = true;
            world.observed.client_certificate = Ok(Some(other));
        }),
    ];
    for (expected, what, lose) in losses {
        let mut world = ready();
        lose(&mut world);
        world.put_token(None);
        assert_eq!(reason(&world, Phase::Identity), Some(expected));
        let told = message(&world, Phase::Identity);
        assert!(
            told.contains(what) && told.contains("`kn-agent token create --node n1 --print token`"),
            "{told}"
        );
        assert!(steps(&world.plan()).is_empty(), "{expected}");
        world.put_token(Some("fedcba"));
        world.approver = Approver::Sleeps;
        settle(&mut world);
        assert!(message(&world, Phase::Identity).contains(what), "{}", message(&world, Phase::Identity));
        assert!(matches!(world.observed.client_certificate, Ok(Some(_))), "the old one stays until then");
        world.approver = Approver::Approves;
        world.observed.kubelet_health = Ok(());
        assert!(settle(&mut world).is_ready(), "{expected}: {:#?}", world.plan());
    }
}

#[test]
fn a_clock_that_was_set_back_throws_no_certificate_away() {
    let mut world = ready();
    let begin = world.certificate(Purpose::KubeletClient).not_before;
    world.now = Timestamp::from_second(begin - 100).unwrap();
    assert_eq!(reason(&world, Phase::Identity), Some(Reason::NotYetValid));
    assert!(steps(&world.plan()).is_empty());
    assert_eq!(world.plan().requeue().unwrap().as_second(), begin);
    world.now = Timestamp::from_second(begin).unwrap();
    assert!(world.plan().verdicts[&Phase::Identity].is_satisfied());
}

#[test]
fn a_token_for_one_start_is_kept_until_the_certificate_has_proven_itself() {
    let mut world = World::fresh();
    world.observed.token = Ok(Some(SeenToken { id: Some("abcdef".to_owned()), is_fleeting: true }));
    let mut kept = false;
    for _ in 0..super::PASSES {
        let planned = steps(&world.plan());
        let asks = planned.iter().any(|step| matches!(step, Step::SubmitRequest { .. }));
        let removes = planned.contains(&Step::RemoveFile(crate::desired::paths::kept_token().to_owned()));
        assert!(
            !asks || world.observed.has_kept_token || world.plan().verdicts[&Phase::Identity].is_satisfied()
        );
        assert!(!removes || matches!(world.observed.watched.node, Some(Ok(Seen::Present(_) | Seen::Absent))));
        kept |= world.observed.has_kept_token;
        for step in &planned {
            world.apply(step);
        }
        world.others_move();
    }
    assert!(kept && !world.observed.has_kept_token && world.plan().is_ready());
}

#[test]
fn a_token_that_can_not_be_read_is_told_as_it_is() {
    let mut world = World::fresh();
    world.observed.token = Err(Failure::new(Reason::TokenMissing, "cannot read the token from `/x`: gone"));
    settle(&mut world);
    let told = message(&world, Phase::Identity);
    assert!(
        told.starts_with("there is no certificate yet, and cannot read the token from `/x`: gone; on an"),
        "{told}"
    );
    assert!(told.ends_with("then write it to identity.token.value"), "{told}");
    assert!(world.observed.watched.requests.is_empty());
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
