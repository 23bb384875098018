//! Bootstrap tokens: what a machine shows to ask for its first certificate.

use std::time::Duration;

use aws_lc_rs::rand;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::PostParams;
use kube::core::{ObjectMeta, Request};
use kube::{Api, Resource};
use thiserror::Error;

use crate::cluster::client::{CallError, Cluster};
use crate::cluster::{
    AUTO_APPROVE_BINDING, AUTO_APPROVE_GROUP, BOOTSTRAPPER_BINDING, FIELD_MANAGER, NODECLIENT_ROLE,
    TOKEN_GROUP,
};
use crate::names::{Invalid, Token};

/// Where the API server looks for tokens.
const NAMESPACE: &str = "kube-system";

/// The type of Secret the API server takes for a token.
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";

/// The longest life a token may have.
const MAX_TTL: Duration = Duration::from_hours(7 * 24);

/// How often to draw again where a token of the same id exists: 36⁶ ids make even one a rarity.
const DRAWS: usize = 3;

/// Whether the token's first certificate is to be approved unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum AutoApprove {
    /// Where the cluster is set up so
    #[default]
    Auto,
    /// Yes, and fail where the cluster is not set up so
    Require,
    /// No, even where the cluster is set up so
    Never,
}

/// A token that the cluster knows now.
#[derive(Debug, Clone)]
pub struct Created {
    /// The token itself.
    pub token: Token,
    /// When it ends.
    pub expires: Timestamp,
    /// Whether the controller-manager will approve the first certificate asked for with it.
    pub auto_approved: bool,
    /// Whether the cluster lets its holder ask for a certificate at all.
    pub usable: bool,
}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// A request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Auto-approval was demanded of a cluster that has none.
    #[error(
        "ClusterRoleBinding {AUTO_APPROVE_BINDING} does not bind {NODECLIENT_ROLE} to {AUTO_APPROVE_GROUP}, so that \
         nothing would approve this token's certificate; set it up: kn-agent cluster init --auto-approve=any-token"
    )]
    NoAutoApproval,
    /// The machine gave no random numbers.
    #[error("cannot draw a token: the system's random number generator failed")]
    NoRandomness,
    /// What was drawn is no token, or a request could not be put into words: a defect of ours.
    #[error("cannot make the token's Secret: {0}")]
    Unspeakable(String),
}

/// Makes a token that lives for `ttl`.
///
/// # Errors
/// Where the cluster refuses, or is not set up as `auto_approve` demands.
pub async fn create(
    cluster: &Cluster,
    ttl: Duration,
    auto_approve: AutoApprove,
) -> Result<Created, TokenError> {
    let (auto, usable) =
        futures::try_join!(binding(cluster, AUTO_APPROVE_BINDING), binding(cluster, BOOTSTRAPPER_BINDING))?;
    let available = auto.is_some_and(|found| binds(&found, NODECLIENT_ROLE, AUTO_APPROVE_GROUP));
    if auto_approve == AutoApprove::Require && !available {
        return Err(TokenError::NoAutoApproval);
    }
    let auto_approved = available && auto_approve != AutoApprove::Never;
    let expires = in_whole_seconds(Timestamp::now(), ttl);
    let mut draws = 0;
    let token = loop {
        let token = draw()?;
        draws += 1;
        match post(cluster, &token, expires, auto_approved).await {
            Ok(()) => break token,
            Err(TokenError::Call(error)) if error.is_already_exists() && draws < DRAWS => {}
            Err(error) => return Err(error),
        }
    };
    let usable = usable.is_some_and(|found| binds(&found, "system:node-bootstrapper", TOKEN_GROUP));
    Ok(Created { token, expires, auto_approved, usable })
}

/// Sends the Secret and forgets the answer, which repeats the token: a client that fails to parse it would log it.
async fn post(
    cluster: &Cluster,
    token: &Token,
    expires: Timestamp,
    auto_approved: bool,
) -> Result<(), TokenError> {
    let secret = secret(token, expires, auto_approved)?;
    let object = format!("Secret {NAMESPACE}/{}", secret.metadata.name.as_deref().unwrap_or_default());
    let body = serde_json::to_vec(&secret).map_err(|error| TokenError::Unspeakable(error.to_string()))?;
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
    let request = Request::new(Secret::url_path(&(), Some(NAMESPACE)))
        .create(&params, body)
        .map_err(|error| TokenError::Unspeakable(error.to_string()))?;
    let client = cluster.client();
    cluster.call("create", object, client.request_text(request)).await?;
    Ok(())
}

fn secret(token: &Token, expires: Timestamp, auto_approved: bool) -> Result<Secret, TokenError> {
    let Some((id, key)) = token.expose().split_once('.') else {
        return Err(TokenError::Unspeakable("a bootstrap token has a dot".to_owned()));
    };
    let groups =
        if auto_approved { format!("{TOKEN_GROUP},{AUTO_APPROVE_GROUP}") } else { TOKEN_GROUP.to_owned() };
    let fields = [
        ("token-id", id),
        ("token-secret", key),
        ("expiration", &expires.to_string()),
        ("usage-bootstrap-authentication", "true"),
        ("auth-extra-groups", &groups),
        ("description", "made by kn-agent token create, for one machine to ask for its first certificate"),
    ];
    let name = format!("bootstrap-token-{id}");
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        string_data: Some(
            fields.into_iter().map(|(field, value)| (field.to_owned(), value.to_owned())).collect(),
        ),
        ..Secret::default()
    })
}

