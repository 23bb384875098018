//! Settings that the installed versions do not know, or the machine contradicts: refused, and nothing is written.

use serde_json::json;

use super::messages::{joined, keys, preflight};
use super::world::World;
use super::{Phase, Verdict, settle};
use crate::config::{Config, ProxyMode};
use crate::observe::Observed;

fn misspelt(config: &mut Config, _: &mut Observed) {
    config.kubelet.config = keys(json!({"maxPod": 50}));
}

#[test]
fn fields_and_flags_that_the_version_does_not_know_are_refused_before_anything_is_written() {
    let refused = "FieldRefused: check kubelet-config: kubelet.config.maxPod: kubelet 1.36 has no such field; did you mean \
                   `maxPods`?";
    assert_eq!(preflight(misspelt), refused);
    // A joined node is held back by what would be written, not by preflight.
    assert_eq!(joined(Phase::Preflight, misspelt), "ok: 17 checks");
    assert_eq!(joined(Phase::Host, misspelt), refused);
    let ignored = |config: &mut Config, observed: &mut Observed| {
        misspelt(config, observed);
        assert!(config.preflight.ignore.insert("kubelet-config".to_owned()));
    };
    let mut world = World::fresh();
    assert!(settle(&mut world).is_ready());
    world.edit(ignored);
    assert!(
        matches!(&world.plan().verdicts[&Phase::Host], Verdict::Act(_)),
        "an ignored check holds nothing back"
    );
    assert_eq!(
        preflight(|config, _| config.proxy.component.config = keys(json!({"udpIdleTimeout": "250ms"}))),
        "FieldRefused: check kube-proxy-config: proxy.config.udpIdleTimeout: is gone since 1.26; remove it: only the mode \
         `userspace` read it, and that is gone too"
    );
    assert_eq!(
        preflight(|config, observed| {
            config.proxy.mode = ProxyMode::Nftables;
            observed.facts.proxy.version = "v1.29.1".parse().ok();
        }),
        "FieldRefused: check kube-proxy-config: proxy.mode: kube-proxy 1.29 does not know nftables yet, 1.31 does; write \
         `iptables`, or `proxy.config.featureGates.NFTablesProxyMode: true`"
    );
    assert_eq!(preflight(|_, observed| observed.facts.kubelet.version = None), "ok: 16 checks");
    // What the program itself lists is known.
    let listed = |config: &mut Config, observed: &mut Observed| {
        config.kubelet.extra_args.insert("of-a-vendor".to_owned(), "1".to_owned());
        observed.facts.kubelet.flags = vec!["of-a-vendor".to_owned()];
    };
    assert_eq!(preflight(listed), "ok: 17 checks");
}

#[test]
fn swap_that_the_kubelet_would_end_for() {
    let on = |observed: &mut Observed| observed.facts.swap = Some("/dev/sda2".to_owned());
    assert_eq!(
        preflight(|_, observed| on(observed)),
        "SwapOn: check swap: swap is on (/dev/sda2), and the kubelet does not start with it"
    );
    let allowed = preflight(|config, observed| {
        on(observed);
        config.kubelet.config = keys(json!({"failSwapOn": false}));
    });
    assert_eq!(allowed, "ok: 17 checks");
}
