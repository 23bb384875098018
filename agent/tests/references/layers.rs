//! The order of `lib.rs`: a module imports only from those above it.

use std::fs;
use std::path::{Path, PathBuf};

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|found| found == "rs")).collect()
}

/// The modules of `text`, a crate's root, from top to bottom.
fn order(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect()
}

/// Modules below `module` that `text` speaks of.
fn below<'a>(order: &[&'a str], module: &str, text: &str) -> Vec<&'a str> {
    let rank = order.iter().position(|name| *name == module).unwrap();
    let names = |name: &&&str| {
        let path = format!("crate::{name}");
        text.match_indices(&path).any(|(at, _)| {
            let after = text[at + path.len()..].chars().next();
            !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    order[rank + 1..].iter().filter(names).copied().collect()
}

pub(super) fn check() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = fs::read_to_string(source.join("lib.rs")).unwrap();
    let order = order(&root);
    assert!(order.len() > 10 && order.contains(&"plan"), "{order:?}");
    let mut seen = 0;
    for path in files(&source) {
        let inside = path.strip_prefix(&source).unwrap();
        let top = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        // Tests look at what comes of a module in those below it.
        let is_test = inside.iter().any(|part| part == "tests" || part == "tests.rs");
        if !order.contains(&top) || is_test {
            continue;
        }
        let found = below(&order, top, &fs::read_to_string(&path).unwrap());
        assert!(found.is_empty(), "{}: {top} stands above {found:?} in lib.rs", inside.display());
        seen += 1;
    }
    assert!(seen > 100, "{seen} files");
    // The control.
    assert_eq!(below(&order, "plan", "use crate::apply;\nuse crate::configuration;"), ["apply"]);
}
