//! The closed list of reasons not to approve, each with what it means. Scripts may rely on the codes.

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident;)+) => {
        /// Why a request is not approved. The variant's name is the code in conditions, Events and tables.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])* $name,)+ }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// The signer is none of the three that are served. Nothing is written.
    SignerNotOurs;
    /// Neither a node nor the holder of a token of `kn-agent token create` asks. Nothing is written.
    RequesterNotOurs;
    /// A node asks for a client certificate that is not kube-proxy's. Nothing is written.
    SubjectNotOurs;
    /// The token is bound to no node (`--any-node`): a person decides.
    TokenNotBound;
    /// The token is bound to another node than the one asked for.
    TokenNodeMismatch;
    /// The token was used before, for another key.
    TokenUsed;
    /// A token asks for a Node that lives: its holder would take the Node's place.
    NodeIsLive;
    /// The request is unreadable, not signed with its own key, weak, or asks for what no node needs.
    Malformed;
    /// The common name is not the requester's own.
    CommonNameMismatch;
    /// The subject is not exactly what this signer's certificates have.
    SubjectMismatch;
    /// The usages are not exactly what this signer's certificates have.
    UsageMismatch;
    /// Alternative names where there must be none, of a wrong kind, or none where one is needed.
    NamesMismatch;
    /// An alternative name that no node may have: the API server's, the machine's own, a pattern, or one the policy
    /// excludes.
    NameReserved;
    /// An alternative name that another Node has, or claims, too.
    NameOfOtherNode;
    /// An alternative name that is none of the Node's addresses.
    NameNotOfNode;
    /// An alternative name outside what the policy allows.
    NameNotInInventory;
    /// The requester's Node does not exist.
    NodeMissing;
    /// A longer lifetime than the policy allows.
    LifetimeTooLong;
}
