//! What a cluster needs so that machines can join it: role bindings, and the approver with its own rights.
//!
//! Applied with server-side apply, so that running it again changes nothing, and only what differs is touched. A dry run
//! asks the server for the same and shows the difference; `cluster status` ([`super::status`]) is one too.

mod apply;
mod calico;
mod deployment;
mod diff;
mod error;
mod flannel;
mod found;
mod objects;
mod unit;
mod warnings;

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::client::Cluster;
use crate::names::ApiServerUrl;

use apply::Session;
pub use calico::{Release, ReleaseError};
use deployment::Settings;
pub use error::{InitError, Unusable};
pub use flannel::{Backend, Flannel};
pub(super) use found::Found;
use objects::Choices;

/// Where the approver's credentials are when it runs as a unit.
pub const APPROVER_KUBECONFIG: &str = "/etc/kn-agent/approver.kubeconfig";

/// What the operator chose.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Have the controller-manager approve the first certificate of whoever holds a token of the group for that.
    pub auto_approve: bool,
    /// A user of the API server's static token file that may ask for certificates too.
    pub static_user: Option<String>,
    /// Where the approver is to run.
    pub approver: Approver,
    /// The pod network.
    pub cni: Cni,
    /// The API server as the approver reaches it; otherwise as the kubeconfig has it.
    pub server: Option<ApiServerUrl>,
    /// Ask the server what would change, and change nothing.
    pub dry_run: bool,
}

/// Where the approver is to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Approver {
    /// Where it does: a Deployment that is there is kept as it should be, and none is made.
    #[default]
    AsFound,
    /// Nowhere that is seen to here; a Deployment that is there stays untouched.
    None,
    /// In the cluster.
    Deployment {
        /// The image; without, that of the Deployment that is there.
        image: Option<String>,
    },
    /// On this host, as a unit of systemd.
    Unit {
        /// Where its credentials go.
        kubeconfig: PathBuf,
        /// Whether to enable and start it.
        start: bool,
    },
}

/// Whose pod network is to be in the cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Cni {
    /// Whose it is: one that was made here is kept as it should be, and none is made.
    #[default]
    AsFound,
    /// flannel's.
    Flannel(Flannel),
    /// calico's, as its release has it.
    Calico(Release),
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Whether nothing was really changed.
    pub dry_run: bool,
    /// Each object, in the order applied.
    pub objects: Vec<Applied>,
    /// What the operator should know about this cluster.
    pub warnings: Vec<String>,
    /// What is to be done next.
    pub next: Vec<String>,
}

/// One object and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Applied {
    /// Its kind; `File` and `Unit` are of this host.
    pub kind: String,
    /// Its name, behind its namespace where it has one.
    pub name: String,
    /// What became of it.
    pub result: Change,
    /// The fields that differ from before.
    pub fields: Vec<String>,
    /// The difference, as a unified diff of YAML; without what a Secret holds.
    pub diff: String,
}

/// What applying an object did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Created,
    /// It was there as it should be.
    Unchanged,
    /// It was there, but different.
    Changed,
    /// It was there, made by an earlier version of this program, and is of no more use.
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Removed => "removed",
        })
    }
}

/// Applies everything `options` ask for.
///
/// # Errors
/// At the first object that cannot be read or applied.
pub async fn init(cluster: &Cluster, options: &Options) -> Result<Outcome, InitError> {
    let found = Box::pin(Found::look(cluster)).await?;
    init_found(cluster, options, &found).await
}

/// As [`init`], where what is there has been looked up.
pub(super) async fn init_found(
    cluster: &Cluster,
    options: &Options,
    found: &Found,
) -> Result<Outcome, InitError> {
    let choices = choices(cluster, options, found)?;
    let session = Session { cluster, dry_run: options.dry_run };
    let mut wanted = objects::wanted(&choices);
    let mut notes = Vec::new();
    if let Cni::Calico(release) = &options.cni {
        wanted.extend(release.objects(cluster).await?);
        notes.extend(release.warnings());
    } else {
        notes.extend(found.calico.warnings());
    }
    let mut objects = session.apply_all(&wanted).await?;
    if found.old_account {
        objects.push(session.remove_old_account().await?);
    }
    if let Approver::Unit { kubeconfig, start } = &options.approver {
        let server = server(cluster, options)?;
        objects.extend(unit::set_up(&session, &server, kubeconfig, *start).await?);
    }
    let mut warnings = warnings::warnings(&found.bindings, &found.roles, options.auto_approve);
    warnings.extend(choices.deployment.as_ref().and_then(of_this_host_alone));
    warnings.extend(notes);
    warnings.extend(choices.flannel.as_ref().and_then(|flannel| found.flannel.warning(flannel)));
    Ok(Outcome { dry_run: options.dry_run, objects, warnings, next: next(options, found) })
}

