//! Flags of kube-proxy that are keys of ours.

use super::draft::Draft;
use super::identity::Mode;
use super::{Gathered, Program};

/// Sets the keys.
pub(super) fn settle(gathered: &Gathered, mode: Mode, draft: &mut Draft) {
    let flag = |name| gathered.flag(Program::Proxy, name);
    name(gathered, draft);
    if let Some(given) = flag("kubeconfig") {
        let why = match mode {
            Mode::Certificate => {
                draft.set(&["proxy", "kubeconfig"], given.text().into());
                "kept as proxy.kubeconfig: it must be private (mode 0600), and is read where it is; left out, kn-agent asks for \
                 a certificate of kube-proxy's own, which somebody approves"
            }
            Mode::Bootstrap => {
                "dropped: kn-agent asks for a certificate of this node's kube-proxy and renews it; `proxy.kubeconfig` would \
                 go on with a key that all nodes share"
            }
        };
        draft.note(&given.place, &given.shown(), why);
    }
    if let Some(given) = flag("cluster-cidr") {
        draft.set(&["cluster", "podCIDR"], given.text().into());
        let why = "kept as cluster.podCIDR: the block of the pods, never that of the Services (`cluster.serviceCIDR` has them \
                   compared); only what comes from outside it is then masqueraded, and network policies see who calls";
        draft.note(&given.place, &given.shown(), why);
    }
    if let Some(given) = flag("proxy-mode") {
        match given.text() {
            "" | "iptables" => draft.note(&given.place, &given.shown(), "dropped: the default"),
            mode @ ("nftables" | "ipvs") => draft.set(&["proxy", "mode"], mode.into()),
            "userspace" => draft.note(
                &given.place,
                &given.shown(),
                "dropped: removed in 1.26 (kubernetes/kubernetes#112133); `proxy.mode` is iptables",
            ),
            _ => draft.note(
                &given.place,
                &given.shown(),
                "dropped: there is no such mode; `proxy.mode` is iptables",
            ),
        }
    }
    for (name, why) in [
        ("config", "dropped: that file is not read here; write its fields into proxy.config"),
        ("master", "dropped: `cluster.server` is for kube-proxy, too"),
    ] {
        if let Some(given) = flag(name) {
            draft.note(&given.place, &given.shown(), why);
        }
    }
}

/// One name drives both.
fn name(gathered: &Gathered, draft: &mut Draft) {
    let Some(given) = gathered.flag(Program::Proxy, "hostname-override") else { return };
    match gathered.flag(Program::Kubelet, "hostname-override") {
        None => draft.set(&["node", "name"], given.text().into()),
        Some(kubelets) if kubelets.text() == given.text() => {}
        Some(kubelets) => {
            let why = format!(
                "dropped: the kubelet's is `{}`, and kube-proxy has to go by the same (`node.name`)",
                kubelets.text()
            );
            draft.note(&given.place, &given.shown(), &why);
        }
    }
}
