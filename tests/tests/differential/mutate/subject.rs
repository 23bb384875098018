//! The subject.

use crate::der::{self, oid};
use crate::draft::{Attribute, Draft};
use crate::rng::Rng;

fn text(draft: &Draft, kind: &[u8]) -> String {
    let found = draft.subject.iter().flatten().find(|attribute| attribute.oid == kind);
    found.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned()).unwrap_or_default()
}

fn replace(draft: &mut Draft, kind: &[u8], value: &str) {
    for attribute in draft.subject.iter_mut().flatten().filter(|attribute| attribute.oid == kind) {
        attribute.value = value.into();
    }
}

fn remove(draft: &mut Draft, kind: &[u8]) {
    for set in &mut draft.subject {
        set.retain(|attribute| attribute.oid != kind);
    }
    draft.subject.retain(|set| !set.is_empty());
}

fn add(draft: &mut Draft, rng: &mut Rng, attribute: Attribute) {
    draft.subject.insert(rng.below(draft.subject.len() + 1), vec![attribute]);
}

/// Another spelling of `value`.
fn spelled(value: &str, rng: &mut Rng) -> String {
    match rng.below(9) {
        0 => value.to_ascii_uppercase(),
        1 => format!("{value}."),
        2 => format!("{value} "),
        3 => format!(" {value}"),
        4 => format!("{value}\0"),
        5 => format!("{value}\0.evil"),
        6 => value.replacen("system", "System", 1),
        7 => value.replace('o', "\u{043e}"),
        _ => value.trim_end_matches(|letter: char| letter.is_alphanumeric()).to_owned(),
    }
}

pub(super) fn common_name(draft: &mut Draft, rng: &mut Rng) {
    let own = text(draft, oid::COMMON_NAME);
    match rng.below(8) {
        0 => remove(draft, oid::COMMON_NAME),
        1 => add(draft, rng, Attribute::new(oid::COMMON_NAME, &own)),
        2 => add(draft, rng, Attribute::new(oid::COMMON_NAME, "system:node:n2")),
        3 => replace(draft, oid::COMMON_NAME, "system:node:n2"),
        4 => {
            let other = rng.pick(&["system:kube-controller-manager", "admin", "", "system:kube-proxy"]);
            replace(draft, oid::COMMON_NAME, other);
        }
        _ => replace(draft, oid::COMMON_NAME, &spelled(&own, rng)),
    }
}

pub(super) fn organization(draft: &mut Draft, rng: &mut Rng) {
    let own = text(draft, oid::ORGANIZATION);
    match rng.below(7) {
        0 => remove(draft, oid::ORGANIZATION),
        1 => add(draft, rng, Attribute::new(oid::ORGANIZATION, "system:masters")),
        2 => add(draft, rng, Attribute::new(oid::ORGANIZATION, "system:nodes")),
        3 => replace(draft, oid::ORGANIZATION, rng.pick(&["system:masters", "", "system:node"])),
        4 => add(draft, rng, Attribute::new(oid::ORGANIZATION, "")),
        _ => replace(draft, oid::ORGANIZATION, &spelled(&own, rng)),
    }
}

pub(super) fn other(draft: &mut Draft, rng: &mut Rng) {
    const KINDS: [(&[u8], &str); 6] = [
        (oid::UNIT, "kubelets"),
        (oid::UNIT, "system:masters"),
        (oid::COUNTRY, "DE"),
        (oid::SERIAL_NUMBER, "1"),
        (oid::EMAIL, "root@example.com"),
        (oid::UNKNOWN, ""),
    ];
    let (kind, value) = rng.pick(&KINDS);
    add(draft, rng, Attribute::new(kind, value));
}

pub(super) fn multi_valued(draft: &mut Draft, rng: &mut Rng) {
    let mut all: Vec<Attribute> = draft.subject.drain(..).flatten().collect();
    match rng.below(4) {
        0 => all.push(Attribute::new(oid::UNIT, "x")),
        1 => all.push(Attribute::new(oid::COMMON_NAME, "system:node:n2")),
        2 => all.reverse(),
        _ => {}
    }
    draft.subject.push(all);
}

/// `NumericString`, `TeletexString`, `IA5String`, `VisibleString`, `GeneralString`, `UniversalString`, `BMPString`,
/// OCTET STRING, and those that are right.
const TAGS: [u8; 10] = [0x12, 0x14, 0x16, 0x1a, 0x1b, 0x1c, 0x1e, 0x04, der::UTF8, der::PRINTABLE];

pub(super) fn string_type(draft: &mut Draft, rng: &mut Rng) {
    let tag = rng.pick(&TAGS);
    let kind = rng.pick(&[oid::COMMON_NAME, oid::ORGANIZATION]);
    let wide = tag == 0x1e && rng.percent(70);
    for attribute in draft.subject.iter_mut().flatten().filter(|attribute| attribute.oid == kind) {
        attribute.tag = tag;
        if wide {
            attribute.value = attribute.value.iter().flat_map(|byte| [0, *byte]).collect();
        }
    }
}

pub(super) fn tail(draft: &mut Draft, rng: &mut Rng) {
    let another = der::sequence(&[der::identifier(oid::COMMON_NAME), der::tlv(der::UTF8, b"admin")]);
    let bare = der::sequence(&[der::identifier(oid::COMMON_NAME)]);
    draft.subject_tail = match rng.below(8) {
        0 => vec![der::SET, 0],
        1 => vec![der::SET, 2, 5, 0],
        2 => vec![5, 0],
        3 => another,
        4 => der::set(&[bare]),
        5 => der::long_tlv(der::SET, &another),
        6 => [vec![der::SET, 2, 5, 0], der::set(&[another])].concat(),
        _ => der::tlv(der::SET, &[another, vec![5, 0]].concat()),
    };
}
