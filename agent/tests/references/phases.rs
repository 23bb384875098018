//! `docs/phases.md`: the graph of the phases.

use std::fmt::Write;

use kn_agent::plan::Phase;
use schemars::schema_for;
use serde_json::Value;

use crate::table::table;

const HEAD: &str = "A phase acts when every phase it stands on is satisfied; phases that do not stand on one another act at the
same time. `kn-agent status` shows each by its name. Not in the picture: while one unit starts, the start of the next waits for it
already; and in a join kube-proxy and what belongs to it wait for the kubelet.
";

pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned() + "\n```mermaid\nflowchart LR\n";
    for phase in Phase::ALL {
        if phase.requires().is_empty() {
            let _ = writeln!(text, "    {phase}");
        }
        for required in phase.requires() {
            let _ = writeln!(text, "    {required} --> {phase}");
        }
    }
    text.push_str("```\n\n");
    let meanings = meanings();
    let names = |phases: &[Phase]| {
        let names: Vec<&str> = phases.iter().map(|phase| phase.as_str()).collect();
        if names.is_empty() { "–".to_owned() } else { names.join(", ") }
    };
    let rows = Phase::ALL.into_iter().map(|phase| {
        let (_, meaning) = meanings.iter().find(|(name, _)| name == phase.as_str()).unwrap();
        [format!("`{phase}`"), names(phase.requires()), meaning.clone()]
    });
    text + &table(["phase", "stands on", "what it is about"], rows)
}

/// Each phase's name and doc comment.
fn meanings() -> Vec<(String, String)> {
    let schema = schema_for!(Phase).to_value();
    let text =
        |value: &Value| value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let variants = schema["oneOf"].as_array().unwrap();
    variants.iter().map(|variant| (text(&variant["const"]), text(&variant["description"]))).collect()
}
