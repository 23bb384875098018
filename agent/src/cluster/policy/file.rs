//! The policy as an operator writes it: strict, so that a misspelt bound is an error and not a bound that is missing.

use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::{Policy, ServingPolicy, SubjectPolicy};
use crate::cluster::csr::Place;
use crate::config::syntax_error;
use crate::names::{Cidr, Token};

/// Why there is no policy.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It can't be read.
    #[error("cannot read policy `{}`: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is no policy.
    #[error("`{}` is no policy: {why}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was found, and what is expected.
        why: String,
    },
}

/// Reads the policy file at `path`.
///
/// # Errors
/// It can't be read, or a field is unknown or out of bounds.
#[expect(clippy::disallowed_methods, reason = "an operator's input, read once at the start")]
pub fn read(path: &Path) -> Result<Policy, PolicyError> {
    let text = std::fs::read_to_string(path)
        .map_err(|why| PolicyError::Unreadable { path: path.to_owned(), why })?;
    parse(&text).map_err(|why| PolicyError::Invalid { path: path.to_owned(), why })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default)]
    bootstrap: Bootstrap,
    #[serde(default)]
    serving: Serving,
    #[serde(default)]
    kube_proxy: KubeProxy,
    max_lifetime: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bootstrap {
    takeover_after: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Serving {
    #[serde(rename = "allowedCIDRs")]
    allowed_cidrs: Vec<String>,
    allowed_names: Vec<String>,
    never_sign: NeverSign,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct NeverSign {
    names: Vec<String>,
    cidrs: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct KubeProxy {
    common_name: Option<String>,
    country: Vec<String>,
    province: Vec<String>,
    locality: Vec<String>,
    organization: Vec<String>,
    organizational_unit: Vec<String>,
}

/// Reads a policy from its text.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Policy, String> {
    // A key or a token that was named by mistake is no mapping, and what is none is not quoted.
    let any: Value = serde_saphyr::from_str(text).map_err(|error| syntax_error(&error).to_string())?;
    if !any.is_object() {
        return Err("it is no mapping".to_owned());
    }
    let document: Document =
        serde_saphyr::from_str(text).map_err(|error| Token::scrub(&error.without_snippet().to_string()))?;
    if document.api_version != "kn-agent.io/v1alpha1" || document.kind != "ApproverPolicy" {
        return Err(format!(
            "it is a `{}` of `{}`, expected an `ApproverPolicy` of `kn-agent.io/v1alpha1`",
            document.kind, document.api_version
        ));
    }
    let default = Policy::default();
    Ok(Policy {
        takeover_after: duration(
            "bootstrap.takeoverAfter",
            document.bootstrap.takeover_after.as_deref(),
            default.takeover_after,
        )?,
        max_lifetime: duration("maxLifetime", document.max_lifetime.as_deref(), default.max_lifetime)?,
        serving: serving(document.serving)?,
        kube_proxy: kube_proxy(document.kube_proxy)?,
    })
}

fn duration(field: &str, text: Option<&str>, default: SignedDuration) -> Result<SignedDuration, String> {
    let Some(text) = text else { return Ok(default) };
    let duration = text.parse::<SignedDuration>().ok().filter(|duration| !duration.is_negative());
    duration.ok_or_else(|| format!("{field}: `{text}` is no duration; expected e.g. 5m or 24h"))
}

fn serving(found: Serving) -> Result<ServingPolicy, String> {
    let cidrs = |field: &str, list: Vec<String>| -> Result<Vec<Cidr>, String> {
        list.iter().map(|text| text.parse().map_err(|why| format!("{field}: {why}"))).collect()
    };
    let lower = |list: Vec<String>| list.iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>();
    if let Some(regex) = found.allowed_names.iter().find(|name| name.contains(['^', '$', '\\', '['])) {
        return Err(format!(
            "serving.allowedNames: `{regex}` is no pattern: `*` stands for characters within one label, e.g. *.nodes.example"
        ));
    }
    Ok(ServingPolicy {
        allowed_cidrs: cidrs("serving.allowedCIDRs", found.allowed_cidrs)?,
        allowed_names: lower(found.allowed_names),
        never_sign_names: lower(found.never_sign.names),
        never_sign_cidrs: cidrs("serving.neverSign.cidrs", found.never_sign.cidrs)?,
    })
}

fn kube_proxy(found: KubeProxy) -> Result<SubjectPolicy, String> {
    let is_system = |name: &&String| name.to_ascii_lowercase().trim_start().starts_with("system:");
    if let Some(group) = found.organization.iter().find(is_system) {
        return Err(format!(
            "kubeProxy.organization: `{group}` is a group of Kubernetes' own, which kube-proxy must not be in"
        ));
    }
    let common_name = found.common_name.unwrap_or_else(|| SubjectPolicy::default().common_name);
    if common_name != "system:kube-proxy" && is_system(&&common_name) || common_name.is_empty() {
        return Err(format!(
            "kubeProxy.commonName: `{common_name}` is a user of Kubernetes' own; expected system:kube-proxy"
        ));
    }
    let kinds = [
        (Place::Country, found.country),
        (Place::Province, found.province),
        (Place::Locality, found.locality),
        (Place::OrganizationalUnit, found.organizational_unit),
    ];
    let mut places: Vec<_> =
        kinds.into_iter().flat_map(|(place, list)| list.into_iter().map(move |text| (place, text))).collect();
    places.sort_unstable();
    Ok(SubjectPolicy { common_name, organizations: found.organization, places })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kn-agent.io/v1alpha1\nkind: ApproverPolicy\n";

    fn with(rest: &str) -> Result<Policy, String> {
        parse(&format!("{HEAD}{rest}"))
    }

    #[test]
    fn an_empty_policy_is_the_default_and_each_field_counts() {
        assert_eq!(with("").unwrap(), Policy::default());
        let policy = with(
            "bootstrap: {takeoverAfter: 1h}\nmaxLifetime: 48h\nserving: {allowedCIDRs: [10.0.0.0/8], allowedNames: \
             ['*.Corp'], neverSign: {names: [api.corp], cidrs: [10.96.0.0/12]}}\nkubeProxy: {country: [CN], \
             organization: [k8s], organizationalUnit: [System]}\n",
        )
        .unwrap();
        assert_eq!(policy.takeover_after, SignedDuration::from_hours(1));
        assert_eq!(policy.max_lifetime, SignedDuration::from_hours(48));
        assert_eq!(policy.serving.allowed_names, ["*.corp"]);
        assert_eq!(policy.serving.never_sign_names, ["api.corp"]);
        assert_eq!((policy.serving.allowed_cidrs.len(), policy.serving.never_sign_cidrs.len()), (1, 1));
        assert_eq!(policy.kube_proxy.common_name, "system:kube-proxy");
        assert_eq!(policy.kube_proxy.organizations, ["k8s"]);
        assert_eq!(policy.kube_proxy.places.len(), 2);
    }

    #[test]
    fn what_is_misspelt_or_dangerous_is_refused_by_name() {
        for (text, named) in [
            ("servng: {}\n", "servng"),
            ("serving: {allowedCidrs: []}\n", "allowedCidrs"),
            ("serving: {allowedCIDRs: [10.0.0.1/8]}\n", "serving.allowedCIDRs"),
            ("serving: {allowedNames: ['^n.*$']}\n", "serving.allowedNames"),
            ("bootstrap: {takeoverAfter: soon}\n", "bootstrap.takeoverAfter"),
            ("maxLifetime: -1h\n", "maxLifetime"),
            ("kubeProxy: {organization: [system:masters]}\n", "kubeProxy.organization"),
            ("kubeProxy: {organization: [' System:Masters']}\n", "kubeProxy.organization"),
            ("kubeProxy: {commonName: system:kube-controller-manager}\n", "kubeProxy.commonName"),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        for text in
            ["-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n", "a: [canary", "canary"]
        {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("canary"), "{error}");
        }
        assert!(parse("apiVersion: v1\nkind: Pod\n").unwrap_err().contains("ApproverPolicy"));
    }
}
