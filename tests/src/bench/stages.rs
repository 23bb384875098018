//! Where the time between an arm's begin and Ready goes: systemd's timestamps of what starts one after the other.

use std::{collections::BTreeMap, fmt::Write as _};

use super::Series;

/// When a unit was begun and when it was up, milliseconds after the arm's begin.
pub(super) type Stage = (&'static str, f64, f64);

/// The units of every round of one arm.
#[derive(Debug, Default)]
pub struct Stages(BTreeMap<&'static str, (Series, Series)>);

impl Stages {
    pub(super) fn push(&mut self, stages: &[Stage]) {
        for &(unit, begun, up) in stages {
            let entry = self.0.entry(unit).or_default();
            entry.0.push(begun);
            entry.1.push(up);
        }
    }
}

/// A table of medians, a row a unit in the order they come up, three columns an arm: how long after the one before it a
/// unit is begun, when that is, and when it is up.
pub(super) fn table(arms: &[(&str, &Stages)]) -> String {
    let mut text = String::from("| milliseconds after the begin |");
    for (arm, _) in arms {
        let _ = write!(text, " {arm}: after the last | begun | up |");
    }
    let _ = write!(text, "\n|---|{}\n", "---|".repeat(arms.len() * 3));
    let Some((_, first)) = arms.first() else { return text };
    let mut units: Vec<_> = first.0.iter().map(|(unit, (_, up))| (up.median(), *unit)).collect();
    units.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut last = vec![0.0; arms.len()];
    for (_, unit) in units {
        let _ = write!(text, "| {unit} |");
        for ((_, stages), last) in arms.iter().zip(&mut last) {
            let Some((begun, up)) = stages.0.get(unit) else {
                text.push_str(" – | – | – |");
                continue;
            };
            let (begun, up) = (begun.median(), up.median());
            let _ = write!(text, " {:.0} | {begun:.0} | {up:.0} |", begun - *last);
            *last = up;
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_its_row_and_each_arm_its_columns() {
        let mut one = Stages::default();
        one.push(&[("kubelet", 900.0, 1300.0), ("docker", 80.0, 850.0)]);
        one.push(&[("kubelet", 900.0, 1500.0), ("docker", 82.0, 850.0)]);
        let mut other = Stages::default();
        other.push(&[("kubelet", 900.0, 1400.0)]);
        let table = table(&[("T", &one), ("F", &other)]);
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            ["| docker | 81 | 81 | 850 | – | – | – |", "| kubelet | 50 | 900 | 1400 | 900 | 900 | 1400 |"]
        );
    }
}
