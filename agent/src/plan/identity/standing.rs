//! Whether a certificate on disk is usable, and what is wrong with it where it is not.

use jiff::Timestamp;

use super::{Verdict, View, at, place};
use crate::desired::certificates::{CertificateSpec, Purpose};
use crate::observe::Fact;
use crate::observe::certificates::{self, Certificate};
use crate::reason::Reason;

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Why an operator must act where there is no way to ask for another.
    pub(super) reason: Reason,
    /// What was found.
    pub(super) message: String,
    /// When it goes by itself.
    pub(super) until: Option<Timestamp>,
}

impl Flaw {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), until: None }
    }

    /// `verdict` on the certificate that is to come, with what is wrong with the one there is. That there is none needs
    /// no word.
    pub(super) fn before(self, mut verdict: Verdict) -> Verdict {
        if self.reason != Reason::TokenMissing
            && let Verdict::Unmet { message, .. } = &mut verdict
        {
            *message = format!("{}; {message}", self.message);
        }
        verdict
    }
}

/// The certificate, where it is usable now: ours, with its key, valid, of this cluster, and not refused by it.
pub(super) fn standing<'a>(
    view: View<'_>,
    spec: &CertificateSpec,
    found: &'a Fact<Option<Certificate>>,
) -> Result<&'a Certificate, Flaw> {
    let path = place(spec.purpose).display();
    let certificate = match found {
        Ok(Some(certificate)) => certificate,
        Ok(None) => return Err(Flaw::new(Reason::TokenMissing, "there is no certificate yet")),
        // A pair that does not parse is as good as none: it is asked for anew, and replaced.
        Err(failure) => return Err(Flaw::new(Reason::TokenMissing, failure.message.clone())),
    };
    if !certificate.key_fits {
        return Err(Flaw::new(Reason::TokenMissing, format!("`{path}` does not hold its key")));
    }
    check(view, spec, certificate).map_err(|flaw| flaw.of(&format!("`{path}`")))?;
    if view.now.as_second() < certificate.not_before {
        let from = at(certificate.not_before);
        let until = Timestamp::from_second(certificate.not_before).ok();
        let message =
            format!("`{path}` is valid from {from} on, and here it is {}", at(view.now.as_second()));
        return Err(Flaw { reason: Reason::NotYetValid, message, until });
    }
    if !certificate.is_valid_at(view.now) {
        let message = format!("`{path}` expired at {}", at(certificate.not_after));
        return Err(Flaw::new(Reason::CertificateExpired, message));
    }
    let refused = &view.observed.watched.refused_key;
    if spec.purpose == Purpose::KubeletClient && refused.as_ref() == Some(&certificate.public_key_hash) {
        let message = format!(
            "`{}` refuses `{path}` (HTTP 401) although it is valid and cluster.ca signed it",
            view.config.cluster.server
        );
        return Err(Flaw::new(Reason::IdentityRefused, message));
    }
    Ok(certificate)
}

/// What is wrong with what a certificate says of itself.
pub(crate) struct Wrong {
    reason: Reason,
    what: String,
}

impl Wrong {
    fn of(self, which: &str) -> Flaw {
        Flaw::new(self.reason, format!("{which} {}", self.what))
    }

    /// A sentence about a certificate that is not installed.
    pub(crate) fn of_it(self) -> String {
        format!("it {}", self.what)
    }
}

/// What we asked for: subject, no CA, signed by the CA of clients.
pub(crate) fn check(view: View<'_>, spec: &CertificateSpec, certificate: &Certificate) -> Result<(), Wrong> {
    if let Some(wrong) = other_subject(spec, certificate) {
        return Err(wrong);
    }
    if certificate.is_ca {
        let what = "is a CA certificate".to_owned();
        return Err(Wrong { reason: Reason::CertificateRejected, what });
    }
    let field = if view.config.cluster.client_ca.is_some() { "cluster.clientCA" } else { "cluster.ca" };
    match &view.observed.client_ca {
        Ok(ca) if certificates::is_signed_by(certificate, ca) => Ok(()),
        Ok(ca) => Err(Wrong { reason: Reason::OtherCluster, what: other_ca(certificate, ca, field) }),
        Err(failure) => Err(Wrong { reason: failure.reason, what: failure.message.clone() }),
    }
}

fn other_ca(certificate: &Certificate, ca: &[u8], field: &str) -> String {
    let same_name = certificates::all(ca).iter().any(|ca| ca.subject_name == certificate.issuer);
    let more = if same_name { ": another one of the same name" } else { "" };
    format!("was signed by `{}`, which is not {field}{more}", certificate.issuer)
}

fn other_subject(spec: &CertificateSpec, certificate: &Certificate) -> Option<Wrong> {
    let mut wanted: Vec<(String, String)> =
        spec.subject.attributes().iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    wanted.sort();
    if certificate.subject == wanted {
        return None;
    }
    let (found, expected) = (&certificate.common_name, &spec.subject.common_name);
    let node = |name: &str| name.starts_with("system:node:");
    let (reason, more) = match spec.purpose {
        Purpose::KubeletClient if node(found) && found != expected => {
            let case = if found.eq_ignore_ascii_case(expected) { " (only the case differs)" } else { "" };
            (Reason::NodeRenamed, case)
        }
        _ => (Reason::CertificateRejected, ""),
    };
    let wanted: Vec<String> = wanted.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (found, wanted) = (certificate.subject_text(), wanted.join(", "));
    Some(Wrong { reason, what: format!("is for `{found}`, expected `{wanted}`{more}") })
}
