//! Certificates: key, request, approval, check, installation. One path for the kubelet's and kube-proxy's.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::{Step, Verdict, View, supplied};
use crate::config::TokenSource;
use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::desired::paths;
use crate::observe::Fact;
use crate::observe::certificates::{self, Certificate, PendingKey};
use crate::ports::Failure;
use crate::ports::cluster::Seen;
use crate::reason::Reason;

/// The node's own certificate.
pub(super) fn client(view: View<'_>) -> Verdict {
    let spec = crate::desired::certificates::kubelet_client(view.config);
    let observed = view.observed;
    if let Some(pair) = &observed.supplied {
        return supplied::client(view, pair);
    }
    if let Some(verdict) = usable(view, &spec, &observed.client_certificate, &observed.pending_client_key) {
        return verdict;
    }
    if view.config.identity.token.is_none() {
        return Verdict::blocked(
            Reason::TokenMissing,
            "there is no usable client certificate, and identity.token is not set",
        );
    }
    obtain(view, &spec, &observed.pending_client_key)
}

/// kube-proxy's certificate.
pub(super) fn proxy(view: View<'_>) -> Verdict {
    if !view.config.proxy.enabled {
        return Verdict::Satisfied("kube-proxy is not ours".to_owned());
    }
    if let Some(kubeconfig) = &view.observed.proxy_kubeconfig {
        return supplied::proxy(view, kubeconfig);
    }
    let spec = crate::desired::certificates::proxy(view.config);
    if let Some(verdict) =
        usable(view, &spec, &view.observed.proxy_certificate, &view.observed.pending_proxy_key)
    {
        return verdict;
    }
    obtain(view, &spec, &view.observed.pending_proxy_key)
}

/// The kubelet asks for its serving certificate by itself; we tell what became of it.
pub(super) fn serving(view: View<'_>) -> Verdict {
    if let Some(verdict) = supplied::serving(view) {
        return verdict;
    }
    match &view.observed.serving_certificate {
        Ok(Some(certificate)) if certificate.is_valid_at(view.now) => {
            Verdict::Satisfied(valid_for(certificate, view.now))
        }
        Ok(_) => Verdict::waiting(
            Reason::ServingCertPending,
            "the kubelet has asked for it; nobody has approved the request yet",
        ),
        Err(failure) => Verdict::from_failure(failure, None),
    }
}

fn usable(
    view: View<'_>,
    spec: &CertificateSpec,
    found: &Fact<Option<Certificate>>,
    pending: &Fact<Option<PendingKey>>,
) -> Option<Verdict> {
    // A pair that does not parse is as good as none: it is asked for anew, and replaced.
    let Ok(Some(certificate)) = found else { return None };
    let ours = check(view, spec, certificate).is_ok() && certificate.key_fits;
    if !ours || !certificate.is_valid_at(view.now) {
        return None;
    }
    // A crash between installing the certificate and this leaves a second copy of its key.
    if matches!(pending, Ok(Some(_))) {
        return Some(Verdict::Act(vec![Step::RemoveFile(spec.pending_key.to_owned())]));
    }
    Some(Verdict::Satisfied(valid_for(certificate, view.now)))
}

pub(super) fn valid_for(certificate: &Certificate, now: Timestamp) -> String {
    let hours = (certificate.not_after - now.as_second()) / 3600;
    format!("{}, valid for {} days {} hours", certificate.common_name, hours / 24, hours % 24)
}

/// What we asked for: subject, no CA, signed by the CA of clients.
pub(super) fn check(view: View<'_>, spec: &CertificateSpec, certificate: &Certificate) -> Result<(), String> {
    let groups: Vec<&str> = spec.subject.organization.as_deref().into_iter().collect();
    if certificate.common_name != spec.subject.common_name || certificate.organizations != groups {
        return Err(format!(
            "it is for `{}` in {:?}, expected `{}` in {groups:?}",
            certificate.common_name, certificate.organizations, spec.subject.common_name
        ));
    }
    if certificate.is_ca {
        return Err("it is a CA certificate".to_owned());
    }
    let ca = if view.config.cluster.client_ca.is_some() { "cluster.clientCA" } else { "cluster.ca" };
    match &view.observed.client_ca {
        Ok(bundle) if certificates::is_signed_by(certificate, bundle) => Ok(()),
        Ok(_) => Err(format!("{ca} did not sign it")),
        Err(failure) => Err(failure.message.clone()),
    }
}

