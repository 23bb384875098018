//! A certificate, and the trail that the certificates at one place leave.

use std::{
    fmt,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::jiff::Timestamp;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// What distinguishes a certificate, and its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) serial: String,
    /// SHA-256, as API servers tell it in their audit log from 1.32 on.
    pub(super) fingerprint: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Certificate {
    /// Reads one in PEM, as `openssl x509` does.
    pub(super) fn parse(pem: &str) -> Result<Self> {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-serial", "-fingerprint", "-sha256", "-startdate", "-enddate"]);
        openssl.args(["-dateopt", "iso_8601"]);
        let mut child =
            openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no pipe to openssl")?.write_all(pem.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr).trim());
        let text = String::from_utf8(output.stdout)?;
        let field = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            found.with_context(|| format!("openssl tells no `{name}`: {text}"))
        };
        Ok(Self {
            serial: field("serial=")?.to_owned(),
            fingerprint: field("sha256 Fingerprint=")?.replace(':', "").to_lowercase(),
            not_before: field("notBefore=")?.parse()?,
            not_after: field("notAfter=")?.parse()?,
        })
    }

    /// Seconds that are left of its life.
    pub(super) fn left(&self, at: Timestamp) -> f64 {
        self.not_after.duration_since(at).as_secs_f64()
    }

    fn is_valid(&self, at: Timestamp) -> bool {
        self.not_before <= at && at <= self.not_after
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.serial, self.not_before, self.not_after)
    }
}

/// The first certificate of a file that may hold a key beside it.
pub(super) fn first_block(text: &str) -> Result<&str> {
    let begin = text.find(BEGIN).context("no certificate in it")?;
    let end = text.find(END).context("half a certificate in it")? + END.len();
    text.get(begin..end).context("no certificate in it")
}

/// A certificate at a place, and when it was first seen there.
#[derive(Debug, Clone)]
pub(super) struct Issue {
    pub(super) certificate: Certificate,
    pub(super) seen: Timestamp,
}

/// What was seen at one place, look by look.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail {
    pub(super) issues: Vec<Issue>,
    pub(super) looks: u64,
    /// Looks that found no valid certificate, and why.
    pub(super) gaps: Vec<String>,
    last: String,
}

impl Trail {
    /// Takes down one look; whether it found a new certificate.
    pub(super) fn look(&mut self, at: Timestamp, found: Result<String>) -> bool {
        self.looks += 1;
        match found.and_then(|text| self.take(at, &text)) {
            Ok(new) => new,
            Err(why) => {
                self.gaps.push(format!("{at}: {why:#}"));
                false
            }
        }
    }

    fn take(&mut self, at: Timestamp, text: &str) -> Result<bool> {
        let pem = first_block(text)?;
        let is_new = pem != self.last;
        if is_new {
            self.issues.push(Issue { certificate: Certificate::parse(pem)?, seen: at });
            pem.clone_into(&mut self.last);
        }
        let current = &self.issues.last().context("nothing was seen")?.certificate;
        ensure!(current.is_valid(at), "it is not valid: {current}");
        Ok(is_new)
    }

    /// How often a certificate was replaced.
    pub(super) fn renewals(&self) -> usize {
        self.issues.len().saturating_sub(1)
    }

    /// What was left of each certificate when it was replaced, seconds.
    pub(super) fn left(&self) -> Vec<f64> {
        self.issues.windows(2).map(|pair| pair[0].certificate.left(pair[1].seen)).collect()
    }

    /// What was there at an instant.
    pub(super) fn at(&self, at: Timestamp) -> Option<&Issue> {
        self.issues.iter().rev().find(|issue| issue.seen <= at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use anyhow::bail;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem(from: i64, until: i64) -> Result<String> {
        let now = SystemTime::now();
        let at = |seconds: i64| {
            let by = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { now - by } else { now + by }
        };
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (at(from).into(), at(until).into());
        Ok(params.self_signed(&KeyPair::generate()?)?.pem())
    }

    #[test]
    fn a_trail_tells_renewals_from_looks_and_gaps_from_both() -> Result<()> {
        let (mut trail, now) = (Trail::default(), Timestamp::now());
        let (first, second) = (pem(-300, 60)?, pem(-300, 120)?);
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(trail.look(now, Ok(format!("{first}{key}"))));
        assert!(!trail.look(now, Ok(first.clone())));
        assert!(trail.look(now, Ok(second)));
        assert!(trail.gaps.is_empty(), "{:?}", trail.gaps);
        assert_eq!((trail.looks, trail.renewals(), trail.left().len()), (3, 1, 1));
        let left = trail.left()[0];
        assert!((55.0..=61.0).contains(&left), "{left}");
        for bad in [Ok(pem(-300, -1)?), Ok(pem(60, 300)?), Ok(first[..60].to_owned()), Ok(String::new())] {
            let gaps = trail.gaps.len();
            trail.look(now, bad);
            assert_eq!(trail.gaps.len(), gaps + 1);
        }
        trail.look(now, (|| bail!("no file"))());
        assert_eq!(trail.gaps.len(), 5);
        // One that was good and has ended since.
        let mut trail = Trail::default();
        trail.look(now, Ok(first.clone()));
        trail.look(now + Duration::from_secs(90), Ok(first));
        assert_eq!(trail.gaps.len(), 1, "{:?}", trail.gaps);
        Ok(())
    }
}
