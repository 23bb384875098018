//! Texts without the secrets that may stand in them.
//!
//! What the agent writes names keys by path; but a file it would replace may have been written by others, with a token or
//! a key in it, and what it is given for docker, kubelet and kube-proxy may hold a password.

use serde_json::Value;

use crate::names::Token;

/// What stands where a secret stood.
pub(crate) const REDACTED: &str = "[redacted]";

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
pub(crate) struct Redactor {
    in_key: bool,
    below: Option<Below>,
}

/// What of a secret's value stands on the lines after its name.
#[derive(Debug, Clone, Copy)]
enum Below {
    /// Perhaps a list of values, one a line.
    List,
    /// A text of several lines, further in than this.
    Block(usize),
}

impl Redactor {
    /// The next line, as it may be shown.
    pub(crate) fn line(&mut self, line: &str) -> String {
        let begins = is_key(line);
        let inside = self.in_key;
        self.in_key = (inside || begins) && !line.contains("-----END");
        if inside || begins || self.is_below(line) {
            return REDACTED.to_owned();
        }
        self.below = opened(line);
        text(&without_value(line))
    }

    fn is_below(&self, line: &str) -> bool {
        let content = line.trim_start();
        match self.below {
            Some(Below::List) => {
                // In YAML, or in JSON: there a key would be followed by a colon.
                content.starts_with("- ") || content.starts_with('"') && !content.contains("\":")
            }
            Some(Below::Block(indent)) => content.is_empty() || line.len() - content.len() > indent,
            None => false,
        }
    }
}

/// What another program's configuration may show of `value`, which stands at `key`.
pub(crate) fn value(key: &str, value: &mut Value) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, below)| self::value(key, below)),
        Value::Array(list) => list.iter_mut().for_each(|item| self::value(key, item)),
        Value::String(found) if is_secret(key, found) || is_key(found) => REDACTED.clone_into(found),
        Value::String(found) => *found = text(found),
        other => {
            if is_secret(key, &other.to_string()) {
                *other = REDACTED.into();
            }
        }
    }
}

fn is_secret(key: &str, value: &str) -> bool {
    let key = key.to_ascii_lowercase();
    NAMES.iter().any(|name| key.contains(name)) && !names_place(&key) && !is_harmless(value)
}

fn is_key(text: &str) -> bool {
    text.contains("-----BEGIN") && text.contains("PRIVATE KEY")
}

/// What may be shown of a text that stands at no secret's name.
fn text(text: &str) -> String {
    Token::scrub(&without_password(&without_bearer(text)))
}

/// A value behind the name of a secret is hidden, to the end of the line: in YAML, JSON, an environment or a flag.
fn without_value(line: &str) -> String {
    let hidden = ends_of_names(line).filter_map(|end| value_behind(&line[end..]).map(|at| end + at)).min();
    match hidden {
        Some(at) => format!("{}{REDACTED}", &line[..at]),
        None => line.to_owned(),
    }
}

/// Where the names of secrets end in `line`, or the part of them that makes them so.
fn ends_of_names(line: &str) -> impl Iterator<Item = usize> {
    // As long as the line itself, byte for byte.
    let lower = line.to_ascii_lowercase();
    let ends = |name: &&str| lower.match_indices(name).map(|(at, name)| at + name.len()).collect::<Vec<_>>();
    // containerd's, for a registry; within other words it is no secret.
    let auth = lower.trim_start().starts_with("auth =").then(|| line.len() - lower.trim_start().len() + 4);
    NAMES.iter().flat_map(ends).chain(auth).collect::<Vec<_>>().into_iter()
}

/// What follows on the next lines where `line` ends with a secret's name.
fn opened(line: &str) -> Option<Below> {
    let indent = line.len() - line.trim_start().len();
    let opens = |end: usize| {
        let (name, value) = named(&line[end..])?;
        match value.trim_end() {
            _ if names_place(&name) => None,
            "" | "[" => Some(Below::List),
            value if value.starts_with(['|', '>']) => Some(Below::Block(indent)),
            _ => None,
        }
    };
    ends_of_names(line).find_map(opens)
}

/// The rest of the name and the value behind it, in what follows a part of a name.
fn named(rest: &str) -> Option<(String, &str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name_end = rest.find(|c| !is_name(c))?;
    let behind = rest[name_end..].trim_start_matches(['"', '\'', ' ', '\t']);
    let value = behind.strip_prefix([':', '='])?.trim_start_matches([' ', '\t']);
    Some((rest[..name_end].to_ascii_lowercase(), value))
}

/// `tokenFile: /path` names where a secret is.
fn names_place(name: &str) -> bool {
    name.ends_with("file") || name.ends_with("path")
}

fn is_harmless(value: &str) -> bool {
    let bare = value.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    matches!(bare, "" | "true" | "false" | "null")
        || (bare.len() < 5 && bare.bytes().all(|b| b.is_ascii_digit()))
}

/// Where the value begins in what follows a secret's name; `None` where none follows, or one that is no secret.
fn value_behind(rest: &str) -> Option<usize> {
    let (name, value) = named(rest)?;
    (!is_harmless(value) && !names_place(&name)).then(|| rest.len() - value.len())
}

/// What is shown to prove who one is, whatever the header is called.
fn without_bearer(line: &str) -> String {
    const SCHEMES: [&str; 2] = ["bearer ", "basic "];
    let lower = line.to_ascii_lowercase();
    let credential = |at: usize| {
        let behind = &line[at..];
        let end =
            behind.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',')).unwrap_or(behind.len());
        // Words of a sentence are shorter.
        (end >= 16).then(|| format!("{}{REDACTED}{}", &line[..at], &behind[end..]))
    };
    let mut places = SCHEMES.iter().filter_map(|scheme| Some(lower.find(scheme)? + scheme.len()));
    places.find_map(credential).unwrap_or_else(|| line.to_owned())
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
    fn values_on_the_lines_below_a_secrets_name_are_hidden() {
        let text = "a:\n  Authorization:\n  - Bearer canary\n  - canary\n  token: |\n    canary\n\n    canary\n  mode: x\n\
                    \"authorization\": [\n  \"canary\"\n]\nauthorization:\n  mode: Webhook\n- Bearer canary-0123456789\n";
        let mut redactor = Redactor::default();
        let shown: Vec<String> = text.lines().map(|line| redactor.line(line)).collect();
        assert!(!shown.concat().contains("canary"), "{shown:#?}");
        for line in ["  Authorization:", "  mode: x", "  mode: Webhook", "]", "- Bearer [redacted]"] {
            assert!(shown.iter().any(|shown| shown == line), "{line} is not in {shown:#?}");
        }
    }

    #[test]
    fn values_of_another_programs_configuration_are_hidden_by_the_class_of_their_key() {
        let mut document = serde_json::json!({
            "registryToken": "canary", "staticPodURLHeader": {"Authorization": ["Bearer canary"], "X": ["Bearer canary-0123456789"]},
            "http-proxy": "http://user:canary@proxy:3128", "password": 123_456, "list": [{"secret": "canary"}],
            "pem": "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n", "args": ["abcdef.0123456789canary"],
        });
        value("", &mut document);
        let text = document.to_string();
        assert!(!text.contains("canary") && !text.contains("123456"), "{text}");
        let mut plain = serde_json::json!({
            "authorization": {"mode": "Webhook"}, "tokenFile": "/run/token", "serverTLSBootstrap": true,
            "maxPods": 50, "log-opts": {"max-size": "10m"}, "insecure-registries": ["10.0.0.1:5000"],
        });
        let before = plain.clone();
        value("", &mut plain);
        assert_eq!(plain, before);
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
