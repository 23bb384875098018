//! What a drop-in makes of a unit of ours.

use super::{Verdict, View};

/// The verdict with a word on who gives the unit another command line: it may be meant, and it may be why something is not
/// as the configuration says.
pub(super) fn told(view: View<'_>, unit: &str, verdict: Verdict) -> Verdict {
    let others = view.observed.overrides.get(unit).map_or(&[][..], Vec::as_slice);
    if others.is_empty() {
        return verdict;
    }
    let names: Vec<String> = others.iter().map(|path| format!("`{}`", path.display())).collect();
    let word = format!("; its command line is not ours but that of {}", names.join(", "));
    match verdict {
        Verdict::Satisfied(found) => Verdict::Satisfied(found + &word),
        Verdict::Unmet { reason, message, until } => {
            Verdict::Unmet { reason, message: message + &word, until }
        }
        other => other,
    }
}
