//! Requests made by rcgen, as a node would make them and as it must not.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, SanType,
};
use x509_parser::x509::{RelativeDistinguishedName, X509Name};

use super::*;

/// A request for `names` in the subject and `sans`, changed by `change`, signed with a key of its own.
pub(crate) fn request_with(
    names: &[(DnType, &str)],
    sans: &[SanType],
    key: &KeyPair,
    change: impl FnOnce(&mut CertificateParams),
) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in names {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.subject_alt_names = sans.to_vec();
    change(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn plain(change: impl FnOnce(&mut CertificateParams)) -> String {
    let names = [(DnType::CommonName, "system:node:n1"), (DnType::OrganizationName, "system:nodes")];
    request_with(&names, &[], &KeyPair::generate().unwrap(), change)
}

#[test]
fn request_is_read_as_it_was_written() {
    let names = [(DnType::CommonName, "system:node:n1"), (DnType::OrganizationName, "system:nodes")];
    let sans = [
        SanType::DnsName("n1".try_into().unwrap()),
        SanType::IpAddress("10.0.0.1".parse().unwrap()),
        SanType::IpAddress("fd00::1".parse().unwrap()),
    ];
    let read = parse(request_with(&names, &sans, &KeyPair::generate().unwrap(), |_| {}).as_bytes()).unwrap();
    assert_eq!(
        read,
        Request {
            common_names: vec!["system:node:n1".to_owned()],
            organizations: vec!["system:nodes".to_owned()],
            places: vec![],
            other_subject: false,
            dns_names: vec!["n1".to_owned()],
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            other_names: false,
            public_key_hash: read.public_key_hash.clone(),
        }
    );
}

#[test]
fn names_of_other_kinds_and_other_subjects_are_noticed() {
    let sans =
        [SanType::Rfc822Name("a@b.c".try_into().unwrap()), SanType::URI("spiffe://a/b".try_into().unwrap())];
    for san in sans {
        assert!(parse(plain(|p| p.subject_alt_names = vec![san]).as_bytes()).unwrap().other_names);
    }
    let pem = plain(|p| p.distinguished_name.push(DnType::OrganizationalUnitName, "x"));
    let read = parse(pem.as_bytes()).unwrap();
    assert_eq!((read.places, read.other_subject), (vec![(Place::OrganizationalUnit, "x".to_owned())], false));
    let serial_number = DnType::CustomDnType(vec![2, 5, 4, 5]);
    assert!(
        parse(plain(|p| p.distinguished_name.push(serial_number, "x")).as_bytes()).unwrap().other_subject
    );
}

#[test]
fn usual_keys_pass_and_weak_ones_do_not() {
    let names = [(DnType::CommonName, "a")];
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        parse(request_with(&names, &[], &key, |_| {}).as_bytes()).unwrap();
    }
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        parse(request_with(&names, &[], &key, |_| {}).as_bytes()).unwrap_err();
    }
}

#[test]
fn what_no_node_asks_for_is_refused() {
    let cases: [(&str, String, &str); 4] = [
        (
            "authority",
            plain(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "certificate authority",
        ),
        (
            "unknown extension",
            plain(|p| p.custom_extensions = vec![custom(&[1, 2, 3, 4])]),
            "extension 1.2.3.4",
        ),
        ("two blocks", plain(|_| {}).repeat(2), "exactly one PEM block"),
        (
            "another block",
            plain(|_| {}).replace("CERTIFICATE REQUEST", "CERTIFICATE"),
            "exactly one PEM block",
        ),
    ];
    for (name, pem, expected) in cases {
        let Malformed(why) = parse(pem.as_bytes()).unwrap_err();
        assert!(why.contains(expected), "{name}: {why}");
    }
    parse(plain(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]).as_bytes()).unwrap();
}

fn custom(oid: &[u64]) -> CustomExtension {
    CustomExtension::from_oid_content(oid, vec![5, 0])
}