/// Everything that can be refused is refused here, before anything is changed.
fn choices(cluster: &Cluster, options: &Options, found: &Found) -> Result<Choices, Unusable> {
    let there = found.deployment.as_ref().and_then(Settings::of);
    let deployment = match &options.approver {
        Approver::AsFound => there,
        Approver::Deployment { image } => {
            let image = image.clone().or_else(|| there.as_ref().map(|there| there.image.clone()));
            let image = image.ok_or(Unusable::NoImage)?;
            Some(match (&options.server, there) {
                (None, Some(there)) => Settings { image, ..there },
                _ => Settings::new(image, &server(cluster, options)?),
            })
        }
        Approver::Unit { .. } => {
            server(cluster, options)?;
            cluster.ca_pem().ok_or_else(|| Unusable::NoCa(cluster.source().to_owned()))?;
            None
        }
        Approver::None => None,
    };
    Ok(Choices {
        auto_approve: options.auto_approve,
        static_user: options.static_user.clone(),
        account_token: matches!(options.approver, Approver::Unit { .. }),
        deployment,
        flannel: found.flannel.wanted(&options.cni)?,
    })
}

fn server(cluster: &Cluster, options: &Options) -> Result<ApiServerUrl, Unusable> {
    match &options.server {
        Some(server) => Ok(server.clone()),
        None => Ok(cluster.server().parse()?),
    }
}

fn of_this_host_alone(settings: &Settings) -> Option<String> {
    let address: Option<std::net::IpAddr> = settings.host.parse().ok();
    let local = settings.host == "localhost" || address.is_some_and(|address| address.is_loopback());
    local.then(|| {
        format!(
            "the approver's Deployment goes to the API server at {}, which is another machine on each node; give the \
             right address: --server https://HOST:PORT",
            settings.host
        )
    })
}

/// What a person does after this.
fn next(options: &Options, found: &Found) -> Vec<String> {
    const TOKEN: &str = "for each machine: kn-agent token create --node NAME --print shell|config|cloud-init";
    let mut next = Vec::new();
    match &options.approver {
        Approver::Deployment { .. } => next.push(
            "the approver needs a node to run on: for the first one's certificates let `kn-agent approver` run here \
             until it is Ready"
                .to_owned(),
        ),
        Approver::AsFound | Approver::None if found.deployment.is_none() => next.push(
            "an approver, which nodes wait for: as a unit of this control-plane host (kn-agent cluster init --approver \
             unit), in the cluster (--approver deployment --image IMAGE), or by hand while nodes join (kn-agent \
             approver)"
                .to_owned(),
        ),
        Approver::Unit { start: false, kubeconfig } => {
            next.push(format!("kn-agent approver --kubeconfig {}", kubeconfig.display()));
        }
        _ => {}
    }
    next.push(TOKEN.to_owned());
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binding_of_another_role_is_refused_with_the_command_that_removes_it() {
        let error = |kind: &str, name: &str| {
            let (kind, name) = (kind.to_owned(), name.to_owned());
            let (found, expected) = ("ClusterRole cluster-admin".to_owned(), "ClusterRole x".to_owned());
            InitError::OtherRole { kind, name, found, expected }.to_string()
        };
        let text = error("ClusterRoleBinding", "a");
        assert!(
            text.contains("cluster-admin") && text.ends_with("kubectl delete clusterrolebinding a"),
            "{text}"
        );
        let text = error("RoleBinding", "default/a");
        assert!(text.ends_with("kubectl delete rolebinding -n default a"), "{text}");
    }

    #[test]
    fn what_to_do_next_depends_on_where_the_approver_runs() {
        let next =
            |approver, found: &Found| next(&Options { approver, ..Options::default() }, found).join("\n");
        let new = Found::default();
        assert!(next(Approver::AsFound, &new).contains("--approver unit"));
        let there =
            Found { deployment: Some(k8s_openapi::api::apps::v1::Deployment::default()), ..Found::default() };
        assert!(!next(Approver::AsFound, &there).contains("--approver unit"));
        assert!(next(Approver::Deployment { image: None }, &new).contains("first one"));
        assert!(next(Approver::None, &new).contains("token create --node"));
    }

    #[test]
    fn address_of_the_host_alone_is_warned_of() {
        let settings =
            |host: &str| Settings { image: "i".to_owned(), host: host.to_owned(), port: "1".to_owned() };
        assert!(of_this_host_alone(&settings("127.0.0.1")).unwrap().contains("--server"));
        assert!(of_this_host_alone(&settings("localhost")).is_some());
        assert_eq!(of_this_host_alone(&settings("10.0.0.10")), None);
    }
}
