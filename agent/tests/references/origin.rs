//! `docs/origin.md`: every row is there once, and every test that it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// How many points the role had.
const POINTS: usize = 116;

pub(crate) fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of all functions in the sources, and of those that are tests.
fn functions(directory: &Path, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // A scenario's part is a function that its test calls; it need not be a test itself.
            let has_tests = text.contains("#[test]") || text.contains("#[tokio::test");
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            all.extend(names.filter(|_| has_tests).map(str::to_owned));
        }
    }
}

/// Every test's name.
pub(crate) fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for directory in ["agent/src", "agent/tests", "tests/src", "tests/tests"] {
        functions(&root().join(directory), &mut known);
    }
    // The control: a name that is none is not found.
    assert!(known.contains("origin_names_tests_that_exist") && !known.contains("origin_names_tests"));
    known
}

/// Number, what kn-agent does, and the tests of each row.
fn rows(text: &str) -> Vec<(usize, String, Vec<String>)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        let [_, of, _, does, tests] = cells[..] else { panic!("row {number} has {} cells", cells.len()) };
        assert!(["17", "19", "both"].contains(&of), "row {number} is of {of}");
        let tests = tests.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect();
        Some((number, does.to_owned(), tests))
    };
    text.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

pub(crate) fn check() {
    let text = fs::read_to_string(root().join("docs/origin.md")).unwrap();
    let rows = rows(&text);
    let numbers: Vec<usize> = rows.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=POINTS).collect::<Vec<_>>());
    let known = known();
    for (number, does, tests) in rows {
        if tests == ["–"] {
            let shows_nothing = ["Gone", "Not yet", "Text only"].iter().any(|word| does.starts_with(word));
            assert!(shows_nothing, "row {number} names no test");
            continue;
        }
        for test in tests {
            assert!(known.contains(&test), "row {number} names `{test}`, and no test has that name");
        }
    }
}
