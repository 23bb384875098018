//! What the names are wrapped in: extensions, attributes, key, signature, DER, PEM.

use crate::der::{self, oid};
use crate::draft::{Bytes, Draft, Extension, KeyForm, SignatureForm, Text, extension_request};
use crate::keys::{Kind, Signing};
use crate::rng::Rng;

/// The extensions that requests hold, right and wrong.
fn some_extension(rng: &mut Rng) -> Extension {
    let yes = der::tlv(der::BOOLEAN, &[0xff]);
    let client_auth = der::identifier(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);
    let mut extension = match rng.below(9) {
        0 => Extension::new(oid::BASIC_CONSTRAINTS, der::sequence(&[yes])),
        1 => Extension::new(oid::BASIC_CONSTRAINTS, der::sequence(&[yes, der::tlv(2, &[0])])),
        2 => Extension::new(oid::BASIC_CONSTRAINTS, der::sequence(&[])),
        3 => Extension::new(oid::KEY_USAGE, vec![der::BIT_STRING, 2, 5, 0xa0]),
        4 => Extension::new(oid::EXTENDED_KEY_USAGE, der::sequence(&[client_auth])),
        5 => Extension::new(oid::UNKNOWN, vec![5, 0]),
        6 => Extension::new(oid::KEY_USAGE, vec![0xff]),
        7 => Extension::new(oid::ISSUER_NAMES, der::sequence(&[der::tlv(0x82, b"n2")])),
        _ => Extension::new(oid::KEY_USAGE, vec![der::BIT_STRING, 2, 2, 4]),
    };
    extension.critical = rng.pick(&[None, Some(0xff)]);
    extension
}

/// A request for names that are not the node's.
fn foreign_names() -> Extension {
    Extension::of_names(&[(0x82, b"kubernetes.default.svc".to_vec())])
}

pub(super) fn extension(draft: &mut Draft, rng: &mut Rng) {
    draft.extensions.push(some_extension(rng));
}

pub(super) fn extension_twice(draft: &mut Draft, rng: &mut Rng) {
    let twice = match rng.below(3) {
        0 if !draft.names.is_empty() => vec![Extension::of_names(&draft.names)],
        1 if !draft.names.is_empty() => vec![foreign_names()],
        _ => {
            let extension = some_extension(rng);
            vec![extension.clone(), extension]
        }
    };
    draft.extensions.extend(twice);
}

pub(super) fn attribute(draft: &mut Draft, rng: &mut Rng) {
    let of = |oid: &[u8], value: Vec<u8>| der::sequence(&[der::identifier(oid), der::set(&[value])]);
    let wanted = foreign_names();
    let encoded = extension_request(&[&[wanted]]);
    let content = der::read(&encoded).map_or(&[][..], |(_, content, _)| content).to_vec();
    let attribute = match rng.below(8) {
        0 => of(oid::CHALLENGE, der::tlv(der::UTF8, b"secret")),
        1 => of(oid::UNKNOWN, der::tlv(der::UTF8, b"x")),
        2 => of(oid::MS_EXTENSIONS, der::sequence(&[])),
        3 => der::sequence(&[der::identifier(oid::EXTENSIONS), der::set(&[])]),
        4 => der::sequence(&[der::identifier(oid::EXTENSIONS)]),
        5 => vec![5, 0],
        // As BER has it: one parser may read it, another skip it.
        6 => der::indefinite(der::SEQUENCE, &content),
        _ => der::long_tlv(der::SEQUENCE, &content),
    };
    if rng.percent(50) { draft.before.push(attribute) } else { draft.after.push(attribute) }
}

pub(super) fn two_attributes(draft: &mut Draft, rng: &mut Rng) {
    let second = match rng.below(3) {
        0 => extension_request(&[&[foreign_names()]]),
        1 => extension_request(&[&[Extension::of_names(&draft.names)]]),
        _ => extension_request(&[&[some_extension(rng)]]),
    };
    if rng.percent(50) { draft.before.push(second) } else { draft.after.push(second) }
}

pub(super) fn two_values(draft: &mut Draft, rng: &mut Rng) {
    draft.second_value = Some(match rng.below(3) {
        0 => Vec::new(),
        1 => vec![foreign_names()],
        _ => vec![some_extension(rng)],
    });
}

pub(super) fn critical(draft: &mut Draft, rng: &mut Rng) {
    draft.names_critical = Some(rng.pick(&[0, 1, 0x7f, 0xff]));
}

pub(super) fn key(draft: &mut Draft, rng: &mut Rng) {
    const KINDS: [Kind; 8] = [
        Kind::P256,
        Kind::P384,
        Kind::P521,
        Kind::Ed25519,
        Kind::Rsa2048,
        Kind::Rsa3072,
        Kind::Rsa1024,
        Kind::P224,
    ];
    draft.key = (rng.pick(&KINDS), rng.below(4));
}

