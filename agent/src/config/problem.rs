//! What is wrong with a configuration, said so that it can be mended.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::Origin;
use crate::names::Token;

/// One thing that is wrong. Never carries a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// The file it is in.
    pub file: Option<PathBuf>,
    /// The line in that file.
    pub line: Option<u32>,
    /// The environment variable it is in.
    pub variable: Option<String>,
    /// The key, dotted; empty where the whole file is meant.
    pub path: String,
    /// What was found and what is expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with the value at `path`.
    pub(crate) fn new(path: &str, message: &str) -> Self {
        Self { path: Token::scrub(path), message: Token::scrub(message), ..Self::default() }
    }

    /// The same, in the place `origin` names.
    pub(crate) fn at(mut self, origin: Option<&Origin>) -> Self {
        match origin {
            Some(Origin::File { path, line }) => {
                self.file = Some(path.clone());
                self.line = *line;
            }
            Some(Origin::Environment { variable }) => self.variable = Some(variable.clone()),
            Some(Origin::Default | Origin::Computed { .. }) | None => {}
        }
        self
    }

    /// The same, with what to do about it.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(Token::scrub(hint));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        if let Some(variable) = &self.variable {
            write!(f, "{variable}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Why there is no configuration: every problem found, not the first alone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigErrors {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Nothing is configured at all: there is nothing to mend, only to wait for.
    pub not_configured: bool,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// What has been found so far, and which keys need not be asked for because what stands there was refused already.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    excused: Vec<String>,
}

impl Findings {
    /// Notes a problem; a missing key below its path is its consequence.
    pub(super) fn add(&mut self, problem: Problem) {
        self.excused.push(problem.path.clone());
        self.problems.push(problem);
    }

    /// Notes a problem that is no reason for a key to be missing.
    pub(super) fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// `path` may be missing: what was meant for it was refused elsewhere.
    pub(super) fn excuse(&mut self, path: &str) {
        self.excused.push(path.to_owned());
    }

    /// Whether it is known already why `path` is missing.
    pub(super) fn excuses(&self, path: &str) -> bool {
        self.excused.iter().any(|known| {
            path.strip_prefix(known.as_str())
                .is_some_and(|rest| known.is_empty() || rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    // One slip in three letters; two in a short word, so that swapped letters count.
    let limit = (word.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(slips, candidate)| *slips <= limit && *slips < candidate.len())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out or changed to make `a` of `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        for (j, right) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX - 1);
            let here = (diagonal + usize::from(left != *right)).min(previous + 1).min(above + 1);
            diagonal = above;
            if let Some(cell) = row.get_mut(j) {
                *cell = previous;
            }
            previous = here;
        }
        if let Some(cell) = row.last_mut() {
            *cell = previous;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// A value as it may stand in a message: one line, not too long.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_slips() {
        for (a, b, slips) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("confg", "config", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), slips, "{a} {b}");
            assert_eq!(distance(b, a), slips, "{b} {a}");
        }
    }

    #[test]
    fn nearest_finds_slips_and_leaves_strangers_alone() {
        let known = ["server", "ca", "podCIDR", "serviceCIDR"];
        for (word, meant) in
            [("sever", Some("server")), ("podCidr", Some("podCIDR")), ("x", None), ("token", None)]
        {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }

    #[test]
    fn problem_never_carries_what_could_be_a_token() {
        let problem = Problem::new("a", "found `abcdef.0123456789abcdef`, not good")
            .hint("not abcdef.0123456789abcdef.");
        assert_eq!(problem.to_string(), "a: found `[redacted]`, not good; not [redacted]");
    }

    #[test]
    fn findings_excuse_what_lies_below() {
        let mut findings = Findings::default();
        findings.add(Problem::new("cluster", "wrong"));
        assert!(findings.excuses("cluster.server") && findings.excuses("cluster"));
        assert!(!findings.excuses("clusters") && !findings.excuses("identity"));
        findings.excuse("");
        assert!(findings.excuses("identity"));
    }
}
