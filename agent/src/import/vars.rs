//! Placeholders, `{{ NAME }}` and `${NAME}`, and what they stand for.

use std::collections::BTreeMap;

use super::Input;
use super::draft::{Draft, Place};

/// What placeholders stand for: lines `NAME=value`, as an Ansible inventory and systemd's `EnvironmentFile=` have them.
#[derive(Debug, Default)]
pub(super) struct Vars {
    values: BTreeMap<String, String>,
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Vars {
    /// Reads lines `NAME=value`; quotes around a value are dropped. Messages never show a value: one may be the token.
    pub(super) fn read(input: &Input, draft: &mut Draft) -> Self {
        let mut vars = Self::default();
        for (number, line) in (1u32..).zip(input.text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let place = Place::line(&input.name, number);
            let Some((name, value)) = line.split_once('=').filter(|(name, _)| is_name(name.trim())) else {
                draft.refuse(&place, "expected `NAME=value`, one a line");
                continue;
            };
            let Some(value) = unquoted(value.trim()) else {
                draft.refuse(&place, "a quote that does not end");
                continue;
            };
            if value.contains("{{") || value.contains("${") {
                draft.refuse(&place, &format!("the value of `{}` has a placeholder itself", name.trim()));
            }
            vars.values.insert(name.trim().to_owned(), value.to_owned());
        }
        vars
    }

    /// More values, which give way to those there are.
    pub(super) fn under(&self, more: &BTreeMap<String, String>) -> Self {
        let mut values = more.clone();
        values.extend(self.values.clone());
        Self { values }
    }

    /// What `name` stands for. A name without a value is a problem of the place.
    fn get(&self, name: &str, place: &Place, draft: &mut Draft) -> String {
        let value = self.values.get(name).cloned();
        if value.is_none() {
            let message = format!("`{name}` has no value; give one with --vars FILE, in a line `{name}=…`");
            draft.refuse(place, &message);
        }
        value.unwrap_or_default()
    }

    /// `text` with each `{{ NAME }}` filled, line by line; comments are left as they are. `{{.Field}}` is docker's own.
    pub(super) fn fill_jinja(&self, input: &Input, draft: &mut Draft) -> String {
        let mut filled = String::with_capacity(input.text.len());
        for (number, line) in (1u32..).zip(input.text.lines()) {
            let place = Place::line(&input.name, number);
            if super::unit::is_comment(line) {
                filled.push_str(line);
            } else {
                if line.contains("{%") {
                    draft.refuse(&place, "a statement of a template (`{%`): have it rendered first");
                }
                filled.push_str(&self.fill(line, ["{{", "}}"], &place, draft));
            }
            filled.push('\n');
        }
        filled
    }

    /// `text` with each `${NAME}` filled.
    pub(super) fn fill_shell(&self, text: &str, place: &Place, draft: &mut Draft) -> String {
        self.fill(text, ["${", "}"], place, draft)
    }

    fn fill(&self, text: &str, [open, close]: [&str; 2], place: &Place, draft: &mut Draft) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(open) {
            filled.push_str(before);
            if before.ends_with('$') || after.trim_start().starts_with('.') {
                filled.push_str(open);
                rest = after;
                continue;
            }
            let Some((name, tail)) = after.split_once(close) else {
                draft.refuse(place, &format!("`{open}` without `{close}`"));
                return filled;
            };
            if is_name(name.trim()) {
                filled.push_str(&self.get(name.trim(), place, draft));
            } else {
                let message = format!("`{open}{name}{close}`: only a plain name can be filled");
                draft.refuse(place, &message);
            }
            rest = tail;
        }
        filled.push_str(rest);
        filled
    }

    /// A word of a command as systemd expands it: `$NAME` alone becomes as many words as its value has, `${NAME}` stays
    /// within its word, `$$` is a dollar.
    pub(super) fn expand(&self, word: &str, place: &Place, draft: &mut Draft) -> Vec<String> {
        if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
            return self.get(name, place, draft).split_whitespace().map(str::to_owned).collect();
        }
        vec![self.fill_shell(word, place, draft).replace("$$", "$")]
    }
}

/// A value without the quotes around it; `None` where they do not end.
fn unquoted(value: &str) -> Option<&str> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.strip_suffix(quote);
        }
    }
    Some(value)
}
