//! The one way to write a PKCS#10 request that every parser reads alike (RFC 2986, DER). The parser behind
//! [`super::csr`] reads more than that: lengths as BER has them, identifiers with another tag, names of another class.
//! What it reads so, the API server refuses and the signer passes over, and the certificate would say something else
//! than was approved. `tests/tests/differential` compares with both.

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const ATTRIBUTES: u8 = 0xa0;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];

/// The tags of the nine kinds of alternative name (RFC 5280, section 4.2.1.6).
const NAMES: [u8; 9] = [0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x86, 0x87, 0x88];

/// Where a request is not written so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unusual(pub(super) &'static str);

/// Checks the form of a request, not what it says.
///
/// # Errors
/// Names the part that is written otherwise.
pub(super) fn check(der: &[u8]) -> Result<(), Unusual> {
    let mut file = Reader(der);
    let mut request = file.within(SEQUENCE, "request")?;
    let mut info = request.within(SEQUENCE, "request")?;
    if info.take(INTEGER, "version")? != [0] {
        return Err(Unusual("version"));
    }
    read_subject(&mut info)?;
    check_key(info.within(SEQUENCE, "public key")?)?;
    let mut attributes = info.within(ATTRIBUTES, "attributes")?;
    while !attributes.0.is_empty() {
        check_attribute(attributes.within(SEQUENCE, "attributes")?)?;
    }
    info.end("request")?;
    let mut algorithm = request.within(SEQUENCE, "signature algorithm")?;
    algorithm.take(OID, "signature algorithm")?;
    // What has parameters is RSASSA-PSS, of which the parsers know different variants; no node uses it.
    algorithm.null_or_nothing("signature algorithm")?;
    request.bits("signature")?;
    request.end("request")?;
    file.end("request")
}

/// Checks the form of a subject alone.
#[cfg(test)]
pub(super) fn check_subject(der: &[u8]) -> Result<(), Unusual> {
    let mut alone = Reader(der);
    read_subject(&mut alone)?;
    alone.end("subject")
}

fn read_subject(info: &mut Reader<'_>) -> Result<(), Unusual> {
    let mut subject = info.within(SEQUENCE, "subject")?;
    while !subject.0.is_empty() {
        check_set(subject.within(SET, "subject")?)?;
    }
    Ok(())
}

/// A set of the subject: one attribute or more, each of a type and one primitive value of a universal type.
fn check_set(mut set: Reader<'_>) -> Result<(), Unusual> {
    loop {
        let mut attribute = set.within(SEQUENCE, "subject")?;
        attribute.take(OID, "subject")?;
        let tag = attribute.0.first().copied().unwrap_or_default();
        if !(1..0x1f).contains(&tag) {
            return Err(Unusual("subject"));
        }
        attribute.take(tag, "subject")?;
        attribute.end("subject")?;
        if set.0.is_empty() {
            return Ok(());
        }
    }
}

/// RSA with its NULL (RFC 3279, section 2.3.1), or an uncompressed point of a named curve.
fn check_key(mut key: Reader<'_>) -> Result<(), Unusual> {
    let mut algorithm = key.within(SEQUENCE, "public key")?;
    let kind = algorithm.take(OID, "public key")?;
    let point = kind != RSA && algorithm.0.first() == Some(&OID);
    if kind == RSA && algorithm.0.is_empty() {
        return Err(Unusual("public key"));
    }
    if point {
        algorithm.take(OID, "public key")?;
    }
    algorithm.null_or_nothing("public key")?;
    let bits = key.bits("public key")?;
    if point && bits.first() != Some(&4) {
        return Err(Unusual("public key"));
    }
    key.end("public key")
}

/// An attribute of the request. Others than the request for extensions are refused elsewhere, by their name.
fn check_attribute(mut attribute: Reader<'_>) -> Result<(), Unusual> {
    let kind = attribute.take(OID, "attributes")?;
    let mut values = attribute.within(SET, "attributes")?;
    attribute.end("attributes")?;
    if kind != EXTENSION_REQUEST {
        return Ok(());
    }
    let mut extensions = values.within(SEQUENCE, "requested extensions")?;
    while !extensions.0.is_empty() {
        check_extension(extensions.within(SEQUENCE, "requested extensions")?)?;
    }
    values.end("requested extensions")
}

fn check_extension(mut extension: Reader<'_>) -> Result<(), Unusual> {
    const PLACE: &str = "requested extensions";
    let kind = extension.take(OID, PLACE)?;
    if extension.0.first() == Some(&BOOLEAN) && !matches!(extension.take(BOOLEAN, PLACE)?, [0 | 0xff]) {
        return Err(Unusual(PLACE));
    }
    let mut value = Reader(extension.take(OCTET_STRING, PLACE)?);
    extension.end(PLACE)?;
    if kind != ALTERNATIVE_NAMES {
        return Ok(());
    }
    let mut names = value.within(SEQUENCE, "alternative names")?;
    while let Some(&tag) = names.0.first() {
        if !NAMES.contains(&tag) {
            return Err(Unusual("alternative names"));
        }
        names.take(tag, "alternative names")?;
    }
    value.end("alternative names")
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next value, which has exactly this tag and the shortest length.
    fn take(&mut self, tag: u8, place: &'static str) -> Result<&'a [u8], Unusual> {
        let taken = || {
            let (header, rest) = self.0.split_at_checked(2)?;
            let (length, rest) = match header[1] {
                short @ 0..=0x7f => (usize::from(short), rest),
                0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
                0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), rest.get(2..)?),
                // No request is longer than 64 KiB; 0x80 is the indefinite length.
                _ => return None,
            };
            let shortest = match header[1] {
                0x81 => length >= 0x80,
                0x82 => length > 0xff,
                _ => true,
            };
            (header[0] == tag && shortest).then(|| rest.split_at_checked(length))?
        };
        let (content, rest) = taken().ok_or(Unusual(place))?;
        self.0 = rest;
        Ok(content)
    }

    fn within(&mut self, tag: u8, place: &'static str) -> Result<Self, Unusual> {
        self.take(tag, place).map(Self)
    }

    /// A BIT STRING of whole bytes.
    fn bits(&mut self, place: &'static str) -> Result<&'a [u8], Unusual> {
        match self.take(BIT_STRING, place)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(Unusual(place)),
        }
    }

    fn null_or_nothing(&mut self, place: &'static str) -> Result<(), Unusual> {
        if !self.0.is_empty() && !self.take(NULL, place)?.is_empty() {
            return Err(Unusual(place));
        }
        self.end(place)
    }

    fn end(&self, place: &'static str) -> Result<(), Unusual> {
        if self.0.is_empty() { Ok(()) } else { Err(Unusual(place)) }
    }
}