fn obtain(view: View<'_>, spec: &CertificateSpec, key: &Fact<Option<PendingKey>>) -> Verdict {
    let key = match key {
        Ok(Some(key)) => key,
        Ok(None) => return Verdict::Act(vec![Step::MakeKey(spec.pending_key.to_owned())]),
        Err(failure) => return Verdict::from_failure(failure, None),
    };
    let name = spec.request_name(&key.public_key_hash);
    match view.observed.watched.requests.get(&name) {
        None | Some(Ok(Seen::Absent)) => submit(view, spec, name),
        Some(Ok(Seen::NotYet)) => Verdict::waiting(Reason::CsrPending, format!("CSR `{name}` is submitted")),
        Some(Err(failure)) => Verdict::from_failure(&explained(view, spec, failure), None),
        Some(Ok(Seen::Present(request))) => follow(view, spec, key, &name, request),
    }
}

fn submit(view: View<'_>, spec: &CertificateSpec, name: String) -> Verdict {
    let step = Step::SubmitRequest { certificate: spec.clone(), name };
    match super::held_back(view, &step) {
        Some(attempt) => {
            Verdict::from_failure(&explained(view, spec, &attempt.failure), Some(attempt.retry_at))
        }
        None => Verdict::Act(vec![step]),
    }
}

/// A failure with what it is about: the address that was asked, the token, or the binding that would allow it.
fn explained(view: View<'_>, spec: &CertificateSpec, failure: &Failure) -> Failure {
    let by_token = spec.purpose == Purpose::KubeletClient;
    let more = match (failure.reason, spec.binding) {
        (Reason::ApiUnreachable | Reason::ApiUntrusted, _) => {
            format!("; asked {}", view.config.cluster.server)
        }
        (Reason::Unauthorized, _) if by_token => match &view.config.identity.token {
            Some(TokenSource::Value(token)) => format!("; it does not accept the {}", token.shown()),
            Some(TokenSource::File(path)) => {
                format!("; it does not accept the token in `{}`", path.display())
            }
            Some(TokenSource::Credential(name)) => format!("; it does not accept the credential `{name}`"),
            None => String::new(),
        },
        (Reason::Forbidden, Some(binding)) => {
            format!("; ClusterRoleBinding `{binding}` is missing or not for this token's groups")
        }
        _ => String::new(),
    };
    Failure::new(failure.reason, format!("{}{more}", failure.message))
}

fn follow(
    view: View<'_>,
    spec: &CertificateSpec,
    key: &PendingKey,
    name: &str,
    request: &CertificateSigningRequest,
) -> Verdict {
    let status = request.status.as_ref();
    let condition = |wanted: &str| {
        let conditions = status?.conditions.as_ref()?;
        let found = conditions.iter().find(|c| c.type_ == wanted)?;
        Some(format!(
            "{}: {}",
            found.reason.as_deref().unwrap_or("no reason"),
            found.message.as_deref().unwrap_or("no message")
        ))
    };
    if let Some(why) = condition("Denied") {
        return Verdict::blocked(Reason::CsrDenied, format!("CSR `{name}` was denied: {why}"));
    }
    if let Some(why) = condition("Failed") {
        return Verdict::blocked(Reason::CsrFailed, format!("the signer refused CSR `{name}`: {why}"));
    }
    if let Some(issued) = status.and_then(|s| s.certificate.as_ref()) {
        return install(view, spec, key, name, &issued.0);
    }
    if condition("Approved").is_some() {
        return Verdict::waiting(
            Reason::CsrUnissued,
            format!("CSR `{name}` is approved and waits for its signer {}", spec.signer),
        );
    }
    Verdict::waiting(Reason::CsrPending, format!("CSR `{name}` waits for approval"))
}

fn install(view: View<'_>, spec: &CertificateSpec, key: &PendingKey, name: &str, pem: &[u8]) -> Verdict {
    let rejected = |why: String| {
        Verdict::blocked(
            Reason::CertificateRejected,
            format!("what CSR `{name}` brought is not installed: {why}"),
        )
    };
    let certificate = match certificates::parse(pem) {
        Ok(certificate) => certificate,
        Err(why) => return rejected(why),
    };
    if let Err(why) = check(view, spec, &certificate) {
        return rejected(why);
    }
    if certificate.public_key_hash != key.public_key_hash {
        return rejected("it is for another key".to_owned());
    }
    if !certificate.is_valid_at(view.now) {
        return rejected(
            "it is not valid now; compare this machine's clock with the API server's".to_owned(),
        );
    }
    let (path, link) = place(spec.purpose, &certificate);
    Verdict::Act(vec![
        Step::InstallCertificate { certificate: spec.clone(), pem: pem.to_vec(), path, link },
        Step::RemoveFile(spec.pending_key.to_owned()),
    ])
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
