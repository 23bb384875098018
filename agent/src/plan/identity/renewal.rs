//! Renewal: kube-proxy's certificate is the agent's to renew, the kubelet's is watched; and what a certificate leaves
//! behind when it is there.

use jiff::Timestamp;

use super::request::Ask;
use super::{Step, Verdict, View, at, standing};
use crate::desired::certificates::{self as desired, Purpose};
use crate::desired::paths;
use crate::observe::certificates::Certificate;
use crate::ports::cluster::Seen;
use crate::ports::keys;
use crate::reason::Reason;

/// Signers set the begin back by this much, for clocks that are behind (kube-controller-manager, certificate
/// authority): the life that counts begins when it is issued.
const BACKDATE: i64 = 300;

/// client-go reads a certificate file again every 5 minutes, from 1.18 on and in every version since (transport,
/// `CertCallbackRefreshDuration`): a certificate that is replaced later than this before its end ends in use. A tenth
/// more, since no clock ticks to the second.
pub(super) const REREAD: i64 = 330;

/// What a renewal may take beside that, for approver, signer and a busy machine.
const ISSUE: i64 = 60;

/// When a certificate is to be renewed, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The earliest instant for any node.
    pub from: i64,
    /// The latest.
    pub until: i64,
    /// This node's.
    pub at: i64,
}

impl Window {
    /// From when on a renewal that has not come is an alarm: half of what is left after its time.
    pub fn alarm(&self, not_after: i64) -> i64 {
        self.at + (not_after - self.at).max(0) / 2
    }
}

