//! Thresholds at which the kubelet evicts pods.
//!
//! Its defaults hold only where `evictionHard` is not there at all: with one threshold in it the others are gone, without a
//! word (k8s.io/kubernetes, pkg/kubelet/eviction: `DefaultEvictionHard`). From 1.33 on `mergeDefaultEvictionSettings` has
//! it keep them. Here they are kept in every version: what the operator does not name gets the default of that version.
//! `0%` is how a threshold is switched off, in every version too (`parseThresholdStatement`).

use serde_json::{Value, json};

use super::Version;

/// Signal, default, and the first minor version that has it.
const DEFAULTS: [(&str, &str, u16); 5] = [
    ("memory.available", "100Mi", 0),
    ("nodefs.available", "10%", 0),
    ("nodefs.inodesFree", "5%", 0),
    ("imagefs.available", "15%", 0),
    ("imagefs.inodesFree", "5%", 30),
];

/// Completes `evictionHard` where it is there. An operator who writes `mergeDefaultEvictionSettings`, whatever it says, has
/// decided this.
pub(super) fn complete(fields: &mut Value, version: Version) {
    if fields.get("mergeDefaultEvictionSettings").is_some_and(|merge| !merge.is_null()) {
        return;
    }
    let Some(Value::Object(thresholds)) = fields.get_mut("evictionHard") else { return };
    for (signal, default, _) in DEFAULTS.iter().filter(|(.., since)| version.minor >= *since) {
        thresholds.entry(*signal).or_insert_with(|| json!(default));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn version(minor: u16) -> Version {
        Version { major: 1, minor, patch: 0 }
    }

    fn completed(minor: u16, mut fields: Value) -> Value {
        complete(&mut fields, version(minor));
        fields
    }

    #[test]
    fn a_threshold_takes_no_other_away() {
        let one = || json!({"maxPods": 50, "evictionHard": {"memory.available": "500Mi"}});
        let others = json!({"memory.available": "500Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%",
                            "imagefs.available": "15%"});
        assert_eq!(completed(20, one()), json!({"maxPods": 50, "evictionHard": others}));
        assert_eq!(completed(36, one())["evictionHard"]["imagefs.inodesFree"], "5%");
        assert_eq!(completed(29, one()), completed(20, one()));
        // Switched off stays off.
        let off = completed(36, json!({"evictionHard": {"imagefs.available": "0%"}}));
        assert_eq!(off["evictionHard"]["imagefs.available"], "0%");
    }

    #[test]
    fn what_is_not_written_or_decided_otherwise_is_left_alone() {
        for fields in [
            json!({}),
            json!({"evictionHard": null}),
            json!({"evictionHard": {"memory.available": "1Gi"}, "mergeDefaultEvictionSettings": true}),
            json!({"evictionHard": {"memory.available": "1Gi"}, "mergeDefaultEvictionSettings": false}),
        ] {
            assert_eq!(completed(36, fields.clone()), fields);
        }
    }

    proptest! {
        /// Whatever is named stays as it is, every default is there, nothing else comes, and twice is once.
        #[test]
        fn named_thresholds_win_and_every_other_has_its_default(
            minor in 20_u16..=36,
            named in prop::collection::btree_map(
                prop_oneof![prop::sample::select(DEFAULTS.map(|(signal, ..)| signal.to_owned()).to_vec()), "[a-z]{1,5}\\.[a-z]{1,5}"],
                "[0-9]{1,3}(%|Mi)", 0..6),
        ) {
            let fields = completed(minor, json!({"evictionHard": named}));
            let found: BTreeMap<String, String> = serde_json::from_value(fields["evictionHard"].clone()).unwrap();
            for (signal, value) in &named {
                prop_assert_eq!(found.get(signal), Some(value));
            }
            for (signal, default, since) in DEFAULTS {
                let expected = (minor >= since).then_some(default);
                if !named.contains_key(signal) {
                    prop_assert_eq!(found.get(signal).map(String::as_str), expected);
                }
            }
            let known = |signal: &String| named.contains_key(signal) || DEFAULTS.iter().any(|(name, ..)| name == signal);
            prop_assert!(found.keys().all(known));
            prop_assert_eq!(completed(minor, fields.clone()), fields);
        }
    }
}
