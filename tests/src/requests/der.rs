//! DER by hand: what a requester could send and no library would write.

/// A value of `tag` around `content`.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap_or_default());
    } else {
        let bytes = length.to_be_bytes();
        let significant = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or_default()..];
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(content);
    out
}

/// `SEQUENCE`.
pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(0x30, &parts.concat())
}

/// `SET` of one element, whose order needs no thought.
pub(crate) fn set(element: &[u8]) -> Vec<u8> {
    value(0x31, element)
}

/// `OBJECT IDENTIFIER` in its usual, dotted form.
pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u32> = dotted.split('.').filter_map(|arc| arc.parse().ok()).collect();
    let mut content = Vec::new();
    if let [first, second, rest @ ..] = arcs.as_slice() {
        for arc in std::iter::once(&(first * 40 + second)).chain(rest) {
            let mut shift = (arc | 1).ilog2() / 7 * 7;
            while shift > 0 {
                content.push(0x80 | low_bits(arc >> shift));
                shift -= 7;
            }
            content.push(low_bits(*arc));
        }
    }
    value(0x06, &content)
}

fn low_bits(arc: u32) -> u8 {
    u8::try_from(arc & 0x7f).unwrap_or_default()
}

/// `BIT STRING` of whole bytes.
pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    value(0x03, &[&[0], content].concat())
}

/// `OCTET STRING`.
pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    value(0x04, content)
}

/// `UTF8String`.
pub(crate) fn utf8(text: &str) -> Vec<u8> {
    value(0x0c, text.as_bytes())
}

/// `BOOLEAN TRUE`.
pub(crate) fn yes() -> Vec<u8> {
    value(0x01, &[0xff])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_identifiers_have_their_usual_form() {
        assert_eq!(oid("2.5.29.17"), [0x06, 0x03, 0x55, 0x1d, 0x11]);
        assert_eq!(oid("1.2.840.10045.4.3.2"), [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        assert_eq!(octets(&[7; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(octets(&[7; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(octets(&[7; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
    }
}