/// 70 to 90 % of the life, as the kubelet does it, at an instant of this node's and key's own; earlier where the file
/// would be read again too late, unless that would be in the first quarter of the life: then kube-proxy is started anew
/// with each certificate. The shortest life that can be asked for, 10 minutes, is long enough.
pub fn window(node: &str, purpose: Purpose, certificate: &Certificate) -> Window {
    let whole = certificate.not_after.saturating_sub(certificate.not_before).max(0);
    let begin = certificate.not_before.saturating_add(BACKDATE.min(whole / 2));
    let life = certificate.not_after.saturating_sub(begin).max(0);
    let late = life - REREAD - ISSUE;
    let until = if late >= life / 4 { late.min(life / 10 * 9) } else { life / 10 * 9 };
    let from = until / 9 * 7;
    let own = format!("{node} {} {}", purpose.as_str(), certificate.public_key_hash);
    let hash = keys::sha256(own.as_bytes());
    let part = hash.get(..6).and_then(|hex| i64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let share = (i128::from(until - from) * i128::from(part)) >> 24;
    let own = from + i64::try_from(share).unwrap_or(0);
    Window { from: begin + from, until: begin + until, at: begin + own }
}

/// From when on a client certificate that the kubelet has not renewed is an alarm: it does so at 70 to 90 % of the life
/// (k8s.io/client-go, certificate_manager.go, `nextRotationDeadline`).
pub fn kubelet_is_late(certificate: &Certificate) -> i64 {
    certificate.not_after - certificate.not_after.saturating_sub(certificate.not_before).max(0) / 10
}

/// Leftovers are removed, kube-proxy's certificate is renewed, a kubelet that does not renew is told.
pub(crate) fn verdict(view: View<'_>) -> Verdict {
    let leftovers = leftovers(view);
    if !leftovers.is_empty() {
        return Verdict::Act(leftovers.into_iter().map(|path| Step::RemoveFile(path.to_owned())).collect());
    }
    let proxy = proxy(view);
    match (proxy, kubelet(view)) {
        (Some(act @ Verdict::Act(_)), _) => act,
        (_, Some(late)) => late,
        (Some(waiting), None) => waiting,
        (None, None) => Verdict::Satisfied(match proxy_in_use(view) {
            Some((_, window)) => format!("kube-proxy's certificate at {}", at(window.at)),
            None => "nothing to renew".to_owned(),
        }),
    }
}

/// kube-proxy's certificate where it is ours and usable.
fn proxy_in_use(view: View<'_>) -> Option<(&Certificate, Window)> {
    let spec = desired::proxy(view.config);
    let found = &view.observed.proxy_certificate;
    let certificate = is_proxy_ours(view).then(|| standing::standing(view, &spec, found).ok())??;
    Some((certificate, window(view.config.node.name.as_str(), Purpose::KubeProxy, certificate)))
}

/// Whether kube-proxy runs here, with a certificate that we ask for.
fn is_proxy_ours(view: View<'_>) -> bool {
    view.config.proxy.enabled && view.observed.proxy_kubeconfig.is_none()
}

fn is_due(view: View<'_>, window: Window) -> bool {
    view.observed.renew_proxy || view.now.as_second() >= window.at
}

/// What a certificate that is there leaves behind: the key it waited with, the wish for it, the token's copy.
fn leftovers(view: View<'_>) -> Vec<&'static std::path::Path> {
    let observed = view.observed;
    let mut paths = Vec::new();
    // A crash between installing a certificate and this leaves a second copy of its key.
    if matches!(observed.pending_client_key, Ok(Some(_))) {
        paths.push(paths::pending_client_key());
    }
    // The certificate has proven itself when the API server has answered to it.
    if observed.has_kept_token
        && matches!(observed.watched.node, Some(Ok(Seen::Present(_) | Seen::Absent)))
        && observed.watched.refused_key.is_none()
    {
        paths.push(paths::kept_token());
    }
    let pending = observed.pending_proxy_key.as_ref().ok().and_then(Option::as_ref);
    let ours = is_proxy_ours(view);
    match (pending, proxy_in_use(view)) {
        (Some(key), Some((certificate, _))) if key.public_key_hash == certificate.public_key_hash => {
            // The wish goes first: while the key is there it is known to be fulfilled.
            paths.extend(observed.renew_proxy.then(paths::renew_proxy));
            paths.push(paths::pending_proxy_key());
        }
        (Some(_), Some((_, window))) if !is_due(view, window) => paths.push(paths::pending_proxy_key()),
        (pending, None) if !ours => {
            paths.extend(observed.renew_proxy.then(paths::renew_proxy));
            paths.extend(pending.map(|_| paths::pending_proxy_key()));
        }
        _ => {}
    }
    // The phase that installed it may be about to.
    paths.retain(|&path| !observed.under_way.contains(&Step::RemoveFile(path.to_owned()).key()));
    paths
}

fn proxy(view: View<'_>) -> Option<Verdict> {
    let (certificate, window) = proxy_in_use(view)?;
    if !is_due(view, window) {
        return None;
    }
    let spec = desired::proxy(view.config);
    let ask = Ask {
        view,
        spec: &spec,
        key: &view.observed.pending_proxy_key,
        current: Some(certificate),
        before: Vec::new(),
    };
    let verdict = ask.verdict();
    let end = certificate.not_after;
    if view.now.as_second() < window.alarm(end) {
        return Some(verdict);
    }
    Some(match verdict {
        Verdict::Unmet { reason, message, until } => Verdict::Unmet {
            reason: Reason::RenewalFailing,
            message: format!("kube-proxy's certificate ends at {}: {reason}: {message}", at(end)),
            until,
        },
        other => other,
    })
}

fn kubelet(view: View<'_>) -> Option<Verdict> {
    // One that was issued before is told of where it is judged.
    if view.observed.supplied.is_some() {
        return None;
    }
    let certificate = view.observed.client_certificate.as_ref().ok()?.as_ref()?;
    if view.now.as_second() < kubelet_is_late(certificate) {
        return None;
    }
    let unit = crate::desired::units::KUBELET;
    let state = super::super::unit(view, unit).map_or("unknown", |state| state.active.as_str());
    Some(Verdict::Unmet {
        reason: Reason::RenewalFailing,
        message: format!(
            "`{}` ends at {} and the kubelet has not renewed it; `{unit}` is {state}",
            paths::kubelet_client().display(),
            at(certificate.not_after)
        ),
        until: Timestamp::from_second(certificate.not_after).ok(),
    })
}

/// The next instant at which a certificate that is in order comes due, late or to its end.
pub(crate) fn next_instant(view: View<'_>) -> Option<Timestamp> {
    let mut instants = Vec::new();
    let found = [&view.observed.client_certificate, &view.observed.proxy_certificate];
    for certificate in found.into_iter().chain([&view.observed.serving_certificate]) {
        if let Ok(Some(certificate)) = certificate {
            // The last second of its life is its own.
            instants.push(certificate.not_after.saturating_add(1));
        }
    }
    if let Ok(Some(client)) = &view.observed.client_certificate {
        instants.push(kubelet_is_late(client));
    }
    if let Some((certificate, window)) = proxy_in_use(view) {
        instants.extend([window.at, window.alarm(certificate.not_after)]);
    }
    let now = view.now.as_second();
    let next = instants.into_iter().filter(|&at| at > now).min()?;
    Timestamp::from_second(next).ok()
}
