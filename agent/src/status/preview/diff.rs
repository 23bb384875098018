//! What a file holds and what it would hold.

use std::fmt::Write;
use std::path::Path;

use similar::{ChangeTag, TextDiff};

use crate::redact::Redactor;

/// A unified diff, secrets hidden; empty where both are equal. What is no text is told by its length.
pub(super) fn unified(path: &Path, before: &[u8], after: &[u8]) -> String {
    let (Ok(old), Ok(new)) = (std::str::from_utf8(before), std::str::from_utf8(after)) else {
        return format!("not text: {} bytes would become {}\n", before.len(), after.len());
    };
    let diff = TextDiff::from_lines(old, new);
    let (old_lines, new_lines) = (shown(old), shown(new));
    let mut text = String::new();
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        if text.is_empty() {
            let _ = writeln!(text, "--- {} on disk\n+++ {} as it would be", path.display(), path.display());
        }
        let _ = writeln!(text, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, lines, index) = match change.tag() {
                ChangeTag::Delete => ('-', &old_lines, change.old_index()),
                ChangeTag::Insert => ('+', &new_lines, change.new_index()),
                ChangeTag::Equal => (' ', &new_lines, change.new_index()),
            };
            let line = index.and_then(|index| lines.get(index)).map_or("", String::as_str);
            let _ = writeln!(text, "{sign}{line}");
            if change.missing_newline() {
                text.push_str("\\ No newline at end of file\n");
            }
        }
    }
    text
}

/// The lines of a file as they may be shown: no secret, and nothing that steers a terminal.
fn shown(text: &str) -> Vec<String> {
    let mut redactor = Redactor::default();
    let plain = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    text.lines().map(|line| redactor.line(line).chars().map(plain).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(before: &str, after: &str) -> String {
        unified(Path::new("/etc/x"), before.as_bytes(), after.as_bytes())
    }

    #[test]
    fn changed_lines_stand_between_what_stays() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        let expected = "--- /etc/x on disk\n+++ /etc/x as it would be\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n";
        assert_eq!(diff(before, &before.replace('e', "E")), expected);
        assert_eq!(diff(before, before), "");
    }

    #[test]
    fn a_changed_secret_is_a_change_and_stays_secret() {
        let said = diff("user: a\ntoken: canary1\n", "user: a\ntoken: canary2\n");
        assert!(
            said.contains("-token: [redacted]\n+token: [redacted]\n") && !said.contains("canary"),
            "{said}"
        );
    }

    #[test]
    fn a_missing_line_end_is_said() {
        assert!(diff("a\n", "a").contains("\\ No newline at end of file\n"));
    }

    #[test]
    fn what_is_no_text_is_told_by_its_length() {
        assert_eq!(unified(Path::new("/x"), &[0xff, 0xfe], b"a\n"), "not text: 2 bytes would become 2\n");
        assert!(!diff("\u{1b}[31mred\n", "a\n").contains('\u{1b}'));
    }
}
