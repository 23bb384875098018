//! `docs/diagnoses.md`: every row is there once, what it says kn-agent tells is a reason or a check, and every test that
//! it names exists.

use std::fs;

use kn_agent::plan::preflight;
use kn_agent::reason::Reason;

use super::origin::{known, root};

/// How many symptoms there are.
const SYMPTOMS: usize = 29;

/// What kn-agent says without a code of its own.
const OTHERWISE: [&str; 6] =
    ["config validate", "cluster init", "cluster status", "status", "approver", "plan"];

/// Number, what kn-agent says, and the tests of each row.
fn rows(text: &str) -> Vec<(usize, String, Vec<String>)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        let [_, _, _, says, tests] = cells[..] else { panic!("row {number} has {} cells", cells.len()) };
        let tests = tests.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect();
        Some((number, says.to_owned(), tests))
    };
    text.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

/// Whether `says` names, between backticks, a reason, a check or a command of ours.
fn is_told(says: &str) -> bool {
    let is_known = |word: &str| {
        Reason::ALL.iter().any(|reason| reason.as_str() == word)
            || preflight::NAMES.contains(&word)
            || OTHERWISE.contains(&word)
    };
    says.split('`').skip(1).step_by(2).any(is_known)
}

pub(crate) fn check() {
    // The control: words that name nothing are not taken for a reason.
    assert!(is_told("the check `swap`") && !is_told("swap") && !is_told("`SwapIsOn`"));
    let text = fs::read_to_string(root().join("docs/diagnoses.md")).unwrap();
    let (rows, known) = (rows(&text), known());
    let numbers: Vec<usize> = rows.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=SYMPTOMS).collect::<Vec<_>>());
    for (number, says, tests) in rows {
        assert!(is_told(&says), "row {number} names no reason, check or command: {says}");
        for test in tests {
            assert!(known.contains(&test), "row {number} names `{test}`, and no test has that name");
        }
    }
}
