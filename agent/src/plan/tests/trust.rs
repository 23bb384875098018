//! Trust by pins: asked for with a token, kept without one.

use super::fixture::FIXTURE;
use super::world::World;
use super::{Phase, Step, Verdict, settle, steps};
use crate::ports::Failure;
use crate::reason::Reason;

fn pinned() -> World {
    World::fresh().pinned()
}

fn trust(world: &World) -> Verdict {
    world.plan().verdicts[&Phase::Trust].clone()
}

#[test]
fn a_ca_that_is_known_by_its_pin_is_found_before_anything_is_asked() {
    let mut world = pinned();
    let server = world.config.cluster.server.clone();
    assert_eq!(trust(&world), Verdict::Act(vec![Step::DiscoverCa { server, pins: vec![FIXTURE.pin()] }]));
    assert_eq!(world.plan().verdicts[&Phase::Identity], Verdict::Held);
    assert!(settle(&mut world).is_ready());
    assert!(steps(&world.plan()).is_empty());
}

#[test]
fn once_the_ca_is_on_disk_no_token_is_needed() {
    let mut world = pinned();
    settle(&mut world);
    world.edit(|config, _| config.identity.token = None);
    assert!(world.plan().is_ready() && steps(&world.plan()).is_empty());
}

#[test]
fn a_bundle_that_is_another_is_found_anew_or_told() {
    let mut world = pinned();
    settle(&mut world);
    let why = "`/etc/kubernetes/pki/ca.crt` has sha256:aa, expected sha256:bb";
    world.edit(|_, observed| {
        observed.configured_ca = Err(Failure::new(Reason::CaPinMismatch, why));
    });
    assert!(matches!(&trust(&world), Verdict::Act(steps) if matches!(steps[..], [Step::DiscoverCa { .. }])));
    world.edit(|config, _| config.identity.token = None);
    let message = format!("{why}; to find it anew takes a token, and identity.token is not set");
    assert_eq!(trust(&world), Verdict::unmet(Reason::CaPinMismatch, message));
    // Where there never was one, it is the token that is missing.
    world.edit(|_, observed| {
        observed.configured_ca = Err(Failure::new(Reason::CaUndiscovered, "it is not there"));
    });
    assert!(
        matches!(trust(&world), Verdict::Unmet { reason: Reason::TokenMissing, .. }),
        "{:?}",
        trust(&world)
    );
}

#[test]
fn a_failed_search_waits_with_its_reason_and_a_disk_that_does_not_answer_starts_none() {
    let mut world = pinned();
    let Verdict::Act(steps) = trust(&world) else { panic!("{:?}", trust(&world)) };
    world.fail(&steps[0].key(), Failure::new(Reason::ClusterInfoForged, "the signature is wrong"));
    assert!(
        matches!(trust(&world), Verdict::Unmet { reason: Reason::ClusterInfoForged, until: Some(_), .. }),
        "{:?}",
        trust(&world)
    );
    let mut world = pinned();
    world.edit(|_, observed| observed.configured_ca = Err(Failure::new(Reason::FileTrouble, "I/O error")));
    assert!(
        matches!(trust(&world), Verdict::Unmet { reason: Reason::FileTrouble, until: Some(_), .. }),
        "{:?}",
        trust(&world)
    );
}
