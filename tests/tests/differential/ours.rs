//! Where the approver is asked. The one file to change with it.

use std::net::IpAddr;

use kn_agent::cluster::csr::CsrFacts;
use kn_agent::cluster::policy::{self, NodeAddresses, NodeLookup, Policy, Verdict};

/// What the cluster knows of the node that asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The names in the Node's status.
    pub(crate) dns_names: Vec<String>,
    /// The addresses in the Node's status.
    pub(crate) addresses: Vec<IpAddr>,
}

/// Whether the approver approves; where not, its code.
pub(crate) fn judge(facts: &CsrFacts, known: &Known) -> Result<(), &'static str> {
    let node = NodeAddresses { dns_names: known.dns_names.clone(), addresses: known.addresses.clone() };
    match policy::judge(facts, &NodeLookup::Found(node), Policy::default()) {
        Verdict::Approve(_) => Ok(()),
        Verdict::Wait(refusal) | Verdict::Ignore(refusal) => Err(refusal.code.as_str()),
    }
}
