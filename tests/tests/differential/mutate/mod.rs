//! What may be changed in a request: classes, each with many forms, harmless ones among them.

mod envelope;
mod names;
mod subject;
mod wrapping;

use std::net::IpAddr;

use crate::draft::Draft;
use crate::rng::Rng;

pub(crate) use names::octets;

macro_rules! classes {
    ($($(#[doc = $doc:literal])* $class:ident => $apply:path),* $(,)?) => {
        /// One thing about a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Class { $($(#[doc = $doc])* $class),* }

        impl Class {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$class),*];

            /// What it is, for the table.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$class => concat!($($doc),*).trim_ascii()),* }
            }

            fn apply(self, draft: &mut Draft, rng: &mut Rng) {
                match self { $(Self::$class => $apply(draft, rng)),* }
            }
        }
    };
}

classes! {
    /// signer: another of ours, of others, in other case
    Signer => envelope::signer,
    /// requester and groups
    Requester => envelope::requester,
    /// usages: missing, extra, wrong, in another order
    Usages => envelope::usages,
    /// a usage twice
    UsageTwice => envelope::usage_twice,
    /// lifetime
    Lifetime => envelope::lifetime,
    /// common name: missing, twice, another, case, dot, NUL
    CommonName => subject::common_name,
    /// organization: missing, twice, another, case
    Organization => subject::organization,
    /// other attributes in the subject
    OtherSubject => subject::other,
    /// subject in sets of several
    MultiValued => subject::multi_valued,
    /// types of string in the subject
    StringType => subject::string_type,
    /// subject that goes on unreadably
    SubjectTail => subject::tail,
    /// DNS names: foreign, many, none
    Dns => names::dns,
    /// DNS names: case, dot, wildcard, NUL, IDN
    DnsForm => names::dns_form,
    /// IP addresses: foreign, many, none
    Address => names::address,
    /// IP addresses: IPv4-mapped, wrong length
    AddressForm => names::address_form,
    /// e-mail, URI and other kinds of names
    OtherKind => names::other_kind,
    /// names with another class or a constructed tag
    NameTag => names::tag,
    /// names followed by something
    NamesTail => names::tail,
    /// names twice, in another order
    NamesTwice => names::twice,
    /// names that the node's own status lists, whatever they are
    SelfReported => names::self_reported,
    /// requested extensions: CA, usages, unknown, critical
    Extension => wrapping::extension,
    /// an extension twice
    ExtensionTwice => wrapping::extension_twice,
    /// other attributes of the request
    Attribute => wrapping::attribute,
    /// two attributes that request extensions
    TwoAttributes => wrapping::two_attributes,
    /// two values in the attribute that requests extensions
    TwoValues => wrapping::two_values,
    /// spelling of `critical`
    Critical => wrapping::critical,
    /// keys: P-384, RSA 2048 and 3072; P-224, P-521, Ed25519, RSA 1024
    Key => wrapping::key,
    /// public key in another form
    KeyForm => wrapping::key_form,
    /// signature: of another key, over another text, damaged
    Signature => wrapping::signature,
    /// signature algorithm: SHA-1, PSS, SHA-512
    SignatureAlgorithm => wrapping::signature_algorithm,
    /// bit flipped, then signed
    FlipThenSign => wrapping::flip_then_sign,
    /// bit flipped after signing
    SignThenFlip => wrapping::sign_then_flip,
    /// something after the DER
    Trailing => wrapping::trailing,
    /// DER's lengths, version and end
    Der => wrapping::der,
    /// a second PEM block, before or after
    SecondBlock => wrapping::second_block,
    /// PEM label
    Label => wrapping::label,
    /// PEM: text around, headers, line ends, spaces
    Pem => wrapping::pem,
    /// no PEM at all
    NotPem => wrapping::not_pem,
}

/// A change.
#[derive(Debug, Clone)]
pub(crate) struct Mutation {
    pub(crate) class: Class,
    seed: u64,
}

impl Mutation {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self { class: rng.pick(Class::ALL), seed: rng.next() }
    }

    pub(crate) fn apply(&self, draft: &mut Draft) {
        self.class.apply(draft, &mut Rng::new(self.seed));
    }
}

/// A name or address that is none of the node's.
fn foreign(rng: &mut Rng) -> &'static str {
    rng.pick(&["n2", "kubernetes", "kubernetes.default.svc", "example.com", "localhost", "auth.n1"])
}

fn foreign_address(rng: &mut Rng) -> IpAddr {
    let texts: [[u8; 4]; 5] =
        [[10, 96, 0, 1], [127, 0, 0, 1], [169, 254, 169, 254], [0, 0, 0, 0], [192, 0, 2, 7]];
    rng.pick(&texts).into()
}
