//! The end of a token before its time.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use kube::core::{Request, Resource};

use super::{NAME_PREFIX, NAMESPACE};
use crate::cluster::client::{CallError, Cluster};
use crate::names::{Invalid, Token};

/// A token's id: what comes before the dot, and no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenId(String);

impl TokenId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = Invalid;

    /// An id, or a whole token, whose secret is dropped here.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_id = |id: &str| {
            id.len() == 6 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let id = match text.split_once('.') {
            Some((id, _)) if text.parse::<Token>().is_ok() => id,
            _ => text,
        };
        if is_id(id) {
            return Ok(Self(id.to_owned()));
        }
        Err(Invalid(format!(
            "malformed token ({} characters, not shown): expected its id of 6 lower-case letters or digits, as \
             `kn-agent token list` shows, or the whole token",
            text.chars().count()
        )))
    }
}

/// Deletes a token's Secret; whether there was one. A bootstrap token of somebody else goes too: it was named.
///
/// What says which key it was used for stays: the API server may take a token for some seconds after its Secret is gone,
/// and the approver clears away what belongs to no token.
///
/// # Errors
/// Where the cluster refuses.
pub async fn delete(cluster: &Cluster, id: &TokenId) -> Result<bool, CallError> {
    let name = format!("{NAME_PREFIX}{id}");
    let client = cluster.client();
    let url = Secret::url_path(&(), Some(NAMESPACE));
    let request = Request::new(url).delete(&name, &DeleteParams::default());
    // As text: some versions answer with what was deleted, and a client that fails to parse an answer logs it.
    let answer = async { client.request_text(request.map_err(kube::Error::BuildRequest)?).await.map(drop) };
    match cluster.call("delete", format!("Secret {NAMESPACE}/{name}"), answer).await {
        Err(error) if error.is_not_found() => Ok(false),
        answer => answer.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_or_a_whole_token_names_it_and_nothing_else_does() {
        for text in ["abc123", "abc123.0123456789abcdef"] {
            assert_eq!(text.parse::<TokenId>().unwrap().as_str(), "abc123", "{text}");
        }
        for text in
            ["", "abc12", "ABC123", "abc123.canary", "abc123.", "../../x", "d18f94b5fa585c7123f56803d925d2e7"]
        {
            let error = text.parse::<TokenId>().unwrap_err().to_string();
            assert!(error.contains("token list") && !error.contains("canary"), "{error}");
        }
    }
}
