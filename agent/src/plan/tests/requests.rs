//! Requests that are refused, deleted or taken by others, and identities that are lost.

use jiff::Timestamp;

use super::fixture::{FIXTURE, Issued};
use super::signer::Approver;
use super::world::World;
use super::{Phase, Step, message, ready, reason, settle, steps};
use crate::desired::certificates::{self as desired, Purpose};
use crate::desired::units;
use crate::observe::certificates::Certificate;
use crate::observe::token::SeenToken;
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

fn makes_a_key(world: &World) -> bool {
    world.plan().steps().any(|step| matches!(step, Step::MakeKey { .. }))
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
            world.observed.client_certificate = Ok(Some(of_another_cluster(world, Purpose::KubeletClient)));
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

/// As a cluster of another CA issues it.
fn of_another_cluster(world: &World, purpose: Purpose) -> Certificate {
    let mut stranger = World::fresh();
    stranger.issue_as(Issued::OtherCa);
    let spec = match purpose {
        Purpose::KubeletClient => desired::kubelet_client(&stranger.config),
        Purpose::KubeProxy => desired::proxy(&stranger.config),
    };
    let request = FIXTURE.request(&spec, &FIXTURE.keys[0], "abcdef");
    let now = world.now.as_second();
    let pem = FIXTURE.issue(&request, Issued::OtherCa, (now - 300, now + 3600));
    let mut certificate = crate::observe::certificates::parse(pem.as_bytes()).unwrap();
    certificate.key_fits = true;
    certificate
}

/// What runs keeps its CA and its certificate in memory: here the address is the same and no file of theirs differs.
#[test]
fn what_runs_with_certificates_of_another_cluster_is_started_anew_with_its_own() {
    let mut world = ready();
    let before = (world.started(units::KUBELET), world.started(units::KUBE_PROXY));
    let others = of_another_cluster(&world, Purpose::KubeletClient);
    world.observed.serving_certificate = Ok(Some(others.clone()));
    world.observed.client_certificate = Ok(Some(others));
    world.observed.proxy_certificate = Ok(Some(of_another_cluster(&world, Purpose::KubeProxy)));
    world.approver = Approver::Sleeps;
    settle(&mut world);
    assert_eq!(before, (world.started(units::KUBELET), world.started(units::KUBE_PROXY)), "too early");
    assert!(matches!(world.observed.serving_certificate, Ok(Some(_))), "too early");
    world.approver = Approver::Approves;
    assert!(settle(&mut world).is_ready());
    let after = (world.started(units::KUBELET), world.started(units::KUBE_PROXY));
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    assert!(matches!(world.observed.serving_certificate, Ok(None)), "nobody here believes it");
    // The control: what is of this cluster is kept.
    world.observed.serving_certificate = world.observed.proxy_certificate.clone();
    assert!(settle(&mut world).is_ready());
    assert_eq!(after, (world.started(units::KUBELET), world.started(units::KUBE_PROXY)));
    assert!(matches!(world.observed.serving_certificate, Ok(Some(_))));
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
