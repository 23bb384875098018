//! The bootstrap token as it can be read now. Never remembered: it is read again each time it is needed.

use std::path::{Path, PathBuf};

use super::Fact;
use crate::config::{Config, TokenSource, read_token};
use crate::desired::paths;
use crate::names::Token;
use crate::ports::root::Root;
use crate::ports::{Failure, chain};
use crate::reason::Reason;

/// What may be known of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenToken {
    /// The public id of a bootstrap token; `None` of a static one.
    pub id: Option<String>,
    /// systemd passed it for this start alone, and no copy is there for the next.
    pub is_fleeting: bool,
}

/// What may be known of the token; `None` where no source is configured.
///
/// # Errors
/// There is no token at the source, or none that may be used.
pub fn look(root: &Root, config: &Config) -> Fact<Option<SeenToken>> {
    let Some(token) = read(root, config)? else { return Ok(None) };
    let is_credential = matches!(config.identity.token, Some(TokenSource::Credential(_)));
    let is_fleeting = is_credential && kept(root).as_ref() != Some(&token);
    let id = token.expose().split_once('.').map(|(id, _)| id.to_owned());
    Ok(Some(SeenToken { id, is_fleeting }))
}

/// The token itself, from its source or, where systemd passed no credential this time, from the copy of an earlier one.
///
/// # Errors
/// As [`look`].
pub fn read(root: &Root, config: &Config) -> Fact<Option<Token>> {
    let Some(source) = &config.identity.token else { return Ok(None) };
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    match read_token(source, &root.path(Path::new("/")), credentials.as_deref()) {
        Ok(token) => Ok(Some(token)),
        Err(error) => match kept(root).filter(|_| matches!(source, TokenSource::Credential(_))) {
            Some(token) => Ok(Some(token)),
            None => Err(Failure::new(Reason::TokenMissing, chain(&error))),
        },
    }
}

fn kept(root: &Root) -> Option<Token> {
    let file = root.read(paths::kept_token()).ok()??;
    String::from_utf8(file.content).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostFacts, Sources, load};

    fn config(token: &str) -> Config {
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "cluster:\n  server: https://10.0.0.1:6443\n  ca: {{data: {ca:?}}}\nidentity: {{token: {{{token}}}}}\n"
        );
        std::fs::write(file.path(), text).unwrap();
        let sources = Sources { root: "/".into(), only: Some(file.path().to_owned()), env: Vec::new() };
        load(&sources, &HostFacts { hostname: "n1".to_owned(), ..HostFacts::default() }).unwrap().config
    }

    #[test]
    fn a_token_file_is_read_anew_each_time_and_its_secret_is_not_told() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let config = config("file: /token");
        assert!(look(&root, &config).unwrap_err().message.contains("cannot read the token"));
        for id in ["abcdef", "fedcba"] {
            root.write(Path::new("/token"), format!("{id}.0123456789abcdef\n").as_bytes(), 0o600).unwrap();
            let seen = look(&root, &config).unwrap().unwrap();
            assert_eq!(seen, SeenToken { id: Some(id.to_owned()), is_fleeting: false });
        }
        // The copy of a credential is none of a file.
        root.write(paths::kept_token(), b"aaaaaa.0123456789abcdef", 0o600).unwrap();
        root.remove(Path::new("/token")).unwrap();
        assert_eq!(look(&root, &config).unwrap_err().reason, Reason::TokenMissing);
    }

    #[test]
    fn a_credential_of_an_earlier_start_is_read_from_its_copy() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let config = config("credential: join");
        assert!(look(&root, &config).unwrap_err().message.contains("systemd passed none"));
        root.write(paths::kept_token(), b"aaaaaa.0123456789abcdef", 0o600).unwrap();
        let seen = look(&root, &config).unwrap().unwrap();
        assert_eq!(seen, SeenToken { id: Some("aaaaaa".to_owned()), is_fleeting: false });
    }
}