async fn binding(cluster: &Cluster, name: &str) -> Result<Option<ClusterRoleBinding>, CallError> {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client());
    cluster.call("get", format!("ClusterRoleBinding {name}"), bindings.get_opt(name)).await
}

fn binds(binding: &ClusterRoleBinding, role: &str, group: &str) -> bool {
    let bound = binding.subjects.iter().flatten().any(|s| s.kind == "Group" && s.name == group);
    bound && binding.role_ref.kind == "ClusterRole" && binding.role_ref.name == role
}

/// Draws a new token: 22 of 36 characters, each as likely as any other.
///
/// # Errors
/// Where the system gives no random numbers.
pub fn draw() -> Result<Token, TokenError> {
    let mut text = String::with_capacity(23);
    while text.len() < 23 {
        let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
        rand::fill(bytes.as_mut()).map_err(|_| TokenError::NoRandomness)?;
        for &byte in bytes.iter() {
            if text.len() == 6 {
                text.push('.');
            }
            if let Some(character) = character(byte).filter(|_| text.len() < 23) {
                text.push(character);
            }
        }
    }
    let token = text.parse().map_err(|invalid: Invalid| TokenError::Unspeakable(invalid.to_string()));
    zeroize::Zeroize::zeroize(&mut text);
    token
}

/// The character for a random byte. 252 is 7 × 36: larger bytes would favour the first four characters.
fn character(byte: u8) -> Option<char> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (byte < 252).then(|| char::from(ALPHABET[usize::from(byte % 36)]))
}

/// How long a token lives, as written by a person: `30m`, `1h`, `1h30m`, `2d`.
///
/// # Errors
/// Where it is no duration, or one that no token may have.
pub fn parse_ttl(text: &str) -> Result<Duration, Invalid> {
    let bad = |why: &str| Invalid(format!("`{text}` {why}; expected e.g. 30m, 1h or 24h, at most 7d"));
    let mut total: u64 = 0;
    let mut digits = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let unit: u64 = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return Err(bad("is no duration")),
        };
        let count: u64 = digits.parse().map_err(|_| bad("is no duration"))?;
        total = count
            .checked_mul(unit)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| bad("is too long"))?;
        digits.clear();
    }
    if !digits.is_empty() {
        return Err(bad("has a number without a unit (s, m, h, d)"));
    }
    match Duration::from_secs(total) {
        Duration::ZERO => Err(bad("would make a token that has ended")),
        ttl if ttl > MAX_TTL => Err(bad("is too long for a token that lets machines in")),
        ttl => Ok(ttl),
    }
}

/// `ttl` after `now`, without a fraction: RFC 3339 as the API server's token cleaner reads it.
fn in_whole_seconds(now: Timestamp, ttl: Duration) -> Timestamp {
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_form_and_use_the_whole_alphabet_evenly() {
        let mut counts = std::collections::BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5_000 {
            let token = draw().unwrap();
            let (id, key) = token.expose().split_once('.').unwrap();
            assert_eq!((id.len(), key.len()), (6, 16));
            assert!(seen.insert(token.expose().to_owned()));
            for character in id.chars().chain(key.chars()) {
                *counts.entry(character).or_insert(0_u32) += 1;
            }
        }
        assert_eq!(counts.len(), 36);
        let expected = 5_000.0 * 22.0 / 36.0;
        let chi2: f64 = counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        // 35 degrees of freedom: more than 90 in one of 10⁶ runs.
        assert!(chi2 < 90.0, "{chi2}");
        assert!((252..=255).all(|byte| character(byte).is_none()));
    }

    #[test]
    fn secret_is_for_authentication_alone_and_ends() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let expires = in_whole_seconds("2026-01-02T03:04:05.678Z".parse().unwrap(), Duration::from_hours(1));
        let made = secret(&token, expires, false).unwrap();
        let data = made.string_data.unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("bootstrap-token-abcdef"));
        assert_eq!(made.type_.as_deref(), Some(SECRET_TYPE));
        assert_eq!(data["expiration"], "2026-01-02T04:04:05Z");
        assert_eq!(data["auth-extra-groups"], TOKEN_GROUP);
        assert_eq!(data["usage-bootstrap-authentication"], "true");
        assert!(!data.keys().any(|key| key.contains("signing")));
        let auto = secret(&token, expires, true).unwrap().string_data.unwrap();
        assert_eq!(auto["auth-extra-groups"], format!("{TOKEN_GROUP},{AUTO_APPROVE_GROUP}"));
    }

    #[test]
    fn ttl_takes_what_people_write_and_refuses_what_no_token_may_have() {
        for (text, seconds) in [("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("7d", 604_800), ("90s", 90)] {
            assert_eq!(parse_ttl(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in [
            "",
            "0",
            "0s",
            "0h",
            "7d1s",
            "8d",
            "1",
            "h",
            "-1h",
            "1.5h",
            "1h30",
            "1w",
            "99999999999999999999h",
        ] {
            let error = parse_ttl(text).unwrap_err().to_string();
            assert!(error.contains("30m"), "{error}");
        }
    }
}
