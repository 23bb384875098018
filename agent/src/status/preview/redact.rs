//! Lines of files without the secrets that may stand in them.
//!
//! What the agent writes names keys by path; but a file it would replace may have been written by others, with a token or
//! a key in it.

use crate::names::Token;

const REDACTED: &str = "[redacted]";

/// What names of secrets have in common, in lower case.
const NAMES: [&str; 14] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "key-data",
    "keydata",
    "apikey",
    "api-key",
    "access-key",
    "accesskey",
    "private-key",
    "credential",
    "authorization",
];

/// Hides secrets, line by line in the order of a file.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    in_key: bool,
}

impl Redactor {
    /// The next line, as it may be shown.
    pub(super) fn line(&mut self, line: &str) -> String {
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
        let inside = self.in_key;
        self.in_key = (inside || begins) && !line.contains("-----END");
        if inside || begins {
            return REDACTED.to_owned();
        }
        Token::scrub(&without_password(&without_value(line)))
    }
}

/// A value behind the name of a secret is hidden, to the end of the line: in YAML, JSON, an environment or a flag.
fn without_value(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let ends = NAMES.iter().flat_map(|name| lower.match_indices(name).map(|(at, name)| at + name.len()));
    // containerd's, for a registry; within other words it is no secret.
    let auth = lower.trim_start().starts_with("auth =").then(|| line.len() - lower.trim_start().len() + 4);
    let ends = ends.chain(auth);
    let hidden = ends.filter_map(|end| value_behind(&line[end..]).map(|offset| end + offset)).min();
    match hidden {
        Some(at) => format!("{}{REDACTED}", &line[..at]),
        None => line.to_owned(),
    }
}

/// Where the value begins in what follows a secret's name; `None` where none follows, or one that is no secret.
fn value_behind(rest: &str) -> Option<usize> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name_end = rest.find(|c| !is_name(c))?;
    let name = rest[..name_end].to_ascii_lowercase();
    let behind = rest[name_end..].trim_start_matches(['"', '\'', ' ', '\t']);
    let value = behind.strip_prefix([':', '='])?.trim_start_matches([' ', '\t']);
    let bare = value.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let harmless = matches!(bare, "" | "true" | "false" | "null")
        || (bare.len() < 5 && bare.bytes().all(|b| b.is_ascii_digit()));
    // `tokenFile: /path` names where a secret is.
    (!harmless && !name.ends_with("file") && !name.ends_with("path")).then(|| rest.len() - value.len())
}

/// `scheme://user:password@host` without user and password.
fn without_password(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        clean.push_str(before);
        let end =
            behind.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'')).unwrap_or(behind.len());
        rest = match behind[..end].rfind('@') {
            Some(user) => {
                clean.push_str(REDACTED);
                &behind[user..]
            }
            None => behind,
        };
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        Redactor::default().line(text)
    }

    #[test]
    fn values_of_secrets_are_hidden() {
        for (text, shown) in [
            ("    token: canary", "    token: [redacted]"),
            ("    client-key-data: LS0tcanary==", "    client-key-data: [redacted]"),
            ("  password: \"canary\"", "  password: [redacted]"),
            ("  auth = \"canary\"", "  auth = [redacted]"),
            ("{\"a\": 1, \"registryToken\": \"canary\"}", "{\"a\": 1, \"registryToken\": [redacted]"),
            (
                "Environment=\"AWS_SECRET_ACCESS_KEY=canary\"",
                "Environment=\"AWS_SECRET_ACCESS_KEY=[redacted]",
            ),
            ("  --bearer-token=canary \\", "  --bearer-token=[redacted]"),
            ("join abcdef.0123456789canary now", "join [redacted] now"),
            (
                "\"http-proxy\": \"http://user:canary@proxy:3128\"",
                "\"http-proxy\": \"http://[redacted]@proxy:3128\"",
            ),
        ] {
            assert_eq!(line(text), shown);
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for text in [
            "  --authentication-token-webhook=true \\",
            "tokenFile: /var/run/token",
            "  token:",
            "    cacheTTL: 2m0s",
            "client-key: /var/lib/kubelet/pki/kubelet-client-current.pem",
            "server: https://10.0.0.1:6443",
            "# The token is read anew",
        ] {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn private_keys_are_hidden_whole_and_certificates_shown() {
        let text = "a: 1\n-----BEGIN EC PRIVATE KEY-----\ncanary\n-----END EC PRIVATE KEY-----\n\
                    -----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let mut redactor = Redactor::default();
        let lines: Vec<String> = text.lines().map(|text| redactor.line(text)).collect();
        assert_eq!(lines[..4], ["a: 1", REDACTED, REDACTED, REDACTED]);
        assert_eq!(lines[4..], ["-----BEGIN CERTIFICATE-----", "MIIB", "-----END CERTIFICATE-----"]);
    }
}
