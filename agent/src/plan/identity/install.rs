//! What the API server issued is looked at before it is put in place.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::renewal::REREAD;
use super::request::Ask;
use super::{Step, Verdict, at, standing};
use crate::desired::certificates::Purpose;
use crate::desired::{paths, units};
use crate::observe::certificates::{self, Certificate, PendingKey};
use crate::ports::systemd::UnitState;
use crate::reason::Reason;

/// Installs the certificate in `pem`, or says why not. `since` is when the request was approved.
pub(super) fn verdict(
    ask: &Ask<'_>,
    key: &PendingKey,
    name: &str,
    pem: &[u8],
    since: Option<Timestamp>,
) -> Verdict {
    let message = |why: &str| format!("what CSR `{name}` brought is not installed: {why}");
    let rejected = |why: &str| Verdict::unmet(Reason::CertificateRejected, message(why));
    let again = |why: &str| ask.again(Reason::CertificateRejected, key, since, &message(why));
    let certificate = match certificates::parse(pem) {
        Ok(certificate) => certificate,
        Err(why) => return rejected(&why),
    };
    if let Err(wrong) = standing::check(ask.view, ask.spec, &certificate) {
        return rejected(&wrong.of_it());
    }
    if certificate.public_key_hash != key.public_key_hash {
        return again("it is for another key");
    }
    let now = ask.view.now.as_second();
    if now < certificate.not_before {
        let message = format!(
            "what CSR `{name}` brought is valid from {} on, and here it is {}",
            at(certificate.not_before),
            at(now)
        );
        let until = Timestamp::from_second(certificate.not_before).ok();
        return Verdict::Unmet { reason: Reason::NotYetValid, message, until };
    }
    if !certificate.is_valid_at(ask.view.now) {
        let why = format!(
            "it expired at {}; compare this machine's clock with the API server's",
            at(certificate.not_after)
        );
        return again(&why);
    }
    // A signer may shorten the life of what it issues; what is older is a copy of something that was there before.
    if let Some(current) = ask.current
        && certificate.not_before < current.not_before
        && certificate.not_after <= current.not_after
    {
        return again("it is older than the one in use, and ends no later");
    }
    let (path, link) = place(ask.spec.purpose, &certificate);
    let mut steps = ask.before.clone();
    steps.push(Step::InstallCertificate { certificate: ask.spec.clone(), pem: pem.to_vec(), path, link });
    if ask.spec.purpose == Purpose::KubeProxy && ask.view.observed.renew_proxy {
        steps.push(Step::RemoveFile(paths::renew_proxy().to_owned()));
    }
    steps.push(Step::RemoveFile(ask.spec.pending_key.to_owned()));
    steps.extend(restart(ask));
    Verdict::Act(steps)
}

/// kube-proxy goes on with the certificate it has read until it reads the file again. Where that one ends before, or has
/// ended, it is started anew; its rules stay meanwhile. A crash before this step costs it the wait and no more.
fn restart(ask: &Ask<'_>) -> Option<Step> {
    let state = ask.view.observed.units.get(units::KUBE_PROXY);
    let runs = matches!(state, Some(Ok(state)) if UnitState::is_active(state));
    let lasts = ask.current.is_some_and(|current| current.not_after - ask.view.now.as_second() > REREAD);
    (ask.spec.purpose == Purpose::KubeProxy && runs && !lasts).then(|| Step::RestartUnit {
        unit: units::KUBE_PROXY,
        because: "the certificate it uses ends before it reads the new one".to_owned(),
    })
}

/// The kubelet's own convention is a file named by time and a symlink. The time is the certificate's, so that a
/// repeated installation writes the same file.
fn place(purpose: Purpose, certificate: &Certificate) -> (PathBuf, Option<PathBuf>) {
    match purpose {
        Purpose::KubeProxy => (paths::proxy_client().to_owned(), None),
        Purpose::KubeletClient => {
            let time = Timestamp::from_second(certificate.not_before).unwrap_or(Timestamp::UNIX_EPOCH);
            let name = format!("kubelet-client-{}.pem", time.strftime("%Y-%m-%d-%H-%M-%S"));
            (Path::new(paths::kubelet_pki()).join(name), Some(paths::kubelet_client().to_owned()))
        }
    }
}