#[test]
fn signature_of_another_key_is_refused() {
    let der = only_block(plain(|_| {}).as_bytes()).unwrap();
    let mut other = der.clone();
    // A byte of the subject, still a letter.
    let place = der.windows(2).position(|w| w == b"n1").unwrap();
    other[place + 1] = b'2';
    assert!(parse(&as_pem(&der)).is_ok());
    assert!(parse(&as_pem(&other)).unwrap_err().0.contains("signature"));
}

/// Whether what the parser returned of the subject is all there is.
fn read_whole(subject: &X509Name<'_>) -> bool {
    let size = |set: &RelativeDistinguishedName<'_>| {
        let values = set
            .iter()
            .map(|a| encoded(encoded(a.attr_type().as_bytes().len()) + encoded(a.as_slice().len())));
        encoded(values.sum())
    };
    let read: usize = subject.iter_rdn().map(size).sum();
    Header::from_der(subject.as_raw())
        .is_ok_and(|(_, header)| header.length().definite().is_ok_and(|length| length == read))
}

/// The size in DER of a value with `content` bytes, fewer than 256.
fn encoded(content: usize) -> usize {
    1 + if content < 0x80 { 1 } else { 2 } + content
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head.as_slice(), content].concat()
}

#[test]
fn subject_that_the_parser_leaves_unread_is_refused() {
    // CN=abc, then an RDN that holds no attribute: x509-parser stops there without a word.
    let readable = [0x31, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x03, b'a', b'b', b'c'];
    let good = der(0x30, &readable);
    let bad = der(0x30, &[&readable[..], &[0x31, 0x02, 0x05, 0x00]].concat());
    assert!(pkcs10::check_subject(&good).is_ok() && read_whole(&X509Name::from_der(&good).unwrap().1));
    let (_, subject) = X509Name::from_der(&bad).unwrap();
    assert!(subject.iter_rdn().count() == 1 && !read_whole(&subject));
    assert_eq!(pkcs10::check_subject(&bad), Err(pkcs10::Unusual("subject")));
}

/// An attribute of a subject: now and then with a tag, a type or a value of any kind.
fn any_attribute() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let bytes = proptest::collection::vec(any::<u8>(), 0..5);
    let tag = prop_oneof![4 => 1_u8..0x1f, 1 => any::<u8>()];
    let outer = prop_oneof![9 => Just(0x30), 1 => any::<u8>()];
    (outer, bytes.clone(), tag, bytes)
        .prop_map(|(outer, kind, tag, value)| der(outer, &[der(0x06, &kind), der(tag, &value)].concat()))
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2000))]

    #[test]
    fn subjects_that_pass_are_read_whole(
        sets in proptest::collection::vec(proptest::collection::vec(any_attribute(), 0..3), 0..3),
        place in proptest::num::usize::ANY, byte in proptest::option::weighted(0.3, proptest::num::u8::ANY),
    ) {
        let sets: Vec<u8> = sets.iter().flat_map(|set| der(0x31, &set.concat())).collect();
        let mut subject = der(0x30, &sets);
        let place = place % subject.len();
        subject[place] = byte.unwrap_or(subject[place]);
        if pkcs10::check_subject(&subject).is_ok() {
            let read = X509Name::from_der(&subject);
            proptest::prop_assert!(read.is_ok_and(|(_, name)| read_whole(&name)), "{:02x?}", subject);
        }
    }
}