pub(super) fn key_form(draft: &mut Draft, rng: &mut Rng) {
    draft.key_form = rng.pick(&[KeyForm::Compressed, KeyForm::NoParameters, KeyForm::UnusedBits]);
}

pub(super) fn signature(draft: &mut Draft, rng: &mut Rng) {
    let bit = rng.below(4096);
    draft.signature_form = rng.pick(&[
        SignatureForm::OfAnotherKey,
        SignatureForm::OverAnotherText,
        SignatureForm::Flipped(bit),
        SignatureForm::Zero,
        SignatureForm::Empty,
        SignatureForm::Mislabelled,
    ]);
}

pub(super) fn signature_algorithm(draft: &mut Draft, rng: &mut Rng) {
    let (kind, signing) = match rng.below(7) {
        0 => (Kind::Rsa2048, Signing::Sha1Rsa),
        1 => (Kind::P256, Signing::Sha1Ecdsa),
        2 => (Kind::Rsa2048, Signing::Sha512Rsa),
        3 => (Kind::P256, Signing::Sha512Ecdsa),
        4 => (Kind::Rsa2048, Signing::Pss { salt: 32, trailer: 1 }),
        5 => (Kind::Rsa2048, Signing::Pss { salt: 20, trailer: 1 }),
        _ => (Kind::Rsa2048, Signing::Pss { salt: 32, trailer: 2 }),
    };
    draft.key = (kind, 0);
    draft.signing = signing;
}

pub(super) fn flip_then_sign(draft: &mut Draft, rng: &mut Rng) {
    draft.bytes = Bytes::FlippedBeforeSigning(rng.below(1 << 16));
}

pub(super) fn sign_then_flip(draft: &mut Draft, rng: &mut Rng) {
    draft.bytes = Bytes::FlippedAfterSigning(rng.below(1 << 16));
}

pub(super) fn trailing(draft: &mut Draft, rng: &mut Rng) {
    draft.bytes = Bytes::Trailing(rng.pick(&[0, 5, 0x30, 0xff]));
}

pub(super) fn der(draft: &mut Draft, rng: &mut Rng) {
    let bytes = rng.below(1 << 16);
    match rng.below(7) {
        0 => draft.version = rng.pick(&[1, 2, 0x7f, 0xff]),
        1 => draft.bytes = Bytes::LongLength,
        2 => draft.bytes = Bytes::IndefiniteLength,
        3 => draft.bytes = Bytes::LongInnerLength,
        4 => draft.bytes = Bytes::TrailingInside,
        _ => draft.bytes = Bytes::Cut(bytes),
    }
}

pub(super) fn second_block(draft: &mut Draft, rng: &mut Rng) {
    let label = rng.pick(&["CERTIFICATE REQUEST", "CERTIFICATE REQUEST", "CERTIFICATE"]);
    // No request at all is enough: what counts is which block is taken for the request.
    let block = der::pem(label, &der::sequence(&[]), "\n").into_bytes();
    draft.text = if rng.percent(50) { Text::Before(block) } else { Text::After(block) };
}

pub(super) fn label(draft: &mut Draft, rng: &mut Rng) {
    draft.text = Text::Label(rng.pick(&[
        "CERTIFICATE",
        "NEW CERTIFICATE REQUEST",
        "certificate request",
        "CERTIFICATE REQUEST ",
        "",
    ]));
}

pub(super) fn pem(draft: &mut Draft, rng: &mut Rng) {
    draft.text = match rng.below(19) {
        0 => Text::Before(b"a request:\n".to_vec()),
        1 => Text::Before(b"a request: ".to_vec()),
        2 => Text::Before(b"\n\r\n".to_vec()),
        3 => Text::Before(b"  ".to_vec()),
        4 => Text::Before("\u{a0}".into()),
        5 => Text::Before("\u{feff}".into()),
        6 => Text::After(b"that was all".to_vec()),
        7 => Text::After(b"\n \t\n".to_vec()),
        8 => Text::Header("-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\n"),
        9 => Text::Header("-----\n\n"),
        10 => Text::Header("----- x\n"),
        11 => Text::Header("------\n"),
        12 => Text::Newline("\r\n"),
        13 => Text::Newline("\r"),
        14 => Text::OneLine,
        15 => Text::NoNewline,
        16 => Text::Within(" "),
        17 => Text::Within("\n\n"),
        _ => Text::Within(rng.pick(&["=", "-", "\0", "\u{e9}", "\t\n", "\u{a0}\n", "\u{b}\n"])),
    };
}

pub(super) fn not_pem(draft: &mut Draft, rng: &mut Rng) {
    draft.text = match rng.below(4) {
        0 => Text::Der,
        1 => Text::Instead(Vec::new()),
        2 => Text::Instead((0..rng.below(400)).map(|_| rng.next().to_le_bytes()[0]).collect()),
        _ => Text::Instead(
            b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n".to_vec(),
        ),
    };
}
