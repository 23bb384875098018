//! Applying objects, or asking what that would change.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::found::OLD_NAMESPACE;
use super::objects::Wanted;
use super::{Applied, Change, InitError, diff};
use crate::cluster::client::{CallError, Cluster};
use crate::cluster::{APPROVER_ACCOUNT, FIELD_MANAGER};

/// A cluster, and whether it is really changed.
pub(super) struct Session<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) dry_run: bool,
}

impl Session<'_> {
    /// Applies the objects in their order, once each of them is known to be one that can be.
    pub(super) async fn apply_all(&self, wanted: &[Wanted]) -> Result<Vec<Applied>, InitError> {
        let before = try_join_all(wanted.iter().map(|one| self.read(one))).await?;
        for (one, before) in wanted.iter().zip(&before) {
            same_role(one, before.as_ref())?;
        }
        let absent = |(one, before): (&Wanted, &Option<Value>)| {
            (one.kind == "Namespace" && before.is_none()).then(|| one.name.clone())
        };
        let to_come: Vec<String> = wanted.iter().zip(&before).filter_map(absent).collect();
        let mut applied = Vec::with_capacity(wanted.len());
        for (one, before) in wanted.iter().zip(&before) {
            // The server cannot be asked about what would be in a namespace that is not there.
            let nowhere =
                self.dry_run && one.namespace.as_ref().is_some_and(|namespace| to_come.contains(namespace));
            let after = if nowhere { one.object.clone() } else { self.apply(one).await? };
            applied.push(compare(&one.kind, &one.path(), before.as_ref(), Some(&after)));
        }
        Ok(applied)
    }

    async fn read(&self, wanted: &Wanted) -> Result<Option<Value>, CallError> {
        let api = wanted.api(self.cluster.client());
        let found = self.cluster.call("get", named(wanted), api.get_opt(&wanted.name)).await?;
        Ok(found.map(|found| json!(found)))
    }

    async fn apply(&self, wanted: &Wanted) -> Result<Value, CallError> {
        let params = PatchParams {
            dry_run: self.dry_run,
            force: true,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (api, patch) = (wanted.api(self.cluster.client()), Patch::Apply(&wanted.object));
        let request = api.patch(&wanted.name, &params, &patch);
        Ok(json!(self.cluster.call("apply", named(wanted), request).await?))
    }

    /// Takes the approver's account away that earlier versions made in kube-system.
    pub(super) async fn remove_old_account(&self) -> Result<Applied, CallError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.cluster.client(), OLD_NAMESPACE);
        let params = DeleteParams { dry_run: self.dry_run, ..DeleteParams::default() };
        let name = format!("{OLD_NAMESPACE}/{APPROVER_ACCOUNT}");
        let request = accounts.delete(APPROVER_ACCOUNT, &params);
        match self.cluster.call("delete", format!("ServiceAccount {name}"), request).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        let before = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": APPROVER_ACCOUNT, "namespace": OLD_NAMESPACE}});
        Ok(compare("ServiceAccount", &name, Some(&before), None))
    }
}

fn named(wanted: &Wanted) -> String {
    format!("{} {}", wanted.kind, wanted.path())
}

/// What became of an object.
pub(super) fn compare(kind: &str, path: &str, before: Option<&Value>, after: Option<&Value>) -> Applied {
    let fields = match (before, after) {
        (Some(before), Some(after)) => diff::fields(before, after),
        _ => Vec::new(),
    };
    let result = match (before, after) {
        (None, _) => Change::Created,
        (Some(_), None) => Change::Removed,
        (Some(_), Some(_)) if fields.is_empty() => Change::Unchanged,
        (Some(_), Some(_)) => Change::Changed,
    };
    let diff = diff::unified(&format!("{kind} {path}"), before, after);
    Applied { kind: kind.to_owned(), name: path.to_owned(), result, fields, diff }
}

/// What a binding binds cannot be changed.
fn same_role(wanted: &Wanted, before: Option<&Value>) -> Result<(), InitError> {
    let expected = &wanted.object["roleRef"];
    let Some(found) = before.map(|before| &before["roleRef"]).filter(|found| *found != expected) else {
        return Ok(());
    };
    let said = |role: &Value| {
        let word = |key: &str| role[key].as_str().unwrap_or("?").to_owned();
        format!("{} {}", word("kind"), word("name"))
    };
    Err(InitError::OtherRole {
        kind: wanted.kind.clone(),
        name: wanted.path(),
        found: said(found),
        expected: said(expected),
    })
}

#[cfg(test)]
mod tests {
    use super::super::objects::{Choices, wanted};
    use super::*;

    #[test]
    fn binding_that_binds_something_else_is_refused_before_anything_is_applied() {
        let wanted = wanted(&Choices::default());
        let binding = wanted.iter().find(|one| one.kind == "RoleBinding").unwrap();
        let mut other = binding.object.clone();
        same_role(binding, Some(&other)).unwrap();
        same_role(binding, None).unwrap();
        other["roleRef"]["name"] = json!("cluster-admin");
        let error = same_role(binding, Some(&other)).unwrap_err().to_string();
        assert!(error.contains("binds Role cluster-admin, expected Role kn-agent:approver"), "{error}");
        // What is no binding has no role.
        let namespace = &wanted[0];
        same_role(namespace, Some(&namespace.object)).unwrap();
    }

    #[test]
    fn each_object_is_told_with_what_became_of_it() {
        let (a, b) = (json!({"kind": "X", "rules": 1}), json!({"kind": "X", "rules": 2}));
        let result = |before, after| compare("X", "a", before, after).result;
        assert_eq!(result(None, Some(&a)), Change::Created);
        assert_eq!(result(Some(&a), Some(&a)), Change::Unchanged);
        assert_eq!(result(Some(&a), Some(&b)), Change::Changed);
        assert_eq!(result(Some(&a), None), Change::Removed);
        assert_eq!(compare("X", "a", Some(&a), Some(&b)).fields, ["rules"]);
    }
}
