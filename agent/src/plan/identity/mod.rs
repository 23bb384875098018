//! Certificates, from the key to the renewal: which of them is usable, what is wrong with one that is not, and how
//! another comes about. One path for the kubelet's and kube-proxy's.

mod install;
mod renewal;
mod request;
mod serving;
mod standing;

use jiff::Timestamp;

use super::{Step, Verdict, View, queue, supplied};
use crate::config::TokenSource;
use crate::desired::certificates::{self as desired, Purpose};
use crate::desired::paths;
use crate::observe::certificates::Certificate;
use crate::reason::Reason;
pub use renewal::{Window, kubelet_is_late, window};
pub(super) use renewal::{next_instant, verdict as renewal};
use request::Ask;
pub(super) use serving::verdict as serving;
pub(super) use standing::check;
use standing::{Flaw, standing};

/// The node's own certificate. A token asks for it; the kubelet renews it from then on.
pub(super) fn client(view: View<'_>) -> Verdict {
    if let Some(pair) = &view.observed.supplied {
        return supplied::client(view, pair);
    }
    let spec = desired::kubelet_client(view.config);
    let flaw = match standing(view, &spec, &view.observed.client_certificate) {
        Ok(certificate) => return Verdict::Satisfied(valid_for(certificate, view.now)),
        Err(flaw) => flaw,
    };
    if let Flaw { reason: Reason::NotYetValid, message, until } = flaw {
        return Verdict::Unmet { reason: Reason::NotYetValid, message, until };
    }
    match &view.observed.token {
        Ok(Some(token)) if token.is_fleeting => return Verdict::Act(vec![Step::KeepToken]),
        Ok(Some(_)) => {}
        Ok(None) => return no_token(view, &flaw, "identity.token is not set"),
        Err(failure) => return no_token(view, &flaw, &failure.message),
    }
    let key = &view.observed.pending_client_key;
    let ask = Ask { view, spec: &spec, key, current: None, before: leaving(view, &flaw) };
    flaw.before(ask.verdict())
}

/// What the node leaves behind when it gets a certificate in the place of one that is no good any more.
fn leaving(view: View<'_>, flaw: &Flaw) -> Vec<Step> {
    let mut left = Vec::new();
    // The note that the Node was Ready is about another Node than the one that is to come.
    if matches!(flaw.reason, Reason::NodeRenamed | Reason::OtherCluster) && view.is_joined() {
        left.push(paths::joined());
    }
    // No API server believes what another cluster's CA signed. Without one the kubelet asks for one when it starts.
    if flaw.reason == Reason::OtherCluster && matches!(view.observed.serving_certificate, Ok(Some(_))) {
        left.push(paths::kubelet_server());
    }
    left.extend(held_in_memory(flaw).then(paths::kubelet_kubeconfig));
    left.into_iter().map(|path| Step::RemoveFile(path.to_owned())).collect()
}

/// Whether a program that runs keeps what is replaced here, and has to be started anew: kubelet and kube-proxy read the
/// CA once, and the kubelet a client certificate that is valid. Its kubeconfig is one of the files that it is started
/// anew for, and is written anew where it is missing; the start waits until the certificate is there.
fn held_in_memory(flaw: &Flaw) -> bool {
    matches!(flaw.reason, Reason::OtherCluster | Reason::IdentityRefused)
}

/// kube-proxy's certificate. The node asks for it.
pub(super) fn proxy(view: View<'_>) -> Verdict {
    if !view.config.proxy.enabled {
        return Verdict::Satisfied("kube-proxy is not ours".to_owned());
    }
    if let Some(kubeconfig) = &view.observed.proxy_kubeconfig {
        return supplied::proxy(view, kubeconfig);
    }
    let spec = desired::proxy(view.config);
    let flaw = match standing(view, &spec, &view.observed.proxy_certificate) {
        Ok(certificate) => return Verdict::Satisfied(valid_for(certificate, view.now)),
        Err(flaw) => flaw,
    };
    if let Flaw { reason: Reason::NotYetValid, message, until } = flaw {
        return Verdict::Unmet { reason: Reason::NotYetValid, message, until };
    }
    if let Some(verdict) = queue::after_the_kubelet(view, "kube-proxy's certificate") {
        return verdict;
    }
    let again = held_in_memory(&flaw).then(|| Step::RemoveFile(paths::proxy_kubeconfig().to_owned()));
    let before = again.into_iter().collect();
    let ask = Ask { view, spec: &spec, key: &view.observed.pending_proxy_key, current: None, before };
    flaw.before(ask.verdict())
}

fn no_token(view: View<'_>, flaw: &Flaw, why: &str) -> Verdict {
    Verdict::unmet(flaw.reason, format!("{}, and {why}; {}", flaw.message, how_to_get_a_token(view)))
}

/// The command that mints a token for this node, and where it goes.
fn how_to_get_a_token(view: View<'_>) -> String {
    let place = match &view.config.identity.token {
        Some(TokenSource::File(path)) => format!("write it to `{}` (mode 0600)", path.display()),
        Some(TokenSource::Credential(name)) => {
            format!("pass it as the credential `{name}` and run `systemctl restart kn-agent`")
        }
        Some(TokenSource::Value(_)) => "write it to identity.token.value".to_owned(),
        None => {
            "write it to `/etc/kn-agent/token` (mode 0600) and set `identity: {token: {file: /etc/kn-agent/token}}`"
                .to_owned()
        }
    };
    let name = &view.config.node.name;
    format!("on an admin machine run `kn-agent token create --node {name} --print token`, then {place}")
}

pub(super) fn valid_for(certificate: &Certificate, now: Timestamp) -> String {
    let hours = (certificate.not_after - now.as_second()) / 3600;
    format!("{}, valid for {} days {} hours", certificate.common_name, hours / 24, hours % 24)
}

/// An instant as it stands in messages; what can't be one is told as its number of seconds.
fn at(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |at| at.to_string())
}

/// Where a certificate of this purpose is.
fn place(purpose: Purpose) -> &'static std::path::Path {
    match purpose {
        Purpose::KubeletClient => paths::kubelet_client(),
        Purpose::KubeProxy => paths::proxy_client(),
    }
}
