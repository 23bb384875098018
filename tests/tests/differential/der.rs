//! As much DER and PEM as it takes to write requests that no library writes.

use k8s_openapi::ByteString;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8: u8 = 0x0c;
pub(crate) const PRINTABLE: u8 = 0x13;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Contents of object identifiers.
pub(crate) mod oid {
    pub(crate) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    pub(crate) const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];
    pub(crate) const COUNTRY: &[u8] = &[0x55, 4, 6];
    pub(crate) const ORGANIZATION: &[u8] = &[0x55, 4, 10];
    pub(crate) const UNIT: &[u8] = &[0x55, 4, 11];
    pub(crate) const EMAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
    pub(crate) const CHALLENGE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 7];
    pub(crate) const EXTENSIONS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
    /// Of the same meaning, by Microsoft.
    pub(crate) const MS_EXTENSIONS: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 14];
    pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
    pub(crate) const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
    pub(crate) const ISSUER_NAMES: &[u8] = &[0x55, 0x1d, 18];
    pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
    pub(crate) const UNKNOWN: &[u8] = &[0x2a, 3, 4];
    pub(crate) const SHA1_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
    pub(crate) const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
    pub(crate) const PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    pub(crate) const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    pub(crate) const SHA512_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
    pub(crate) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    pub(crate) const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    pub(crate) const SHA256_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    pub(crate) const SHA384_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    pub(crate) const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
    pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
}

/// A value with its tag and the shortest length.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    if content.len() < 0x80 {
        out.push(content.len().to_le_bytes()[0]);
    } else {
        let bytes = content.len().to_be_bytes();
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
        out.push(0x80 | (bytes.len() - first).to_le_bytes()[0]);
        out.extend(&bytes[first..]);
    }
    out.extend(content);
    out
}

/// The same with a length that takes more bytes than it must, which DER forbids.
pub(crate) fn long_tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or_default().to_be_bytes();
    [&[tag, 0x84], length.as_slice(), content].concat()
}

/// The same with the indefinite length of BER.
pub(crate) fn indefinite(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, 0x80], content, &[0, 0]].concat()
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

pub(crate) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SET, &parts.concat())
}

pub(crate) fn identifier(oid: &[u8]) -> Vec<u8> {
    tlv(OID, oid)
}

pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], content].concat())
}

/// The value at the start of `der`: its tag, its content, and what follows.
pub(crate) fn read(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, first) = (*der.first()?, *der.get(1)?);
    let extra = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    let length = match extra {
        0 => usize::from(first),
        _ => der.get(2..2 + extra)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    };
    let start = 2 + extra;
    Some((tag, der.get(start..start + length)?, &der[start + length..]))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    match serde_json::to_value(ByteString(bytes.to_vec())) {
        Ok(serde_json::Value::String(text)) => text,
        _ => unreachable!("a ByteString is a string"),
    }
}

/// A PEM block with lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8], newline: &str) -> String {
    let text = base64(der);
    let mut out = format!("-----BEGIN {label}-----{newline}");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push_str(newline);
    }
    out + &format!("-----END {label}-----{newline}")
}
