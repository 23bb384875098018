//! Serving certificates: the names and addresses that may stand in them.
//!
//! Nodes: `n1` and `n2` list what is theirs; `liar` lists, with its own credential, all that it asks for.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::Result;

use super::{
    super::verdict::{
        Expected,
        Outcome::{self, Denied, Held, Issued, Refused},
    },
    Place,
    Requester::Node,
    Row, serving,
};
use crate::requests::pkcs10::{Name, Pkcs10};

const STRAY: Outcome = Held("NameNotOfNode");
const RESERVED: Outcome = Denied("NameReserved");
const OTHER: Outcome = Held("NameOfOtherNode");
/// An address where a DNS name belongs.
const NO_NAME: Outcome = Denied("NamesMismatch");
/// Where the API server's own parser may be the one to refuse.
const MALFORMED: Outcome = Denied("Malformed|NamesMismatch|NameReserved");

/// Nothing that a parser takes: 1.36 refuses it when it looks for the node's own name in it.
const UNREADABLE: Expected = Expected::each(Refused(403), Refused(422));

type Case = (&'static str, &'static str, Vec<Name>, Expected);

pub(super) fn rows(place: Place) -> Result<Vec<Row>> {
    let cases = [own(), stray(), everywhere(), cluster(place), lies(place), odd()].concat();
    cases
        .into_iter()
        .map(|(what, node, names, expected)| {
            let request = Pkcs10::node(node).names(names);
            Ok(Row::new("serving names", what, Node(node), serving(&request)?, expected))
        })
        .collect()
}

fn dns(name: impl Into<String>) -> Name {
    Name::Dns(name.into())
}

fn ip(address: impl Into<IpAddr>) -> Name {
    Name::Ip(address.into())
}

fn one(name: Name) -> Vec<Name> {
    vec![name]
}

/// `::ffff:a.b.c.d`, in 16 bytes.
fn mapped(bytes: [u8; 4]) -> Vec<Name> {
    one(Name::Ip(IpAddr::V6(std::net::Ipv4Addr::from(bytes).to_ipv6_mapped())))
}

/// The controls: what a kubelet asks for.
fn own() -> Vec<Case> {
    vec![
        ("its own name and address", "n1", vec![dns("n1"), ip([10, 77, 0, 1])], Issued.into()),
        ("its own address alone", "n2", one(ip([10, 77, 0, 2])), Issued.into()),
        ("its own name alone", "n2", one(dns("n2")), Issued.into()),
        (
            "all of its names and addresses",
            "n1",
            vec![dns("n1"), dns("n1.corp.example"), ip([10, 77, 0, 1]), ip([0xfd77, 0, 0, 0, 0, 0, 0, 1])],
            Issued.into(),
        ),
    ]
}

fn stray() -> Vec<Case> {
    vec![
        ("another node's address", "n1", one(ip([10, 77, 0, 2])), STRAY.into()),
        ("another node's name", "n1", one(dns("n2")), STRAY.into()),
        ("another node's name in upper case", "n1", one(dns("N2")), STRAY.into()),
        (
            "its own address and another node's",
            "n1",
            vec![ip([10, 77, 0, 1]), ip([10, 77, 0, 2])],
            STRAY.into(),
        ),
        ("an address of nobody's", "n1", one(ip([10, 77, 9, 9])), STRAY.into()),
        ("a name of nobody's", "n1", one(dns("www.corp.example")), STRAY.into()),
        ("a name that begins with its own (a, auth.corp)", "a", one(dns("auth.corp")), STRAY.into()),
        ("its own name with a suffix", "a", one(dns("a.corp.example")), STRAY.into()),
        ("its own name as a suffix", "a", one(dns("evil-a")), STRAY.into()),
        ("a dot before its own name", "a", one(dns(".a")), STRAY.into()),
        ("a dot after its own name", "a", one(dns("a.")), STRAY.into()),
        ("its own name in upper case", "n1", one(dns("N1")), STRAY.into()),
        ("its own name and a space", "n1", one(dns("n1 ")), STRAY.into()),
        ("an IDN's punycode", "n1", one(dns("xn--n1-jja.corp.example")), STRAY.into()),
        ("its own address as a DNS name", "n1", one(dns("10.77.0.1")), NO_NAME.into()),
        ("another node's address as a DNS name", "n1", one(dns("10.77.0.2")), NO_NAME.into()),
        ("another node's address, mapped into IPv6", "n1", mapped([10, 77, 0, 2]), MALFORMED.into()),
        ("its own address, mapped into IPv6", "n1", mapped([10, 77, 0, 1]), MALFORMED.into()),
        ("its whole network as an address", "n1", one(ip([10, 77, 0, 0])), STRAY.into()),
    ]
}

