//! What the cluster says of itself in public, and whether it may be believed: kubeadm's discovery by token and pins
//! (`cmd/kubeadm/app/discovery/token`, alike in 1.20 and 1.36).

use aws_lc_rs::hmac;
use k8s_openapi::ByteString;
use kube::config::Kubeconfig;
use serde_json::Value;

use crate::names::{CaPin, Token};
use crate::ports::{Failure, keys};
use crate::reason::Reason;

/// What was found and holds: signed by our token, with a pinned CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// The signed text, to be compared with what a proven server says.
    kubeconfig: String,
    /// The CA bundle in it, PEM.
    pub ca: Vec<u8>,
    /// The API server's address in it.
    pub server: Option<String>,
}

impl ClusterInfo {
    /// Reads the ConfigMap as JSON, and checks it: the signature by `token`, and at least one certificate with a pinned
    /// key. Such a certificate vouches for the whole bundle, as in kubeadm (`pubkeypin.Set.CheckAny`): while a CA is
    /// replaced there are two.
    ///
    /// # Errors
    /// It is incomplete, not signed by this token, or has another CA.
    pub fn read(config_map: &[u8], token: &Token, pins: &[CaPin]) -> Result<Self, Failure> {
        let data = data_in(config_map)?;
        let kubeconfig = kubeconfig_in(&data)?;
        let (id, secret) = token.parts().ok_or_else(|| {
            let why = "identity.token is a static token, which signs nothing: cluster.ca.pins needs a bootstrap token";
            Failure::new(Reason::ClusterInfoUnsigned, why)
        })?;
        let Some(signature) = data.get(format!("jws-kubeconfig-{id}")).and_then(Value::as_str) else {
            let why = format!(
                "ConfigMap `kube-public/cluster-info` is not signed by the token `{id}`: it is unknown or expired, or \
                 not made for signing"
            );
            return Err(Failure::new(Reason::ClusterInfoUnsigned, why));
        };
        if let Err(why) = check_signature(signature, kubeconfig, id, secret) {
            let why = format!("the signature by token `{id}` on ConfigMap `kube-public/cluster-info` {why}");
            return Err(Failure::new(Reason::ClusterInfoForged, why));
        }
        let (ca, server) = cluster_in(kubeconfig)?;
        let (pinned, other) = sort(pins, &ca)?;
        if pinned == 0 {
            let why = format!("the cluster's CA has {}, expected {}", listed(&other), listed(pins));
            return Err(Failure::new(Reason::CaPinMismatch, why));
        }
        Ok(Self { kubeconfig: kubeconfig.to_owned(), ca, server })
    }

    /// Whether a server that has proven itself says the same, byte for byte.
    ///
    /// # Errors
    /// It says something else.
    pub fn is_confirmed_by(&self, config_map: &[u8]) -> Result<(), Failure> {
        if kubeconfig_in(&data_in(config_map)?)? == self.kubeconfig {
            return Ok(());
        }
        let why = "ConfigMap `kube-public/cluster-info`, read again from a server that its CA vouches for, is another one";
        Err(Failure::new(Reason::ClusterInfoChanged, why))
    }
}

fn unusable(why: &str) -> Failure {
    Failure::new(Reason::ClusterInfoUnusable, format!("ConfigMap `kube-public/cluster-info` {why}"))
}

fn data_in(config_map: &[u8]) -> Result<Value, Failure> {
    let mut parsed: Value = serde_json::from_slice(config_map).map_err(|_| unusable("is no JSON object"))?;
    Ok(parsed.get_mut("data").map(Value::take).unwrap_or_default())
}

fn kubeconfig_in(data: &Value) -> Result<&str, Failure> {
    let text = data.get("kubeconfig").and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| unusable("has no `kubeconfig`"))
}

/// The one cluster's CA bundle and address.
fn cluster_in(kubeconfig: &str) -> Result<(Vec<u8>, Option<String>), Failure> {
    let parsed =
        Kubeconfig::from_yaml(kubeconfig).map_err(|_| unusable("has a `kubeconfig` that does not parse"))?;
    let [named] = parsed.clusters.as_slice() else {
        return Err(unusable(&format!("names {} clusters, expected one", parsed.clusters.len())));
    };
    let cluster = named.cluster.as_ref().ok_or_else(|| unusable("names a cluster without content"))?;
    let data = cluster.certificate_authority_data.clone().unwrap_or_default();
    match serde_json::from_value::<ByteString>(Value::String(data)) {
        Ok(bytes) if !bytes.0.is_empty() => Ok((bytes.0, cluster.server.clone())),
        _ => Err(unusable("has no `certificate-authority-data`")),
    }
}

