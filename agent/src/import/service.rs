//! Unit files: whose they are, the command, and the rest of their settings.

use std::collections::BTreeMap;

use super::draft::{Draft, Place};
use super::unit::{self, Setting, Word};
use super::vars::Vars;
use super::{Gathered, Input, Program, given};
use crate::config::shown;

/// Settings that our own units have, or need not have.
const OURS: [&str; 25] = [
    "After",
    "Before",
    "ConditionPathExists",
    "CPUAccounting",
    "Delegate",
    "Description",
    "Documentation",
    "ExecReload",
    "KillMode",
    "LimitCORE",
    "LimitNOFILE",
    "LimitNPROC",
    "MemoryAccounting",
    "Requires",
    "Restart",
    "RestartSec",
    "StartLimitBurst",
    "StartLimitInterval",
    "StartLimitIntervalSec",
    "TasksMax",
    "TimeoutStartSec",
    "Type",
    "WantedBy",
    "Wants",
    "WorkingDirectory",
];

/// Reads a unit file.
pub(super) fn read(input: &Input, vars: &Vars, gathered: &mut Gathered, draft: &mut Draft) {
    let settings = match unit::settings(&input.text) {
        Ok(settings) => settings,
        Err(fault) => {
            draft.refuse(&Place::line(&input.name, fault.line), &fault.message);
            return;
        }
    };
    let vars = vars.under(&environment(input, &settings, draft));
    let mut commands: Vec<Vec<Word>> = Vec::new();
    for setting in settings.iter().filter(|setting| setting.key == "ExecStart") {
        if setting.value.text.trim().is_empty() {
            // As systemd has it: what stood before is taken back.
            commands.clear();
        } else {
            let Some(command) = command(input, setting, &vars, draft) else { return };
            commands.push(command);
        }
    }
    let Some(program) = take(input, &commands, gathered, draft) else { return };
    rest(input, &settings, program, draft);
}

/// What `Environment=` sets.
fn environment(input: &Input, settings: &[Setting], draft: &mut Draft) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for setting in settings.iter().filter(|setting| setting.key == "Environment") {
        match setting.value.words() {
            Ok(words) => all.extend(words.into_iter().filter_map(|word| {
                word.text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
            })),
            Err(fault) => draft.refuse(&Place::line(&input.name, fault.line), &fault.message),
        }
    }
    all
}

/// The words of a command, placeholders filled. `None` where something is wrong with it.
fn command(input: &Input, setting: &Setting, vars: &Vars, draft: &mut Draft) -> Option<Vec<Word>> {
    let words = match setting.value.words() {
        Ok(words) => words,
        Err(fault) => {
            draft.refuse(&Place::line(&input.name, fault.line), &fault.message);
            return None;
        }
    };
    let known = draft.problems.len();
    let mut filled = Vec::new();
    for Word { text, line } in words {
        let texts = vars.expand(&text, &Place::line(&input.name, line), draft);
        filled.extend(texts.into_iter().map(|text| Word { text, line }));
    }
    (draft.problems.len() == known).then_some(filled)
}

/// Takes program and flags of the one command there has to be.
fn take(
    input: &Input,
    commands: &[Vec<Word>],
    gathered: &mut Gathered,
    draft: &mut Draft,
) -> Option<Program> {
    let [words] = commands else {
        let message = format!("expected one `ExecStart=`, found {}", commands.len());
        draft.refuse(&Place::file(&input.name), &message);
        return None;
    };
    let (first, words) = words.split_first()?;
    let path = first.text.trim_start_matches(['@', '-', ':', '+', '!']);
    let place = Place::line(&input.name, first.line);
    let Some(program) = Program::of(path.rsplit('/').next().unwrap_or(path)) else {
        let message = format!("`{}` is neither kubelet nor kube-proxy nor dockerd", shown(path));
        draft.refuse(&place, &message);
        return None;
    };
    match program {
        Program::Dockerd => {}
        Program::Kubelet => draft.set(&["kubelet", "binary"], path.into()),
        Program::Proxy => draft.set(&["proxy", "binary"], path.into()),
    }
    let flags = given::flags(program, &input.name, words, draft);
    given::sort(program, flags, gathered, draft);
    Some(program)
}

/// The settings beside the command: those of ours in one line, each other one in its own.
fn rest(input: &Input, settings: &[Setting], program: Program, draft: &mut Draft) {
    let mut ours: Vec<&str> = Vec::new();
    for setting in settings {
        let (key, value) = (setting.key.as_str(), setting.value.text.trim());
        let place = Place::line(&input.name, setting.value.line_at(0));
        let what = format!("{key}={}", shown(value));
        match key {
            "ExecStart" => {}
            "Environment" | "EnvironmentFile" => {
                let why = "dropped: give what placeholders stand for with --vars FILE; what the program itself reads \
                           (a proxy, say) belongs into a drop-in of the unit";
                // A value may be a password.
                draft.note(&place, &format!("{key}="), why);
            }
            _ if OURS.contains(&key) => {
                if !ours.contains(&key) {
                    ours.push(key);
                }
            }
            _ => draft.note(&place, &what, &beside(key, value, program)),
        }
    }
    if !ours.is_empty() {
        let what = ours.iter().map(|key| format!("{key}=")).collect::<Vec<_>>().join(", ");
        let why = match program {
            Program::Dockerd => {
                "dropped: docker's unit stays the distribution's, with a drop-in of kn-agent's"
            }
            Program::Kubelet | Program::Proxy => {
                "dropped: kn-agent writes this unit, with settings of its own"
            }
        };
        draft.note(&Place::file(&input.name), &what, why);
    }
}

/// What becomes of a setting that our units do not have.
fn beside(key: &str, value: &str, program: Program) -> String {
    if key.starts_with("ExecStart") && value.contains("--dport 4194") {
        return "dropped: nothing listens on port 4194 since 1.12 (kubernetes/kubernetes#65707), and each restart added \
                the rule once more; the figures are on port 10250, for those whom the API server lets. Rules that are left \
                are taken away once the node is Ready; firewall.restrict is for today's ports"
            .to_owned();
    }
    if key == "ExecStartPre" && value.contains("mkdir") && value.contains("/sys/fs/cgroup/") {
        return "dropped: kn-agent's unit makes the cgroups that kubelet.config.enforceNodeAllocatable asks for".to_owned();
    }
    let unit = match program {
        Program::Kubelet => "kubelet",
        Program::Proxy => "kube-proxy",
        Program::Dockerd => "docker",
    };
    format!(
        "dropped: to keep it, write it into a drop-in, /etc/systemd/system/{unit}.service.d/50-local.conf"
    )
}
