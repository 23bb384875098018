//! References in `docs/` are written from the code, and this fails where they differ; so does the order of its modules.
//!
//! `UPDATE=1 cargo test -p kn-agent --test references` writes them anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, all about files")]

mod commands;
mod configuration;
mod diagnoses;
mod documents;
mod layers;
mod origin;
mod phases;
mod reasons;
mod table;
mod versions;

use std::fs;
use std::path::Path;

/// Fails where `docs/` holds another text than `expected` at `path`, or writes it there.
fn check(path: &str, title: &str, body: &str) {
    let expected = format!(
        "# {title}\n\n<!-- Written from the code: UPDATE=1 cargo test -p kn-agent --test references -->\n\n{body}"
    );
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = line.unwrap_or(found.lines().count().min(expected.lines().count()));
    assert!(
        found == expected,
        "docs/{path} differs from the code at line {}:\n  found    {:?}\n  expected {:?}\nto write it anew: UPDATE=1 cargo test \
         -p kn-agent --test references",
        line + 1,
        found.lines().nth(line),
        expected.lines().nth(line),
    );
}

#[test]
fn configuration_reference_is_what_the_code_says() {
    check("reference/configuration.md", "Configuration", &configuration::text());
}

#[test]
fn command_reference_is_what_the_code_says() {
    check("reference/commands.md", "Commands", &commands::text());
}

#[test]
fn reason_reference_is_what_the_code_says() {
    check("reference/reasons.md", "Reasons", &reasons::text());
}

#[test]
fn document_reference_is_what_the_code_says() {
    check("reference/documents.md", "Documents", &documents::text());
}

#[test]
fn phase_diagram_is_what_the_code_says() {
    check("phases.md", "Phases", &phases::text());
}

#[test]
fn a_module_imports_only_from_those_above_it() {
    layers::check();
}

#[test]
fn origin_names_tests_that_exist() {
    origin::check();
}

#[test]
fn diagnoses_name_reasons_checks_and_tests_that_exist() {
    diagnoses::check();
}

#[test]
fn version_reference_is_what_the_code_says() {
    check("reference/versions.md", "Versions", &versions::text());
}
