//! Every certificate of a node: whose, until when, who renews it and whether that can work.

mod judge;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::text;
use crate::observe::Fact;
use crate::observe::certificates::Certificate;
pub use judge::Looked;

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/certs/v1";

/// The certificates of a node.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certs {
    /// `kn-agent.io/certs/v1`.
    pub schema: &'static str,
    /// The Node's name.
    pub node: String,
    /// When this was looked at.
    #[schemars(with = "String")]
    pub looked_at: Timestamp,
    /// The certificates.
    pub certificates: Vec<CertificateStatus>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// `kubelet-client`, `kubelet-serving`, `kube-proxy`, or `ca`, `ca-2` … for those of the bundle.
    pub name: String,
    /// Where it is.
    pub file: String,
    /// How it is.
    pub state: CertificateState,
    /// Who it is for.
    pub subject: Option<String>,
    /// Who signed it.
    pub issuer: Option<String>,
    /// Its serial number, hexadecimal.
    pub serial: Option<String>,
    /// The DNS names and addresses it is for.
    pub names: Vec<String>,
    /// From when on it is valid.
    #[schemars(with = "Option<String>")]
    pub not_before: Option<Timestamp>,
    /// Until when.
    #[schemars(with = "Option<String>")]
    pub not_after: Option<Timestamp>,
    /// How long that is from now, in seconds; negative where it is past.
    pub remaining_seconds: Option<i64>,
    /// Who renews it.
    pub renewed_by: RenewedBy,
    /// The earliest instant of the next renewal.
    #[schemars(with = "Option<String>")]
    pub renewal_from: Option<Timestamp>,
    /// The latest; the same where the instant is known.
    #[schemars(with = "Option<String>")]
    pub renewal_until: Option<Timestamp>,
    /// Whether the next renewal can work, as far as the node can tell.
    pub outlook: Outlook,
    /// What stands behind that.
    pub message: String,
}

/// How a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CertificateState {
    /// Valid now.
    Valid,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// There is none.
    Absent,
    /// The file is no certificate with its key.
    Unreadable,
}

/// Who renews a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RenewedBy {
    /// The kubelet.
    Kubelet,
    /// kn-agent.
    KnAgent,
    /// Whoever runs the cluster.
    Operator,
}

/// Whether a renewal can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outlook {
    /// Nothing is in the way.
    Good,
    /// Something is to come first: an approval, a program's start.
    Waiting,
    /// Somebody must act.
    Blocked,
}

impl Certs {
    /// The exit code that says this: 0 all is well, 3 something is to come, 4 somebody must act.
    pub fn exit_code(&self) -> u8 {
        let all = &self.certificates;
        let lost = |c: &CertificateStatus| {
            c.outlook == Outlook::Blocked
                || matches!(c.state, CertificateState::Expired | CertificateState::Unreadable)
        };
        match () {
            () if all.iter().any(lost) => 4,
            () if all.iter().any(|c| c.outlook == Outlook::Waiting || c.state != CertificateState::Valid) => {
                3
            }
            () => 0,
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for certificate in &self.certificates {
            certificate.write(&mut text);
        }
        text
    }
}

impl CertificateStatus {
    fn new(
        name: &str,
        file: &std::path::Path,
        renewed_by: RenewedBy,
        found: &Fact<Option<Certificate>>,
    ) -> Self {
        let (state, message) = match found {
            Ok(Some(_)) => (CertificateState::Valid, String::new()),
            Ok(None) => (CertificateState::Absent, "not issued yet".to_owned()),
            Err(failure) => (CertificateState::Unreadable, failure.message.clone()),
        };
        Self {
            name: name.to_owned(),
            file: file.display().to_string(),
            state,
            subject: None,
            issuer: None,
            serial: None,
            names: Vec::new(),
            not_before: None,
            not_after: None,
            remaining_seconds: None,
            renewed_by,
            renewal_from: None,
            renewal_until: None,
            outlook: Outlook::Good,
            message,
        }
    }

    fn with(mut self, certificate: &Certificate, now: Timestamp) -> Self {
        let at = |seconds| Timestamp::from_second(seconds).ok();
        self.state = match now.as_second() {
            now if now < certificate.not_before => CertificateState::NotYetValid,
            now if now > certificate.not_after => CertificateState::Expired,
            _ => CertificateState::Valid,
        };
        self.subject = Some(certificate.subject_text());
        self.issuer = Some(certificate.issuer.clone());
        self.serial = Some(certificate.serial.clone());
        self.names.clone_from(&certificate.names);
        (self.not_before, self.not_after) = (at(certificate.not_before), at(certificate.not_after));
        self.remaining_seconds = Some(certificate.not_after - now.as_second());
        self
    }

    fn renewed(mut self, from: i64, until: i64) -> Self {
        self.renewal_from = Timestamp::from_second(from).ok();
        self.renewal_until = Timestamp::from_second(until).ok();
        self
    }

    fn told(mut self, outlook: Outlook, message: impl Into<String>) -> Self {
        (self.outlook, self.message) = (outlook, message.into());
        self
    }

    fn write(&self, text: &mut String) {
        let left = self.remaining_seconds.map(|seconds| {
            #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
            let span = text::duration(seconds.unsigned_abs() as f64);
            if seconds < 0 { format!(" for {span}") } else { format!(", {span} left") }
        });
        let state = match self.state {
            CertificateState::Valid => "valid",
            CertificateState::NotYetValid => "not valid yet",
            CertificateState::Expired => "expired",
            CertificateState::Absent => "absent",
            CertificateState::Unreadable => "unreadable",
        };
        let _ = writeln!(text, "{:<16} {state}{}", self.name, left.unwrap_or_default());
        let mut line = |what: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "  {what:<9} {value}");
            }
        };
        line("file", &self.file);
        line("subject", self.subject.as_deref().unwrap_or_default());
        line("issuer", self.issuer.as_deref().unwrap_or_default());
        line("serial", self.serial.as_deref().unwrap_or_default());
        line("for", &self.names.join(", "));
        if let Some((from, until)) = self.not_before.zip(self.not_after) {
            line("valid", &format!("{from} to {until}"));
        }
        let who = match self.renewed_by {
            RenewedBy::Kubelet => "by the kubelet",
            RenewedBy::KnAgent => "by kn-agent",
            RenewedBy::Operator => "by whoever runs the cluster",
        };
        line(
            "renewed",
            &match self.renewal_from.zip(self.renewal_until) {
                Some((from, until)) if from == until => format!("{who}, at {from}"),
                Some((from, until)) => format!("{who}, between {from} and {until}"),
                None => who.to_owned(),
            },
        );
        let sign = match self.outlook {
            Outlook::Good => "✓",
            Outlook::Waiting => "◐",
            Outlook::Blocked => "✗",
        };
        line("renewal", &format!("{sign} {}", self.message.replace('\n', "\n              ")));
    }
}