#[test]
fn request_in_a_form_that_parsers_read_differently_is_refused() {
    let sans = [SanType::DnsName("n1".try_into().unwrap())];
    let names = [(DnType::CommonName, "system:node:n1")];
    let good =
        only_block(request_with(&names, &sans, &KeyPair::generate().unwrap(), |_| {}).as_bytes()).unwrap();
    pkcs10::check(&good).unwrap();
    let places: [(&[u8], usize, u8, &str); 7] = [
        (&[0x02, 0x01, 0x00], 2, 1, "version"),
        (&[0x06, 0x03, 0x55, 0x04, 0x03], 0, 0x04, "subject"),
        (b"\x0c\x0esystem:node:n1", 0, 0x8c, "subject"),
        (&[0x03, 0x42, 0x00, 0x04], 3, 0x02, "public key"),
        (&[0x03, 0x42, 0x00, 0x04], 2, 0x01, "public key"),
        (b"\x82\x02n1", 0, 0xa2, "alternative names"),
        (b"\x82\x02n1", 0, 0x02, "alternative names"),
    ];
    for (bytes, offset, other, part) in places {
        let place = good.windows(bytes.len()).position(|window| window == bytes).unwrap();
        let mut bad = good.clone();
        bad[place + offset] = other;
        assert_eq!(pkcs10::check(&bad), Err(pkcs10::Unusual(part)), "{bytes:02x?}");
    }
    let trailing = [good.as_slice(), &[0]].concat();
    assert_eq!(pkcs10::check(&trailing), Err(pkcs10::Unusual("request")));
    // The outer length in a byte more than it takes.
    let long = [&[0x30, 0x82, 0x00], &good[2..]].concat();
    assert_eq!((good[1], pkcs10::check(&long)), (0x81, Err(pkcs10::Unusual("request"))));
}

#[test]
fn lines_around_the_block_and_in_it_are_refused() {
    let pem = plain(|_| {});
    for good in [pem.clone(), pem.replace('\n', "\r\n"), format!("\n{pem}\n \t\n"), pem.trim_end().to_owned()]
    {
        parse(good.as_bytes()).unwrap();
    }
    let first_line = "-----BEGIN CERTIFICATE REQUEST-----";
    let places = [
        format!("  {pem}"),
        format!("x\n{pem}"),
        format!("{pem}x"),
        format!("\u{a0}{pem}"),
        format!("{pem}\u{a0}"),
    ];
    let within = ["x", "-", "\nA: b\n", "\n\u{a0}"]
        .map(|text| pem.replacen(first_line, &format!("{first_line}{text}"), 1));
    for bad in places.iter().chain(&within) {
        assert!(parse(bad.as_bytes()).unwrap_err().0.contains("exactly one PEM block"), "{bad}");
    }
}

#[test]
fn address_that_the_certificate_would_say_otherwise_is_refused() {
    let ask = |address: &str| {
        let san = SanType::IpAddress(address.parse().unwrap());
        parse(plain(|p| p.subject_alt_names = vec![san]).as_bytes())
    };
    ask("fd00::1").unwrap();
    assert!(ask("::ffff:10.0.0.1").unwrap_err().0.contains("10.0.0.1 is written in it as the IPv6 address"));
}

fn as_pem(der: &[u8]) -> Vec<u8> {
    let Ok(serde_json::Value::String(base64)) = serde_json::to_value(k8s_openapi::ByteString(der.to_vec()))
    else {
        unreachable!("a ByteString is a string")
    };
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{base64}\n-----END CERTIFICATE REQUEST-----\n").into_bytes()
}

proptest::proptest! {
    /// A request with bytes changed, cut or added never panics the parser, and never passes with another content.
    #[test]
    fn damaged_requests_are_refused(place in 0_usize..400, byte in proptest::num::u8::ANY, cut in 0_usize..400) {
        let der = only_block(plain(|_| {}).as_bytes()).unwrap();
        let mut damaged = der.clone();
        let place = place % damaged.len();
        damaged[place] = byte;
        // The parser does not mind every byte, but then it reads the same.
        if let Ok(read) = parse(&as_pem(&damaged)) {
            proptest::prop_assert_eq!(read, parse(&as_pem(&der)).unwrap());
        }
        damaged.truncate(cut % der.len());
        proptest::prop_assert!(parse(&as_pem(&damaged)).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = parse(&bytes);
        let _ = parse(&as_pem(&bytes));
    }
}