/// A detached JWS (RFC 7515, appendix F) over `content`: HS256 with the token's secret, `kid` the token's id.
fn check_signature(jws: &str, content: &str, id: &str, secret: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = jws.split('.').collect();
    let [header, "", signature] = parts.as_slice() else { return Err("is no detached JWS") };
    let decoded = from_base64url(header).and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    let decoded = decoded.ok_or("has a header that does not parse")?;
    if decoded.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err("is not by HS256");
    }
    if decoded.get("kid").and_then(Value::as_str) != Some(id) {
        return Err("names another token");
    }
    let signature = from_base64url(signature).ok_or("does not parse")?;
    let signed = format!("{header}.{}", to_base64url(content.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::verify(&key, signed.as_bytes(), &signature)
        .map_err(|_| "is wrong: another secret made it, or over another text")
}

/// Kubernetes writes bytes as base64, so its type reads and writes it; a JWS has another alphabet and no padding.
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut standard = text.replace('-', "+").replace('_', "/");
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    serde_json::from_value::<ByteString>(Value::String(standard)).ok().map(|bytes| bytes.0)
}

fn to_base64url(bytes: &[u8]) -> String {
    match serde_json::to_value(ByteString(bytes.to_vec())) {
        Ok(Value::String(text)) => text.trim_end_matches('=').replace('+', "-").replace('/', "_"),
        _ => String::new(),
    }
}

/// How many certificates of the bundle are pinned, and the pins of the others.
///
/// # Errors
/// It holds no certificate, or one that does not parse.
pub fn sort(pins: &[CaPin], bundle: &[u8]) -> Result<(usize, Vec<CaPin>), Failure> {
    let unusable = |why: &str| Failure::new(Reason::CaUnusable, format!("the CA bundle {why}"));
    let mut all = Vec::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(bundle) {
        let block = block.map_err(|_| unusable("has a damaged PEM block"))?;
        if block.label == "CERTIFICATE" {
            let parsed = block.parse_x509().map_err(|_| unusable("has a damaged certificate"))?;
            all.push(CaPin::of_hash(&keys::sha256(parsed.public_key().raw)));
        }
    }
    if all.is_empty() {
        return Err(unusable("holds no certificate"));
    }
    let (pinned, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|pin| pins.contains(pin));
    Ok((pinned.len(), other))
}

/// What is kept of a bundle that was found and proven, to know it again.
pub fn note(bundle: &[u8]) -> String {
    keys::sha256(bundle) + "\n"
}

