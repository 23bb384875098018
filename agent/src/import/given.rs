//! The flags of a command, each sorted by what it stands for.

use super::draft::{Draft, Place};
use super::flags::{self, Meaning};
use super::unit::Word;
use super::{Gathered, Program};
use crate::config::{nearest, shown};

/// A flag as it was given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// As it was written.
    dashes: &'static str,
    pub(super) name: String,
    /// What it was given; `None` where it stands alone.
    pub(super) value: Option<String>,
    pub(super) place: Place,
}

impl Given {
    /// As it may stand in a message.
    pub(super) fn shown(&self) -> String {
        let dashes = self.dashes;
        match &self.value {
            Some(value) => format!("{dashes}{}={}", self.name, shown(value)),
            None => format!("{dashes}{}", self.name),
        }
    }

    /// What it says; a switch that stands alone says yes.
    pub(super) fn text(&self) -> &str {
        self.value.as_deref().unwrap_or("true")
    }
}

/// The flags among the words of a command, its program left out. A flag that may be given again adds up; of any other the
/// last one counts.
pub(super) fn flags(
    program: Program,
    file: &std::path::Path,
    words: &[Word],
    draft: &mut Draft,
) -> Vec<Given> {
    let mut all: Vec<Given> = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let place = Place::line(file, word.line);
        let Some(bare) = word.text.strip_prefix('-').map(|rest| rest.trim_start_matches('-')) else {
            draft.refuse(&place, &format!("`{}` is no flag", shown(&word.text)));
            continue;
        };
        let (name, mut value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        // Go's flags take `_` for `-`.
        let name = name.replace('_', "-");
        let is_switch = flags::find(program, &name).is_some_and(flags::Flag::is_switch);
        if value.is_none() && !is_switch {
            value = words.next_if(|next| !next.text.starts_with("--")).map(|next| next.text.clone());
        }
        let dashes = if word.text.starts_with("--") { "--" } else { "-" };
        let given = Given { dashes, name, value, place };
        match all.iter().position(|before| before.name == given.name) {
            Some(index) => {
                let before = all.remove(index);
                all.push(again(program, &before, given, draft));
            }
            None => all.push(given),
        }
    }
    all
}

fn again(program: Program, before: &Given, given: Given, draft: &mut Draft) -> Given {
    let adds_up = flags::find(program, &given.name).is_some_and(|flag| match flag.meaning {
        Meaning::Field(_, kind) => kind.adds_up(),
        _ => matches!(flag.name, "cluster-dns" | "node-labels"),
    });
    if adds_up {
        let value = Some(format!("{},{}", before.text(), given.text()));
        return Given { value, ..given };
    }
    draft.note(&before.place, &before.shown(), "dropped: given again further down, and the last one counts");
    given
}

/// Sorts the flags of a program: keys are gathered, fields are set, of the rest it is told what became of it.
pub(super) fn sort(program: Program, given: Vec<Given>, gathered: &mut Gathered, draft: &mut Draft) {
    for given in given {
        let Some(flag) = flags::find(program, &given.name) else {
            unknown(program, &given, draft);
            continue;
        };
        let is_default = !flag.default.is_empty() && given.text() == flag.default;
        match flag.meaning {
            Meaning::Key => {
                gathered.flags.insert((program, flag.name), given);
            }
            _ if is_default => draft.note(&given.place, &given.shown(), "dropped: the default"),
            Meaning::Field(field, kind) => match kind.read(given.text()) {
                Ok(value) => {
                    let path: Vec<&str> = program.group().into_iter().chain(field.split('.')).collect();
                    draft.set(&path, value);
                }
                Err(error) => draft.refuse(&given.place, &format!("`--{}`: {error}", given.name)),
            },
            Meaning::Flag => stays(program, &given, draft),
            Meaning::Gone(release, instead, source) => draft.note(
                &given.place,
                &given.shown(),
                &format!("dropped: removed in {release} ({source}); {instead}"),
            ),
            Meaning::Ours(how) => draft.note(&given.place, &given.shown(), &format!("dropped: {how}")),
            Meaning::Always(value, why) => always(&given, value, why, draft),
        }
    }
}

fn always(given: &Given, value: &str, why: &str, draft: &mut Draft) {
    let why = if given.text() == value {
        "dropped: kn-agent always sets this".to_owned()
    } else {
        format!("dropped: kn-agent always sets `{value}`: {why}")
    };
    draft.note(&given.place, &given.shown(), &why);
}

fn stays(program: Program, given: &Given, draft: &mut Draft) {
    let [group, _] = program.group();
    draft.set(&[group, "extraArgs", &given.name], given.text().into());
}

/// A flag that the table does not have is passed on where that is possible.
fn unknown(program: Program, given: &Given, draft: &mut Draft) {
    let known = match program {
        Program::Kubelet => flags::KUBELET,
        Program::Proxy => flags::PROXY,
        Program::Dockerd => flags::DOCKERD,
    };
    let meant = nearest(&given.name, known.iter().map(|flag| flag.name))
        .map_or_else(String::new, |meant| format!(" (did you mean `--{meant}`?)"));
    let why = match program {
        Program::Kubelet => {
            stays(program, given, draft);
            format!(
                "kept in kubelet.extraArgs, but not known here{meant}; `kn-agent check` says whether this kubelet has it"
            )
        }
        Program::Proxy => {
            stays(program, given, draft);
            format!(
                "kept in proxy.extraArgs, but not known here{meant}; beside its configuration kube-proxy ignores most \
                 flags: look for its field, for proxy.config"
            )
        }
        Program::Dockerd => {
            format!(
                "dropped: not known here{meant}; docker's unit stays the distribution's, a drop-in of yours can add it"
            )
        }
    };
    draft.note(&given.place, &given.shown(), &why);
}
