//! Certificates that were issued before: judged before use, never asked for, never renewed by us.

use jiff::Timestamp;

use super::{Verdict, View, identity};
use crate::desired::versions::Behaviour;
use crate::observe::Fact;
use crate::observe::certificates::Certificate;
use crate::observe::supplied::{Kubeconfig, Pair};
use crate::reason::Reason;

fn file_of(view: View<'_>) -> String {
    let pair = view.config.identity.supplied.as_ref();
    pair.map(|pair| format!("identity.certFile `{}`", pair.certificate.display())).unwrap_or_default()
}

/// The node's certificate in mode `certificate`.
pub(super) fn client(view: View<'_>, found: &Fact<Pair>) -> Verdict {
    let pair = match found {
        Ok(pair) => pair,
        Err(failure) => return Verdict::from_failure(failure, None),
    };
    let file = file_of(view);
    let refused = |why: &str| Verdict::unmet(Reason::CertificateUnusable, format!("{file}: {why}"));
    let spec = crate::desired::certificates::kubelet_client(view.config);
    if let Err(why) = identity::check(view, &spec, &pair.certificate) {
        return refused(&why.of_it());
    }
    if !pair.certificate.key_fits {
        let key = view.config.identity.supplied.as_ref().map(|pair| pair.key.display().to_string());
        return refused(&format!(
            "identity.keyFile `{}` is the key of another certificate",
            key.unwrap_or_default()
        ));
    }
    if !pair.uses.client {
        return refused("it is not for client authentication (extended key usage), which the kubelet needs");
    }
    match validity(&file, &pair.certificate, view.now) {
        Some(verdict) => verdict,
        None => Verdict::Satisfied(identity::valid_for(&pair.certificate, view.now)),
    }
}

/// Why the certificate is not to be used now, if so.
fn validity(file: &str, certificate: &Certificate, now: Timestamp) -> Option<Verdict> {
    let day = |second| Timestamp::from_second(second).map(|at| at.to_string()).unwrap_or_default();
    let why = if now.as_second() > certificate.not_after {
        format!("it expired at {}", day(certificate.not_after))
    } else if now.as_second() < certificate.not_before {
        format!(
            "it is valid only from {}, by this machine's clock it is {}",
            day(certificate.not_before),
            day(now.as_second())
        )
    } else {
        return None;
    };
    Some(Verdict::unmet(Reason::SuppliedExpired, format!("{file}: {why}")))
}

/// What the kubelet serves with, where that is the supplied certificate; `None` where it asks for one of its own.
pub(super) fn serving(view: View<'_>) -> Option<Verdict> {
    let Some(Ok(pair)) = view.observed.supplied.as_ref().filter(|_| is_served(view)) else { return None };
    let name = view.config.node.name.as_str();
    let has_name = match name.parse() {
        Ok(address) => pair.uses.addresses.contains(&address),
        Err(_) => pair.uses.names.iter().any(|other| other.eq_ignore_ascii_case(name)),
    };
    let address = crate::desired::address(view.config, &view.observed.facts);
    let missing_name = (!has_name).then(|| name.to_owned());
    let missing_address =
        address.filter(|address| !pair.uses.addresses.contains(address)).map(|a| a.to_string());
    let mut missing: Vec<String> = missing_name.into_iter().chain(missing_address).collect();
    missing.dedup();
    if missing.is_empty() {
        return Some(Verdict::Satisfied(format!("the kubelet serves with {}", file_of(view))));
    }
    let addresses = pair.uses.addresses.iter().map(ToString::to_string);
    let found: Vec<String> = pair.uses.names.iter().cloned().chain(addresses).collect();
    Some(Verdict::unmet(
        Reason::CertificateNames,
        format!("{} is for [{}] and lacks {}", file_of(view), found.join(", "), missing.join(" and ")),
    ))
}

/// Whether the kubelet serves with the supplied certificate.
fn is_served(view: View<'_>) -> bool {
    view.observed.facts.supplied_serves == Some(true)
}

/// When what the kubelet serves with was put in place, where it has to be started anew to read that again.
pub(super) fn served_since(view: View<'_>) -> i64 {
    let reads_again = view
        .observed
        .facts
        .kubelet
        .version
        .is_some_and(|version| Behaviour::ServingFileReload.holds(version));
    match &view.observed.supplied {
        Some(Ok(pair)) if is_served(view) && !reads_again => pair.placed_usec,
        _ => 0,
    }
}

/// When kube-proxy's supplied kubeconfig was put in place: it is read once a start.
pub(super) fn kubeconfig_since(view: View<'_>) -> i64 {
    match &view.observed.proxy_kubeconfig {
        Some(Ok(found)) => found.placed_usec,
        _ => 0,
    }
}

fn kubeconfig_of(view: View<'_>) -> String {
    let path = view.config.proxy.kubeconfig.as_ref();
    path.map(|path| format!("proxy.kubeconfig `{}`", path.display())).unwrap_or_default()
}

/// kube-proxy's kubeconfig that was made elsewhere.
pub(super) fn proxy(view: View<'_>, found: &Fact<Kubeconfig>) -> Verdict {
    let found = match found {
        Ok(found) => found,
        Err(failure) => return Verdict::from_failure(failure, None),
    };
    let file = kubeconfig_of(view);
    let refused = |why: &str| Verdict::unmet(Reason::KubeconfigUnusable, format!("{file}: {why}"));
    if found.is_insecure {
        return refused("it has `insecure-skip-tls-verify: true`: anybody could pose as the API server");
    }
    if !found.server.starts_with("https://") {
        return refused(&format!("its server is `{}`, expected https://HOST:PORT", found.server));
    }
    if !found.has_ca {
        return refused("it has neither `certificate-authority-data` nor `certificate-authority`");
    }
    let whose = match &found.certificate {
        None => "a token".to_owned(),
        Some(certificate) if !certificate.key_fits => {
            return refused("its client key is the key of another certificate");
        }
        Some(certificate) => match validity(&file, certificate, view.now) {
            Some(verdict) => return verdict,
            None => identity::valid_for(certificate, view.now),
        },
    };
    let server = view.config.cluster.server.as_str();
    if found.server.trim_end_matches('/') == server {
        return Verdict::Satisfied(format!("{file}: {whose}"));
    }
    Verdict::Satisfied(format!("{file}: {whose}; its server is {}, cluster.server is {server}", found.server))
}

/// The supplied certificates of which nine tenths of their life are over: nobody but the operator renews them.
pub(super) fn expiring(view: View<'_>) -> Option<Verdict> {
    let pair = view.observed.supplied.iter().flatten().map(|pair| (file_of(view), &pair.certificate));
    let proxy =
        view.observed.proxy_kubeconfig.iter().flatten().filter_map(|found| found.certificate.as_ref());
    let proxy = proxy.map(|certificate| (kubeconfig_of(view), certificate));
    let told: Vec<String> = pair.chain(proxy).filter_map(|(file, c)| aging(&file, c, view.now)).collect();
    (!told.is_empty()).then(|| Verdict::unmet(Reason::CertificateExpiring, told.join("; ")))
}

fn aging(file: &str, certificate: &Certificate, now: Timestamp) -> Option<String> {
    let life = certificate.not_after.saturating_sub(certificate.not_before).max(1);
    let used = now.as_second().saturating_sub(certificate.not_before);
    let percent = used.saturating_mul(100) / life;
    (percent >= 90).then(|| {
        format!("{file}: {percent} % of its life are over; {}", identity::valid_for(certificate, now))
    })
}
