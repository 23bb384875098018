//! Where the approver is asked. The one file to change with it.

use std::net::IpAddr;

use jiff::Timestamp;
use kn_agent::cluster::csr::CsrFacts;
use kn_agent::cluster::inventory::{Inventory, NodeFacts};
use kn_agent::cluster::policy::{self, Hold, Policy, Verdict};

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
    let mut inventory = Inventory::default();
    // A token asks for a Node that is not there yet.
    if let Some(name) = facts.username.strip_prefix("system:node:") {
        let (dns_names, addresses) = (known.dns_names.clone(), known.addresses.clone());
        inventory.set(name, NodeFacts { dns_names, addresses, not_ready_since: None, control_plane: false });
    }
    match policy::judge(facts, &inventory, &Policy::default(), Timestamp::UNIX_EPOCH) {
        Verdict::Approve(_) => Ok(()),
        Verdict::Deny(refusal) | Verdict::Hold(Hold { refusal, .. }) | Verdict::NotOurs(refusal) => {
            Err(refusal.code.as_str())
        }
    }
}
