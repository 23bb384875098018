//! `kn-agent cluster init`.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::output::{self, OutputArgs};
use crate::cluster::client::Cluster;
use crate::cluster::init::{
    self, APPROVER_KUBECONFIG, Applied, Approver, Backend, Cni, Flannel, Options, Outcome, Release, Unusable,
};
use crate::names::{ApiServerUrl, Cidr};

/// Create what joining needs: role bindings, the approver's rights and, where asked to, the approver itself.
///
/// Tokens of `kn-agent token create` may then ask for certificates, nodes may renew their own, and the approver has
/// just the rights it needs, in a namespace of its own. Running it again changes nothing; what an earlier version made
/// and nobody needs any more is taken away. Each object is printed with what became of it: created, unchanged, changed
/// or removed.
///
/// The approver, which decides what nodes ask for, runs best on a control-plane host as a unit of systemd; in the cluster
/// it needs a node to run on, so that a person lets `kn-agent approver` run until the first node is Ready.
///
/// `--cni flannel` has flannel make the pod network. What is not given stays as it is in the cluster, or is the default.
/// `--cni calico` applies a release of calico's after it has been looked at: its controllers must be one, replaced at once
/// (strategy Recreate), and on the host's network where its data are in etcd. They are added where it has none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kn-agent cluster init --dry-run                 what would change, as a diff; changes nothing
  kn-agent cluster init                           the rights alone
  kn-agent cluster init --approver unit --kubeconfig /etc/kubernetes/admin.conf
                                                  on a control-plane host: the approver as a unit of it
  kn-agent cluster init --approver deployment --image registry.example/kn-agent:0.1.0
  kn-agent cluster init --cni flannel --pod-cidr 10.244.0.0/16
                                                  flannel's pod network too
  kn-agent cluster init --cni calico --manifest calico.yaml
                                                  calico's, as its release has it")]