/// What means every machine, or none.
fn everywhere() -> Vec<Case> {
    let v6 = |text: &str| text.parse::<Ipv6Addr>().map_or_else(|_| Vec::new(), |address| one(ip(address)));
    vec![
        ("localhost", "liar", one(dns("localhost")), RESERVED.into()),
        ("localhost, which it lists in capitals", "liar", one(dns("LOCALHOST")), RESERVED.into()),
        ("a name below localhost", "liar", one(dns("x.localhost")), RESERVED.into()),
        ("127.0.0.1", "liar", one(ip([127, 0, 0, 1])), RESERVED.into()),
        ("127.77.0.1", "liar", one(ip([127, 77, 0, 1])), RESERVED.into()),
        ("127.0.0.1, mapped into IPv6", "liar", mapped([127, 0, 0, 1]), MALFORMED.into()),
        ("127.0.0.1 as a DNS name", "liar", one(dns("127.0.0.1")), NO_NAME.into()),
        ("::1", "liar", v6("::1"), RESERVED.into()),
        ("0.0.0.0", "liar", one(ip([0, 0, 0, 0])), RESERVED.into()),
        ("::", "liar", v6("::"), RESERVED.into()),
        ("169.254.169.254, the cloud's metadata", "liar", one(ip([169, 254, 169, 254])), RESERVED.into()),
        ("a link-local address", "liar", v6("fe80::1"), RESERVED.into()),
        ("a multicast address", "liar", one(ip([224, 0, 0, 1])), RESERVED.into()),
        ("the broadcast address", "liar", one(ip([255, 255, 255, 255])), RESERVED.into()),
        ("a wildcard", "liar", one(dns("*.corp.example")), RESERVED.into()),
        ("a wildcard alone", "liar", one(dns("*")), RESERVED.into()),
    ]
}

/// What is the API server's.
fn cluster(place: Place) -> Vec<Case> {
    vec![
        ("kubernetes", "liar", one(dns("kubernetes")), RESERVED.into()),
        ("kubernetes.default", "liar", one(dns("kubernetes.default")), RESERVED.into()),
        ("kubernetes.default.svc", "liar", one(dns("kubernetes.default.svc")), RESERVED.into()),
        (
            "kubernetes.default.svc.cluster.local",
            "liar",
            one(dns("kubernetes.default.svc.cluster.local")),
            RESERVED.into(),
        ),
        ("kubernetes.default.svc and a dot", "liar", one(dns("kubernetes.default.svc.")), RESERVED.into()),
        ("KUBERNETES.Default.svc", "liar", one(dns("KUBERNETES.Default.svc")), RESERVED.into()),
        ("the API server's service address", "liar", one(ip([10, 96, 0, 1])), RESERVED.into()),
        (
            "the API server's service address, mapped into IPv6",
            "liar",
            mapped([10, 96, 0, 1]),
            MALFORMED.into(),
        ),
        ("the API server's endpoint", "liar", one(ip(place.api_server)), RESERVED.into()),
        ("the API server's service address, unlisted", "n1", one(ip([10, 96, 0, 1])), RESERVED.into()),
    ]
}

/// What is another node's, and listed all the same.
fn lies(_: Place) -> Vec<Case> {
    vec![
        ("another node's address, which it lists itself", "liar", one(ip([10, 77, 0, 5])), OTHER.into()),
        ("another node's name, which it lists itself", "liar", one(dns("victim")), OTHER.into()),
        (
            "another node's DNS name, which it lists itself",
            "liar",
            one(dns("victim.corp.example")),
            OTHER.into(),
        ),
        ("its own name beside another node's", "liar", vec![dns("liar"), dns("victim")], OTHER.into()),
        ("its own name, although it lies", "liar", one(dns("liar")), Issued.into()),
    ]
}

/// What no parser should stumble over.
fn odd() -> Vec<Case> {
    let long = format!("{}.corp.example", ["a"; 130].join("."));
    let labels = format!("{}.corp.example", "l".repeat(64));
    let many: Vec<Name> = (0..1_000).map(|n| dns(format!("n1-{n}.corp.example"))).collect();
    let same: Vec<Name> = std::iter::repeat_n(dns("n1"), 1_000).collect();
    vec![
        ("no name at all", "n1", Vec::new(), Denied("NamesMismatch").into()),
        ("an empty name", "n1", one(dns("")), MALFORMED.into()),
        ("an empty label", "n1", one(dns("n1..corp.example")), Expected::from(STRAY)),
        ("a name of 272 characters", "n1", one(dns(long)), STRAY.into()),
        ("a label of 64 characters", "n1", one(dns(labels)), STRAY.into()),
        ("a NUL after its own name", "n1", one(dns("n1\0.corp.example")), STRAY.into()),
        ("its own name twice", "n1", vec![dns("n1"), dns("n1")], Issued.into()),
        ("its own name a thousand times", "n1", same, Outcome::Approved.into()),
        ("a thousand names of nobody's", "n1", many, STRAY.into()),
        (
            "a name that is no ASCII",
            "n1",
            one(dns("nö.corp.example")),
            Expected::each(Refused(403), MALFORMED),
        ),
        ("an address of 5 bytes", "n1", one(Name::IpBytes(vec![10, 77, 0, 1, 0])), UNREADABLE),
        ("an address of no bytes", "n1", one(Name::IpBytes(Vec::new())), UNREADABLE),
        ("an address and a mask", "n1", one(Name::IpBytes(vec![10, 77, 0, 1, 255, 255, 0, 0])), UNREADABLE),
        (
            "an e-mail address",
            "n1",
            vec![dns("n1"), Name::Email("root@corp.example")],
            Denied("NamesMismatch").into(),
        ),
        ("a URI", "n1", vec![dns("n1"), Name::Uri("spiffe://corp/n1")], Denied("NamesMismatch").into()),
        ("a registered identifier", "n1", vec![dns("n1"), Name::Registered("1.2.3.4")], MALFORMED.into()),
        ("of a Node that does not exist", "gone", one(dns("gone")), Held("NodeMissing").into()),
    ]
}