/// Pins on one line.
pub fn listed(pins: &[CaPin]) -> String {
    pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "abcdef.0123456789abcdef";

    fn pem(name: &str) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn pin(pem: &str) -> CaPin {
        sort(&[], pem.as_bytes()).unwrap().1.remove(0)
    }

    fn kubeconfig(ca: &str) -> String {
        let data = serde_json::to_value(ByteString(ca.as_bytes().to_vec())).unwrap();
        // As kubeadm 1.36 writes it, nulls and the empty name included.
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://10.0.0.1:6443\n  \
             name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n",
            data.as_str().unwrap()
        )
    }

    fn sign(content: &str, id: &str, secret: &str) -> String {
        let header = to_base64url(json!({"alg": "HS256", "kid": id}).to_string().as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("{header}.{}", to_base64url(content.as_bytes())).as_bytes());
        format!("{header}..{}", to_base64url(tag.as_ref()))
    }

    fn read(data: &Value, pins: &[CaPin]) -> Result<ClusterInfo, Failure> {
        let map = json!({"kind": "ConfigMap", "data": data}).to_string();
        ClusterInfo::read(map.as_bytes(), &TOKEN.parse().unwrap(), pins)
    }

    fn refused(data: &Value, pins: &[CaPin]) -> String {
        let failure = read(data, pins).unwrap_err();
        format!("{}: {}", failure.reason, failure.message)
    }

    /// The vector of Kubernetes' own test (`cluster-bootstrap/token/jws/jws_test.go`).
    #[test]
    fn a_signature_of_kubernetes_is_accepted_and_no_other() {
        let content = "Hello from the other side. I must have called a thousand times.";
        let jws = "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8";
        let (id, secret) = ("joshua", "my voice is my passcode");
        assert_eq!(check_signature(jws, content, id, secret), Ok(()));
        check_signature(jws, &content.replace('H', "h"), id, secret).unwrap_err();
        check_signature(jws, content, id, "my voice is my password").unwrap_err();
        assert_eq!(check_signature(jws, content, "joshub", secret), Err("names another token"));
        assert_eq!(check_signature("a.b.c", content, id, secret), Err("is no detached JWS"));
        // No algorithm but the one that takes the secret.
        let none = to_base64url(br#"{"alg":"none","kid":"joshua"}"#);
        assert_eq!(check_signature(&format!("{none}.."), content, id, secret), Err("is not by HS256"));
    }

    #[test]
    fn one_pinned_certificate_vouches_for_the_bundle_and_none_for_nothing() {
        let (old, new) = (pem("old"), pem("new"));
        let bundle = format!("{old}{new}");
        let text = kubeconfig(&bundle);
        let data =
            json!({"kubeconfig": text, "jws-kubeconfig-abcdef": sign(&text, "abcdef", "0123456789abcdef")});
        for pins in [vec![pin(&old)], vec![pin(&new)], vec![pin(&pem("other")), pin(&new)]] {
            let info = read(&data, &pins).unwrap();
            assert_eq!(info.ca, bundle.as_bytes());
            assert_eq!(info.server.as_deref(), Some("https://10.0.0.1:6443"));
        }
        let other = pin(&pem("other"));
        assert_eq!(
            refused(&data, std::slice::from_ref(&other)),
            format!("CaPinMismatch: the cluster's CA has {}, {}, expected {other}", pin(&old), pin(&new))
        );
    }

    #[test]
    fn what_is_not_signed_by_this_token_or_incomplete_has_its_reason() {
        let ca = pem("kubernetes");
        let pins = [pin(&ca)];
        let text = kubeconfig(&ca);
        let right = sign(&text, "abcdef", "0123456789abcdef");
        let signed = |text: &str| json!({"kubeconfig": text, "jws-kubeconfig-abcdef": sign(text, "abcdef", "0123456789abcdef")});
        read(&signed(&text), &pins).unwrap();
        for (data, reason, part) in [
            (json!({"kubeconfig": text}), "ClusterInfoUnsigned", "not signed by the token `abcdef`"),
            (json!({"kubeconfig": text, "jws-kubeconfig-zzzzzz": right}), "ClusterInfoUnsigned", "`abcdef`"),
            (
                json!({"kubeconfig": text, "jws-kubeconfig-abcdef": sign(&text, "abcdef", "fedcba9876543210")}),
                "ClusterInfoForged",
                "another secret made it",
            ),
            (
                json!({"kubeconfig": text.replace("10.0.0.1", "10.6.6.6"), "jws-kubeconfig-abcdef": right}),
                "ClusterInfoForged",
                "over another text",
            ),
            (json!({}), "ClusterInfoUnusable", "has no `kubeconfig`"),
            (signed("clusters: []\n"), "ClusterInfoUnusable", "names 0 clusters, expected one"),
            (signed("}{"), "ClusterInfoUnusable", "does not parse"),
            (
                signed("clusters: [{name: a, cluster: {server: 'https://a'}}]\n"),
                "ClusterInfoUnusable",
                "has no `certificate-authority-data`",
            ),
            (signed(&kubeconfig("no certificate")), "CaUnusable", "holds no certificate"),
        ] {
            let said = refused(&data, &pins);
            assert!(said.starts_with(reason) && said.contains(part), "{said}");
            assert!(!said.contains("0123456789abcdef"), "{said}");
        }
        let fixed: Token = "d18f94b5fa585c7123f56803d925d2e7".parse().unwrap();
        let map = json!({"data": signed(&text)}).to_string();
        let failure = ClusterInfo::read(map.as_bytes(), &fixed, &pins).unwrap_err();
        assert_eq!(failure.reason, Reason::ClusterInfoUnsigned);
    }

    #[test]
    fn a_second_reading_must_be_the_same_byte_for_byte() {
        let ca = pem("kubernetes");
        let text = kubeconfig(&ca);
        let data =
            json!({"kubeconfig": text, "jws-kubeconfig-abcdef": sign(&text, "abcdef", "0123456789abcdef")});
        let info = read(&data, &[pin(&ca)]).unwrap();
        let again =
            |text: String| info.is_confirmed_by(json!({"data": {"kubeconfig": text}}).to_string().as_bytes());
        again(text.clone()).unwrap();
        assert_eq!(again(text + "\n").unwrap_err().reason, Reason::ClusterInfoChanged);
    }
}