pub(super) struct Args {
    /// Ask the server what would change, show it as a diff, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Where the approver is to run [default: where it does; in a new cluster nowhere]
    #[arg(long, value_name = "WHERE")]
    approver: Option<Where>,
    /// The approver's image, for --approver deployment [default: that of the Deployment that is there]
    #[arg(long, value_name = "IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    image: Option<String>,
    /// Where the approver's credentials go, for --approver unit
    #[arg(long, value_name = "FILE", default_value = APPROVER_KUBECONFIG)]
    approver_kubeconfig: PathBuf,
    /// Write the approver's credentials and start nothing, for --approver unit
    #[arg(long)]
    no_start: bool,
    /// The API server as the approver reaches it [default: the kubeconfig's]
    #[arg(long, value_name = "URL")]
    server: Option<ApiServerUrl>,
    /// Have the first certificate of token holders approved unseen, by the controller-manager
    ///
    /// Whoever holds such a token (kn-agent token create --any-node --auto-approve) can become any node of the cluster.
    /// Other tokens are not concerned.
    #[arg(long, value_name = "WHOSE")]
    auto_approve: Option<AutoApprove>,
    /// Let this user of the API server's static token file ask for certificates too
    #[arg(long, value_name = "USER", num_args = 0..=1, default_missing_value = "kubelet-bootstrap",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    static_user: Option<String>,
    /// Whose pod network is to be in the cluster [default: whose it is]
    #[arg(long, value_name = "WHOSE")]
    cni: Option<Whose>,
    /// calico's release: calico.yaml or calico-etcd.yaml, for --cni calico
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    flannel: FlannelArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// What `--cni flannel` takes.
#[derive(Debug, Clone, Default, clap::Args)]
struct FlannelArgs {
    /// flanneld's image, for --cni flannel [default: ghcr.io/flannel-io/flannel:v0.28.10]
    #[arg(long, value_name = "IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    cni_image: Option<String>,
    /// The image of flannel's CNI plugin, for --cni flannel [default: ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3]
    #[arg(long, value_name = "IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    cni_plugin_image: Option<String>,
    /// Where the nodes' runtime looks for CNI plugins, for --cni flannel [default: /opt/cni/bin; Debian: /usr/lib/cni]
    #[arg(long, value_name = "DIR")]
    cni_bin_dir: Option<PathBuf>,
    /// How packets go from node to node, for --cni flannel [default: vxlan]
    #[arg(long, value_name = "HOW")]
    cni_backend: Option<Backend>,
    /// The block of all pods, kube-controller-manager's --cluster-cidr, for --cni flannel [default: 10.244.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Option<Cidr>,
}

impl FlannelArgs {
    fn flag(&self) -> Option<&'static str> {
        let given = [
            ("--cni-image", self.cni_image.is_some()),
            ("--cni-plugin-image", self.cni_plugin_image.is_some()),
            ("--cni-bin-dir", self.cni_bin_dir.is_some()),
            ("--cni-backend", self.cni_backend.is_some()),
            ("--pod-cidr", self.pod_cidr.is_some()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Whose {
    /// flannel's
    Flannel,
    /// calico's
    Calico,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Where {
    /// Nowhere that is seen to here; a Deployment that is there stays as it is
    None,
    /// On this host, as kn-agent-approver.service
    Unit,
    /// In the cluster, as a Deployment
    Deployment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AutoApprove {
    /// Of the holder of any token of `kn-agent token create --any-node --auto-approve`
    AnyToken,
}

/// Version of the document's shape; a field is only ever added within one.
pub const SCHEMA: &str = "kn-agent.io/cluster-init/v1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, anyhow::Error> {
    let options = options(args, Path::new("/run/systemd/system").is_dir())?;
    let cluster = Cluster::connect(args.kubeconfig.as_deref()).await?;
    let outcome = Box::pin(init::init(&cluster, &options)).await?;
    let document = Document { schema: SCHEMA, outcome: &outcome };
    output::print(args.output.output, &document, |document| text(document.outcome), out)?;
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Args, systemd_runs: bool) -> Result<Options, Unusable> {
    let is = |place| args.approver == Some(place);
    for (flag, given, place) in [
        ("--image", args.image.is_some(), Where::Deployment),
        ("--no-start", args.no_start, Where::Unit),
        ("--approver-kubeconfig", args.approver_kubeconfig != Path::new(APPROVER_KUBECONFIG), Where::Unit),
    ] {
        if given && !is(place) {
            let place = if place == Where::Unit { "--approver unit" } else { "--approver deployment" };
            return Err(Unusable::Flag { flag, place });
        }
    }
    let approver = match args.approver {
        None => Approver::AsFound,
        Some(Where::None) => Approver::None,
        Some(Where::Deployment) => Approver::Deployment { image: args.image.clone() },
        Some(Where::Unit) => {
            if !args.no_start && args.approver_kubeconfig != Path::new(APPROVER_KUBECONFIG) {
                return Err(Unusable::OtherFile(args.approver_kubeconfig.clone()));
            }
            if !args.no_start && !systemd_runs {
                tracing::warn!(
                    "systemd does not run here: the credentials are written and nothing is started"
                );
            }
            Approver::Unit {
                kubeconfig: std::path::absolute(&args.approver_kubeconfig)
                    .unwrap_or_else(|_| args.approver_kubeconfig.clone()),
                start: !args.no_start && systemd_runs,
            }
        }
    };
    Ok(Options {
        auto_approve: args.auto_approve == Some(AutoApprove::AnyToken),
        static_user: args.static_user.clone(),
        approver,
        cni: cni(args)?,
        server: args.server.clone(),
        dry_run: args.dry_run,
    })
}

fn cni(args: &Args) -> Result<Cni, Unusable> {
    let misplaced = |flag, place| Err(Unusable::Flag { flag, place });
    match (args.cni, args.flannel.flag(), &args.manifest) {
        (None | Some(Whose::Flannel), _, Some(_)) => misplaced("--manifest", "--cni calico"),
        (None | Some(Whose::Calico), Some(flag), _) => misplaced(flag, "--cni flannel"),
        (None, None, None) => Ok(Cni::AsFound),
        (Some(Whose::Calico), None, None) => Err(Unusable::NoManifest),
        (Some(Whose::Calico), None, Some(path)) => {
            let file = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Unusable::Unreadable { file: file.clone(), why: error.to_string() })?;
            Ok(Cni::Calico(Release::read(&file, &text)?))
        }
        (Some(Whose::Flannel), _, None) => flannel(&args.flannel).map(Cni::Flannel),
    }
}

fn flannel(args: &FlannelArgs) -> Result<Flannel, Unusable> {
    let FlannelArgs { cni_image, cni_plugin_image, cni_bin_dir, cni_backend, pod_cidr } = args.clone();
    if let Some(path) = cni_bin_dir.as_ref().filter(|path| !path.is_absolute()) {
        return Err(Unusable::RelativePath { flag: "--cni-bin-dir", path: path.clone() });
    }
    Ok(Flannel {
        image: cni_image,
        plugin_image: cni_plugin_image,
        bin_dir: cni_bin_dir,
        backend: cni_backend,
        pod_cidr,
    })
}

fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for Applied { kind, name, result, fields, diff } in &outcome.objects {
        let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
        let dry = if outcome.dry_run { " (dry run)" } else { "" };
        let _ = writeln!(text, "{kind} {name}: {result}{fields}{dry}");
        if outcome.dry_run {
            diff.lines().for_each(|line| {
                let _ = writeln!(text, "    {line}");
            });
        }
    }
    for warning in &outcome.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    if !outcome.dry_run {
        for step in &outcome.next {
            let _ = writeln!(text, "next: {step}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cluster::init::Change;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn chosen(words: &[&str], systemd_runs: bool) -> Result<Approver, Unusable> {
        let args = Program::try_parse_from([&["init"], words].concat()).unwrap().args;
        options(&args, systemd_runs).map(|options| options.approver)
    }

    #[test]
    fn place_of_the_approver_is_what_was_asked_for() {
        let unit = |kubeconfig: &str, start| Approver::Unit { kubeconfig: kubeconfig.into(), start };
        assert_eq!(chosen(&[], true).unwrap(), Approver::AsFound);
        assert_eq!(chosen(&["--approver", "none"], true).unwrap(), Approver::None);
        assert_eq!(chosen(&["--approver", "unit"], true).unwrap(), unit(APPROVER_KUBECONFIG, true));
        assert_eq!(chosen(&["--approver", "unit"], false).unwrap(), unit(APPROVER_KUBECONFIG, false));
        let other = ["--approver", "unit", "--no-start", "--approver-kubeconfig", "/x"];
        assert_eq!(chosen(&other, true).unwrap(), unit("/x", false));
        let image = Some("a:1".to_owned());
        let deployment = ["--approver", "deployment", "--image", "a:1"];
        assert_eq!(chosen(&deployment, true).unwrap(), Approver::Deployment { image });
    }

    #[test]
    fn flags_of_another_place_are_refused_and_so_is_a_file_that_the_unit_does_not_read() {
        for words in [
            &["--image", "a:1"][..],
            &["--approver", "unit", "--image", "a:1"],
            &["--no-start"],
            &["--approver", "deployment", "--no-start"],
            &["--approver-kubeconfig", "/x"],
            &["--approver", "unit", "--approver-kubeconfig", "/x"],
            &["--pod-cidr", "10.244.0.0/16"],
            &["--manifest", "/x"],
            &["--cni", "flannel", "--manifest", "/x"],
            &["--cni", "calico", "--pod-cidr", "10.244.0.0/16"],
            &["--cni", "calico"],
            &["--cni", "flannel", "--cni-bin-dir", "opt/cni"],
        ] {
            let error = chosen(words, true).unwrap_err().to_string();
            assert!(error.contains("--"), "{words:?}: {error}");
        }
    }

    fn outcome(dry_run: bool) -> Outcome {
        let object = |name: &str, result, fields: &[&str]| Applied {
            kind: "ClusterRoleBinding".to_owned(),
            name: name.to_owned(),
            result,
            fields: fields.iter().map(|&f| f.to_owned()).collect(),
            diff: if result == Change::Changed { "-a\n+b\n".to_owned() } else { String::new() },
        };
        Outcome {
            dry_run,
            objects: vec![object("a", Change::Created, &[]), object("b", Change::Changed, &["subjects"])],
            warnings: vec!["beware".to_owned()],
            next: vec!["go on".to_owned()],
        }
    }

    #[test]
    fn each_object_is_a_line_then_come_warnings_and_what_is_next() {
        assert_eq!(
            text(&outcome(false)),
            "ClusterRoleBinding a: created\nClusterRoleBinding b: changed (subjects)\nwarning: beware\nnext: go on\n"
        );
        let outcome = outcome(false);
        let document = serde_json::to_value(Document { schema: SCHEMA, outcome: &outcome }).unwrap();
        assert_eq!(document["schema"], "kn-agent.io/cluster-init/v1");
        assert_eq!(document["objects"][1]["result"], "changed");
    }

    #[test]
    fn dry_run_shows_the_difference_below_each_object() {
        assert_eq!(
            text(&outcome(true)),
            "ClusterRoleBinding a: created (dry run)\nClusterRoleBinding b: changed (subjects) (dry run)\n    -a\n    +b\n\
             warning: beware\n"
        );
    }
}
