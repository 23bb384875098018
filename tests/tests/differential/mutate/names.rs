//! The alternative names.

use std::net::IpAddr;

use super::{foreign, foreign_address};
use crate::der::{self, oid};
use crate::draft::Draft;
use crate::rng::Rng;

const DNS: u8 = 0x82;
const ADDRESS: u8 = 0x87;

/// An address as a request holds it.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn add(draft: &mut Draft, rng: &mut Rng, tag: u8, value: &[u8]) {
    draft.names.insert(rng.below(draft.names.len() + 1), (tag, value.to_vec()));
}

pub(super) fn dns(draft: &mut Draft, rng: &mut Rng) {
    match rng.below(6) {
        0 => draft.names.retain(|(tag, _)| *tag != DNS),
        1 => draft.names.clear(),
        2 => (0..rng.below(200)).for_each(|n| draft.names.push((DNS, format!("n{n}").into_bytes()))),
        3 => {
            let own = draft.known.dns_names.first().cloned().unwrap_or_default();
            add(draft, rng, DNS, own.as_bytes());
        }
        _ => {
            let name = foreign(rng);
            add(draft, rng, DNS, name.as_bytes());
        }
    }
}

pub(super) fn dns_form(draft: &mut Draft, rng: &mut Rng) {
    let own = draft.known.dns_names.first().cloned().unwrap_or_default();
    let form = match rng.below(12) {
        0 => own.to_ascii_uppercase(),
        1 => format!("{own}."),
        2 => format!("*.{own}"),
        3 => format!("{own}\0.evil"),
        4 => format!("{own} "),
        5 => format!("b\u{fc}cher.{own}"),
        6 => "xn--bcher-kva.example".to_owned(),
        7 => String::new(),
        8 => ".".to_owned(),
        9 => "10.0.0.1".to_owned(),
        10 => format!("{}.example", "a".repeat(64)),
        _ => format!("_{own}"),
    };
    if rng.percent(50) {
        draft.names.retain(|(tag, _)| *tag != DNS);
    }
    add(draft, rng, DNS, form.as_bytes());
}

pub(super) fn address(draft: &mut Draft, rng: &mut Rng) {
    match rng.below(5) {
        0 => draft.names.retain(|(tag, _)| *tag != ADDRESS),
        1 => (1..=100).for_each(|n| draft.names.push((ADDRESS, vec![10, 0, 0, n]))),
        2 => {
            let own = draft.known.addresses.first().copied();
            own.map(octets).iter().for_each(|own| add(draft, rng, ADDRESS, own));
        }
        _ => {
            let address = octets(foreign_address(rng));
            add(draft, rng, ADDRESS, &address);
        }
    }
}

pub(super) fn address_form(draft: &mut Draft, rng: &mut Rng) {
    let own = draft.known.addresses.first().copied().unwrap_or(IpAddr::from([10, 0, 0, 1]));
    let own = octets(own);
    let mapped = [&[0; 10], [0xff, 0xff].as_slice(), &own].concat();
    let form = match rng.below(7) {
        0 | 1 => mapped,
        2 => [&[0; 12], own.as_slice()].concat(),
        3 => Vec::new(),
        4 => vec![10, 0, 0],
        5 => [own.as_slice(), &[255, 255, 255, 0]].concat(),
        _ => vec![0; 32],
    };
    if rng.percent(50) {
        draft.names.retain(|(tag, _)| *tag != ADDRESS);
    }
    add(draft, rng, ADDRESS, &form);
}

/// Names of the other kinds (RFC 5280, section 4.2.1.6), and of none.
pub(super) fn other_kind(draft: &mut Draft, rng: &mut Rng) {
    let other = [der::identifier(oid::UNKNOWN), der::tlv(0xa0, &der::tlv(der::UTF8, b"n1"))].concat();
    let directory = der::sequence(&[der::set(&[der::sequence(&[
        der::identifier(oid::COMMON_NAME),
        der::tlv(der::UTF8, b"system:node:n2"),
    ])])]);
    let (tag, value): (u8, Vec<u8>) = match rng.below(11) {
        0 => (0xa0, other),
        1 => (0x81, b"root@example.com".to_vec()),
        2 => (0x81, Vec::new()),
        3 => (0x86, b"spiffe://example.com/n1".to_vec()),
        4 => (0x86, b"https://[::1".to_vec()),
        5 => (0x86, b"n1".to_vec()),
        6 => (0xa4, directory),
        7 => (0x88, oid::UNKNOWN.to_vec()),
        8 => (0xa3, vec![5, 0]),
        9 => (0xa5, vec![5, 0]),
        _ => (rng.pick(&[0x89, 0x8a, 0x9e]), b"n2".to_vec()),
    };
    if rng.percent(30) {
        draft.names.clear();
    }
    add(draft, rng, tag, &value);
}

/// The tag of a name in another class, or as if there were values within.
pub(super) fn tag(draft: &mut Draft, rng: &mut Rng) {
    if draft.names.is_empty() {
        add(draft, rng, DNS, b"n1");
    }
    let form = rng.pick(&[0x20, 0xc0, 0x80, 0x40]);
    let all = rng.percent(50);
    let chosen = rng.below(draft.names.len());
    for (index, (tag, _)) in draft.names.iter_mut().enumerate() {
        if all || index == chosen {
            *tag ^= form;
        }
    }
}

pub(super) fn tail(draft: &mut Draft, rng: &mut Rng) {
    draft.names_tail = match rng.below(4) {
        0 => vec![0],
        1 => vec![5, 0],
        2 => der::tlv(DNS, b"n2"),
        _ => der::sequence(&[der::tlv(DNS, b"n2")]),
    };
}

pub(super) fn twice(draft: &mut Draft, rng: &mut Rng) {
    match rng.below(3) {
        0 => draft.names.extend_from_within(..),
        1 => draft.names.reverse(),
        _ => {
            let one = draft.names.first().cloned();
            draft.names.extend(one);
        }
    }
}

/// What an attacker on the node may do: write names into its own status, and ask for them.
pub(super) fn self_reported(draft: &mut Draft, rng: &mut Rng) {
    if rng.percent(70) {
        dns_form(draft, rng);
    }
    if rng.percent(50) {
        address_form(draft, rng);
    }
    for (tag, value) in &draft.names {
        let v4 = <[u8; 4]>::try_from(value.as_slice()).map(IpAddr::from);
        let v6 = <[u8; 16]>::try_from(value.as_slice()).map(IpAddr::from);
        match tag & 0x1f {
            2 => draft.known.dns_names.push(String::from_utf8_lossy(value).into_owned()),
            7 => draft.known.addresses.extend(v4.or(v6)),
            _ => {}
        }
    }
}
