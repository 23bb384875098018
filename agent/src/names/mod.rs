//! Names and values that are checked once, where they enter, and carry that proof with them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// Why a value is not what its type demands. The text says what was found and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Who a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// The user.
    pub common_name: String,
    /// Its group, if any.
    pub organization: Option<String>,
    /// What an API server ignores, and a signer's policy may ask for.
    pub organizational_unit: Option<String>,
    /// As above, two letters.
    pub country: Option<String>,
    /// As above.
    pub province: Option<String>,
    /// As above.
    pub locality: Option<String>,
}

impl Subject {
    /// What it is made of: the short names of RFC 4514 and their values, in the order they are usually written.
    pub fn attributes(&self) -> Vec<(&'static str, &str)> {
        let more = [
            ("C", &self.country),
            ("ST", &self.province),
            ("L", &self.locality),
            ("O", &self.organization),
            ("OU", &self.organizational_unit),
        ];
        let more = more.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        more.chain([("CN", self.common_name.as_str())]).collect()
    }
}

/// The name of the Node object and of the certificate `system:node:<name>`.
///
/// A DNS-1123 subdomain, as the API server demands of a Node's name (`k8s.io/apimachinery`, validation.go); an IPv4
/// address is one too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user the Node authorizer knows this node by.
    pub fn user(&self) -> String {
        format!("system:node:{}", self.0)
    }
}

impl FromStr for NodeName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        if name.is_empty() || name.len() > 253 {
            return Err(Invalid(format!("a node name has 1 to 253 characters, `{name}` has {}", name.len())));
        }
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            let lower = name.to_ascii_lowercase();
            let why = "has upper-case letters, which Kubernetes refuses in a node name";
            // A token that was typed with capital letters, in the wrong place.
            let is_secret = lower.parse::<Token>().is_ok();
            return Err(Invalid(if is_secret {
                format!("it {why}")
            } else {
                format!("`{name}` {why}; write `{lower}`")
            }));
        }
        let label_ok = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if let Some(bad) = name.split('.').find(|label| !label_ok(label)) {
            return Err(Invalid(format!(
                "`{name}` is no DNS name: `{bad}` must be lower-case letters, digits and inner dashes"
            )));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of the API server: `https://host[:port]`, no path, no user, no query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiServerUrl {
    url: String,
    host: String,
    port: u16,
}

impl ApiServerUrl {
    /// The address as it goes into a kubeconfig.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The host name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host where it is an address; `None` where it is a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The port; 443 where none is written.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for ApiServerUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |why: &str| {
            Invalid(format!("`{text}` is no API server address: {why}; expected https://HOST:PORT"))
        };
        let uri: http::Uri = text.parse().map_err(|_| bad("it does not parse"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("it must begin with https://"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not carry a user or password"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it must not have a path or a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        Ok(Self {
            url: format!("https://{}", authority.as_str()),
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(443),
        })
    }
}

impl fmt::Display for ApiServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// A token that may ask for a certificate. It has no `Debug` and no `Display`: it can't reach a log by accident.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// The token as it goes into an `Authorization` header. The only way to read it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What may be shown of it: the public id of a bootstrap token, nothing of a static one.
    pub fn shown(&self) -> String {
        match self.expose().split_once('.') {
            Some((id, _)) => format!("bootstrap token {id}"),
            None => "static token".to_owned(),
        }
    }

    /// Id and secret of a bootstrap token; a static token has no such parts.
    pub fn parts(&self) -> Option<(&str, &str)> {
        self.expose().split_once('.')
    }

    /// `text` without anything that could be a token, wherever it was written by mistake.
    pub fn scrub(text: &str) -> String {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            let secret = word.trim_matches('.').parse::<Self>().is_ok();
            clean.push_str(if secret { "[redacted]" } else { word });
            let gap = tail.find(is_word).unwrap_or(tail.len());
            let (between, after) = tail.split_at(gap);
            clean.push_str(between);
            rest = after;
        }
        clean
    }
}

impl PartialEq for Token {
    /// Whether a configuration changed is asked with this; nobody can ask it from outside.
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

impl FromStr for Token {
    type Err = Invalid;

    /// Accepts kubeadm's form `[a-z0-9]{6}.[a-z0-9]{16}` and a static token of 32 hexadecimal digits.
    /// The error never repeats what was read.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let small = |s: &str, n: usize| {
            s.len() == n && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let bootstrap = text.split_once('.').is_some_and(|(id, secret)| small(id, 6) && small(secret, 16));
        let fixed = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if bootstrap || fixed {
            return Ok(Self(text.to_owned().into()));
        }
        Err(Invalid(format!(
            "malformed token ({} characters, not shown): expected 6 and 16 lower-case letters or digits with a dot \
             between, as `kn-agent token create` and `kubeadm token create` print, or 32 hexadecimal digits",
            text.chars().count()
        )))
    }
}

/// The SHA-256 of a CA certificate's public key (SubjectPublicKeyInfo, DER), as kubeadm writes it: `sha256:<hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaPin(String);

impl CaPin {
    /// The pin of a public key whose SHA-256 is `hex`.
    pub fn of_hash(hex: &str) -> Self {
        Self(format!("sha256:{}", hex.to_ascii_lowercase()))
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CaPin {
    type Err = Invalid;

    /// Letter case does not matter, as in kubeadm (`pubkeypin.Set.Allow`).
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |why: &str| {
            Invalid(format!("`{text}` is no pin: {why}; expected `sha256:` and 64 hexadecimal digits"))
        };
        let (format, hex) = text.trim().split_once(':').ok_or_else(|| bad("the `sha256:` is missing"))?;
        if !format.eq_ignore_ascii_case("sha256") {
            return Err(bad("only sha256 is known"));
        }
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("it has other characters than hexadecimal digits"));
        }
        if hex.len() != 64 {
            return Err(bad(&format!("it has {} digits", hex.len())));
        }
        Ok(Self::of_hash(hex))
    }
}

/// A block of addresses, `10.244.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The first address of the block.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// Whether `address` is in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        mask(address, self.prefix) == Some(self.network)
    }

    /// Whether the two blocks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        mask(self.network, prefix).is_some() && mask(self.network, prefix) == mask(other.network, prefix)
    }
}

/// `address` with all but its first `prefix` bits cleared; `None` where the prefix is longer than the address.
fn mask(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) if prefix <= 32 => {
            let bits = u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Some(IpAddr::V4(bits.into()))
        }
        IpAddr::V6(v6) if prefix <= 128 => {
            let bits = u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Some(IpAddr::V6(bits.into()))
        }
        _ => None,
    }
}

impl FromStr for Cidr {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |why: String| {
            Invalid(format!("`{text}` is no block of addresses: {why}; expected e.g. 10.244.0.0/16"))
        };
        let (address, prefix) = text.split_once('/').ok_or_else(|| bad("the `/` is missing".to_owned()))?;
        let network: IpAddr = address.parse().map_err(|_| bad(format!("`{address}` is no address")))?;
        let prefix: u8 = prefix.parse().map_err(|_| bad(format!("`{prefix}` is no prefix length")))?;
        match mask(network, prefix) {
            None => Err(bad(format!("/{prefix} is longer than the address"))),
            Some(first) if first != network => {
                Err(bad(format!("its first address is {first}; write {first}/{prefix}")))
            }
            Some(_) => Ok(Self { network, prefix }),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests;
