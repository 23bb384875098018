//! Secrets in every form in which they could be found somewhere, and the search for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::ByteString;
use serde_json::Value;

use crate::process::output;

/// A line of a key that is shorter could stand anywhere.
const SHORTEST_LINE: usize = 40;

/// What is shown of a place around a secret.
const AROUND: usize = 160;

/// What is searched for: each text, and what it is.
#[derive(Debug, Clone, Default)]
pub struct Needles(BTreeMap<String, String>);

/// Something that is searched, as a file of the host's.
#[derive(Debug, Clone)]
pub struct Place {
    /// What it is.
    pub name: &'static str,
    /// Where its text is.
    pub file: PathBuf,
}

impl Needles {
    /// A bootstrap token: its secret, the whole, and both as base64 whatever stands before them.
    pub fn token(&mut self, token: &str) {
        let secret = token.split_once('.').map_or(token, |(_, secret)| secret);
        self.add(secret, "the secret of a token");
        self.add(token, "a token");
        for text in [secret, token] {
            for part in base64_anywhere(text) {
                self.add(&part, "base64 of a token");
            }
        }
    }

    /// Each line of each private key in a PEM text; how many keys there are.
    pub fn keys(&mut self, pem: &str) -> usize {
        let (mut count, mut inside) = (0, false);
        for line in pem.lines() {
            if line.contains("PRIVATE KEY-----") {
                inside = line.starts_with("-----BEGIN");
                count += usize::from(inside);
            } else if inside && line.len() >= SHORTEST_LINE {
                self.add(line, "a line of a private key");
            }
        }
        count
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// A text that holds a token and a key in the forms they are searched for.
    pub fn canary(token: &str, key: &str) -> (Self, String) {
        let mut needles = Self::default();
        needles.token(token);
        needles.keys(key);
        (needles, format!("Authorization: Bearer {token}\n{}\n{key}", base64(token)))
    }

    /// What of it stands in a file: what it is, with the text before it.
    pub fn found_in(&self, place: &Place, patterns: &Path) -> Result<BTreeSet<String>> {
        ensure!(!self.0.is_empty(), "there is nothing to search for");
        ensure!(fs::metadata(&place.file)?.len() > 0, "{}: there is nothing to search", place.name);
        let lines: Vec<&str> = self.0.keys().map(String::as_str).collect();
        fs::write(patterns, lines.join("\n"))?;
        let mut grep = Command::new("grep");
        grep.env("LC_ALL", "C").args(["--text", "--only-matching", "--byte-offset", "--fixed-strings"]);
        let found = output(grep.arg("--file").arg(patterns).arg(&place.file))?;
        ensure!(found.status.code() != Some(2), "grep: {}", String::from_utf8_lossy(&found.stderr));
        let whole = fs::read(&place.file)?;
        let mut lines = BTreeSet::new();
        for line in String::from_utf8_lossy(&found.stdout).lines() {
            let (offset, text) = line.split_once(':').with_context(|| format!("grep says `{line}`"))?;
            let offset: usize = offset.parse()?;
            let what = self.0.get(text).map_or("a secret", String::as_str);
            let before = &whole[offset.saturating_sub(AROUND)..offset];
            lines.insert(format!("{what} behind `{}`", String::from_utf8_lossy(before).escape_debug()));
        }
        Ok(lines)
    }

    fn add(&mut self, text: &str, what: &str) {
        self.0.entry(text.to_owned()).or_insert_with(|| what.to_owned());
    }
}

/// Those characters of the base64 of a text that are the same whatever stands before and behind it.
fn base64_anywhere(text: &str) -> Vec<String> {
    (0..3)
        .map(|before| {
            let encoded = base64(&format!("{}{text}", "x".repeat(before)));
            // A character carries 6 bits: the first ones have some of what stands before, the last of what follows.
            let whole = (before + text.len()) * 8 / 6;
            encoded[(before * 8).div_ceil(6)..whole].to_owned()
        })
        .collect()
}

fn base64(text: &str) -> String {
    // `ByteString` serialises to base64, and to nothing else.
    let value = serde_json::to_value(ByteString(text.as_bytes().to_vec()));
    value.ok().and_then(|value: Value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_each_of_its_forms_and_nowhere_else() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcanarycanarycan1\n-----END PRIVATE KEY-----\n";
        let (needles, planted) = Needles::canary("abcdef.0123456789abcdef", key);
        let found = |text: &str| -> Result<usize> {
            let file = directory.path().join("place");
            fs::write(&file, text)?;
            let place = Place { name: "a place", file };
            Ok(needles.found_in(&place, &directory.path().join("patterns"))?.len())
        };
        ensure!(found(&planted)? >= 3);
        for before in ["", "a", "ab", "abc"] {
            ensure!(found(&base64(&format!("{before}0123456789abcdef and more")))? == 1, "{before}");
        }
        ensure!(found("token abcdef, MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0w, 0123456789")? == 0);
        ensure!(found("\0binary\u{1}0123456789abcdef\0")? == 1);
        Ok(())
    }
}
