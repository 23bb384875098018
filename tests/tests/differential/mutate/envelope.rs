//! What stands around the request: signer, requester, usages, lifetime.

use kn_agent::cluster::policy::SIGNERS;

use crate::draft::Draft;
use crate::rng::Rng;

pub(super) fn signer(draft: &mut Draft, rng: &mut Rng) {
    const OTHERS: [&str; 7] = [
        "kubernetes.io/legacy-unknown",
        "kubernetes.io/Kubelet-Serving",
        "kubernetes.io/kubelet-serving ",
        "KUBERNETES.IO/kube-apiserver-client",
        "example.com/kubelet-serving",
        "kubelet-serving",
        "",
    ];
    draft.signer = if rng.percent(50) { rng.pick(&SIGNERS) } else { rng.pick(&OTHERS) }.into();
}

pub(super) fn requester(draft: &mut Draft, rng: &mut Rng) {
    match rng.below(9) {
        0 => draft.username = "system:node:n2".into(),
        1 => draft.username = "system:node:".into(),
        2 => draft.username = "kubernetes-admin".into(),
        3 => draft.username = draft.username.to_ascii_uppercase(),
        4 => draft.username.push('.'),
        5 => draft.groups.clear(),
        6 => draft.groups.push("system:masters".to_owned()),
        7 => draft.groups.reverse(),
        _ => draft.groups = vec!["system:authenticated".to_owned()],
    }
}

pub(super) fn usages(draft: &mut Draft, rng: &mut Rng) {
    const EXTRA: [&str; 9] = [
        "server auth",
        "client auth",
        "any",
        "cert sign",
        "crl sign",
        "signing",
        "code signing",
        "Client Auth",
        "no such usage",
    ];
    if draft.usages.is_empty() {
        // An earlier change took them away.
        return;
    }
    let place = rng.below(draft.usages.len());
    match rng.below(6) {
        0 => drop(draft.usages.remove(place)),
        1 => draft.usages.push(rng.pick(&EXTRA).to_owned()),
        2 => draft.usages[place] = rng.pick(&EXTRA).into(),
        3 => draft.usages.clear(),
        4 => draft.usages.retain(|usage| usage.ends_with("auth")),
        _ => draft.usages.reverse(),
    }
}

pub(super) fn usage_twice(draft: &mut Draft, rng: &mut Rng) {
    if let Some(usage) = draft.usages.get(rng.below(draft.usages.len().max(1))) {
        draft.usages.push(usage.clone());
    }
}

/// Shorter ones than 600 s are left out: the API server stores none, and the signer makes them 600 s anyway, so that the
/// policy has no rule about them.
pub(super) fn lifetime(draft: &mut Draft, rng: &mut Rng) {
    draft.lifetime = rng.pick(&[None, Some(600), Some(31_708_800), Some(31_708_801), Some(i32::MAX)]);
}
