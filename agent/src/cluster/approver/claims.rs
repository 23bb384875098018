//! The use of tokens: each for one key, for ever. A claim is a Lease that can be created once, so that two uses at the
//! same moment, or two approvers, still make one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};

use crate::cluster::client::{CallError, Cluster};
use crate::cluster::policy::Claim;
use crate::cluster::{FIELD_MANAGER, MANAGED_BY, NAMESPACE};

/// What a claim's name begins with; the token's id is the rest.
pub const CLAIM_PREFIX: &str = "token-";

/// A claim outlives its token: no token lives for more than 7 days.
const KEPT: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Whose a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The key's that asks; now, or before.
    ByThisKey,
    /// Another key's, since when.
    ByAnother(Option<Timestamp>),
    /// Nobody's yet; a dry run leaves it so.
    Free,
}

/// The claims there are.
#[derive(Debug)]
pub(super) struct Claims {
    cluster: Cluster,
    /// Holders by token id. A claim never changes, so that what is here needs no request.
    known: Mutex<HashMap<String, (String, Option<Timestamp>)>>,
}

impl Claims {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster, known: Mutex::default() }
    }

    /// Claims the token for the key, or finds out who has it.
    ///
    /// # Errors
    /// Where that can't be found out; nothing may be approved then.
    pub(super) async fn claim(&self, claim: &Claim, dry_run: bool) -> Result<Claimed, CallError> {
        if let Some(claimed) = self.remembered(claim) {
            return Ok(claimed);
        }
        let name = format!("{CLAIM_PREFIX}{}", claim.token_id);
        if !dry_run {
            let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
            let lease = lease(&name, &claim.key);
            match self.cluster.call("create", object(&name), self.leases().create(&params, &lease)).await {
                Ok(made) => {
                    self.remember(&made);
                    return Ok(Claimed::ByThisKey);
                }
                Err(error) if error.is_already_exists() => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(found) = self.cluster.call("get", object(&name), self.leases().get_opt(&name)).await? {
            self.remember(&found);
        }
        Ok(self.remembered(claim).unwrap_or(Claimed::Free))
    }

    /// Learns all claims there are, and removes those whose token has long ended.
    ///
    /// # Errors
    /// They can't be listed. One that can't be removed is left for the next time.
    pub(super) async fn load(&self, dry_run: bool) -> Result<(), CallError> {
        let list = self.leases();
        let found = self.cluster.call("list", "Leases", list.list(&ListParams::default())).await?;
        for lease in found.items.iter().filter(|lease| lease.name_any().starts_with(CLAIM_PREFIX)) {
            let since = lease.spec.as_ref().and_then(|spec| spec.acquire_time.as_ref()).map(|time| time.0);
            if dry_run || since.is_none_or(|since| Timestamp::now().duration_since(since) < KEPT) {
                self.remember(lease);
                continue;
            }
            let name = lease.name_any();
            let (leases, now) = (self.leases(), DeleteParams::default());
            if let Err(error) = self.cluster.call("delete", object(&name), leases.delete(&name, &now)).await {
                tracing::warn!("{error}");
            }
        }
        Ok(())
    }

    fn remembered(&self, claim: &Claim) -> Option<Claimed> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (holder, since) = known.get(&claim.token_id)?;
        Some(if *holder == holder_of(&claim.key) { Claimed::ByThisKey } else { Claimed::ByAnother(*since) })
    }

    fn remember(&self, lease: &Lease) {
        let name = lease.name_any();
        let Some(id) = name.strip_prefix(CLAIM_PREFIX) else { return };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = (spec.holder_identity.unwrap_or_default(), spec.acquire_time.map(|time| time.0));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), holder);
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.cluster.client(), NAMESPACE)
    }
}

/// As it stands in a claim.
fn holder_of(key: &str) -> String {
    format!("sha256:{key}")
}

fn lease(name: &str, key: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder_of(key)),
            acquire_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    }
}

fn object(name: &str) -> String {
    format!("Lease {NAMESPACE}/{name}")
}
