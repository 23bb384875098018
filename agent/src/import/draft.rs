//! What an import has come to so far: the configuration, what is to be told, and what is wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::config::{ConfigErrors, Origin, Problem};
use crate::names::Token;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: Option<u32>,
}

impl Place {
    pub(super) fn line(file: &Path, line: u32) -> Self {
        Self { file: file.to_owned(), line: Some(line) }
    }

    pub(super) fn file(file: &Path) -> Self {
        Self { file: file.to_owned(), line: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// What became of something that does not stand in the configuration as it stood in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    place: Place,
    what: String,
    why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, why } = self;
        write!(f, "{place}: {what}: {why}")
    }
}

/// An import under way.
#[derive(Debug, Default)]
pub(super) struct Draft {
    config: Map<String, Value>,
    pub(super) notes: Vec<Note>,
    pub(super) problems: Vec<Problem>,
}

impl Draft {
    /// Sets a key, given by its groups and its name.
    pub(super) fn set(&mut self, path: &[&str], value: Value) {
        let Some((name, groups)) = path.split_last() else { return };
        let mut here = &mut self.config;
        for group in groups {
            let below = here.entry(*group).or_insert_with(|| Value::Object(Map::new()));
            if !below.is_object() {
                *below = Value::Object(Map::new());
            }
            let Value::Object(map) = below else { return };
            here = map;
        }
        here.insert((*name).to_owned(), value);
    }

    /// What a key holds.
    pub(super) fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.config.get(*first)?, |here, key| here.get(*key))
    }

    /// Tells what became of something. Whatever could be a token is left out.
    pub(super) fn note(&mut self, place: &Place, what: &str, why: &str) {
        self.notes.push(Note { place: place.clone(), what: Token::scrub(what), why: Token::scrub(why) });
    }

    /// Something is wrong there, and there will be no configuration.
    pub(super) fn refuse(&mut self, place: &Place, message: &str) {
        let origin = Origin::File { path: place.file.clone(), line: place.line };
        self.problems.push(Problem::new("", message).at(Some(&origin)));
    }

    /// What is wrong.
    pub(super) fn into_errors(self) -> ConfigErrors {
        ConfigErrors { problems: self.problems, not_configured: false }
    }

    /// The configuration, and what is told, in the order of the files and their lines; or what is wrong.
    pub(super) fn finish(mut self, files: &[&Path]) -> Result<(Map<String, Value>, Vec<Note>), ConfigErrors> {
        if !self.problems.is_empty() {
            return Err(self.into_errors());
        }
        let rank = |place: &Place| files.iter().position(|file| **file == place.file);
        self.notes.sort_by_key(|note| (rank(&note.place), note.place.line));
        Ok((self.config, folded(self.notes)))
    }
}

/// Notes without a reason that stands in the same file before.
fn folded(mut notes: Vec<Note>) -> Vec<Note> {
    let before = notes.clone();
    for (index, note) in notes.iter_mut().enumerate() {
        let first = before.iter().take(index).find(|first| {
            first.why == note.why && first.place.file == note.place.file && note.why.len() > LONG
        });
        if let Some(line) = first.and_then(|first| first.place.line) {
            note.why = format!("as in line {line}");
        }
    }
    notes
}

/// A reason of more characters is told once.
const LONG: usize = 60;
