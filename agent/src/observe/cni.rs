//! The pod network as it is found on the node.

use std::path::Path;

use super::Fact;
use crate::config::{Config, NetworkPlugin};
use crate::desired::flannel::Subnet;
use crate::desired::{Facts, cni, cni_bin_dir, paths};
use crate::ports::Failure;
use crate::ports::root::Root;
use crate::reason::Reason;

/// The pod network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Configurations in the order of their names: a runtime takes the first.
    pub confs: Fact<Vec<Conf>>,
    /// Programs that must be there before the network's own DaemonSet comes, and are nowhere.
    pub missing: Vec<&'static str>,
    /// What flanneld left; looked for only where it is the plugin.
    pub subnet: Fact<Option<Subnet>>,
}

impl Default for Found {
    fn default() -> Self {
        Self { confs: Ok(Vec::new()), missing: Vec::new(), subnet: Ok(None) }
    }
}

/// A configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    /// Its file, in the directory of configurations.
    pub file: String,
    /// What it says, or why no runtime would take it.
    pub network: Result<cni::Network, String>,
    /// Programs of it that are not in the directory of plugins, each with the usual directory that has it.
    pub missing: Vec<Missing>,
}

/// A program that is not where it is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub program: String,
    /// Where else it is.
    pub elsewhere: Option<&'static str>,
}

/// Looks.
pub(super) fn look(root: &Root, config: &Config, facts: &Facts) -> Found {
    let directory = cni_bin_dir(config, facts);
    let lacks = |program: &str| !root.exists(&directory.join(program));
    let needed = cni::needed(config.network.plugin).iter().copied();
    Found {
        confs: confs(root, &config.network.conf_dir, &lacks),
        missing: needed.filter(|program| lacks(program)).collect(),
        subnet: match config.network.plugin {
            NetworkPlugin::Flannel => subnet(root),
            _ => Ok(None),
        },
    }
}

fn confs(root: &Root, directory: &Path, lacks: &dyn Fn(&str) -> bool) -> Fact<Vec<Conf>> {
    let is_conf = |name: &String| {
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("conf" | "conflist" | "json")) && !name.starts_with('.')
    };
    let mut confs = Vec::new();
    for file in root.list(directory)?.into_iter().filter(is_conf) {
        let network = match root.read_following(&directory.join(&file)) {
            Ok(Some(found)) => cni::Network::read(&file, &found.content),
            // It went since the directory was listed.
            Ok(None) => continue,
            Err(failure) => Err(failure.message),
        };
        let programs = network.as_ref().map_or(&[][..], |network| &network.programs);
        let missing =
            |program: &String| Missing { program: program.clone(), elsewhere: elsewhere(root, program) };
        let missing = programs.iter().filter(|program| lacks(program)).map(missing).collect();
        confs.push(Conf { file, network, missing });
    }
    Ok(confs)
}

fn elsewhere(root: &Root, program: &str) -> Option<&'static str> {
    super::facts::CNI_SEARCHED
        .iter()
        .copied()
        .find(|directory| root.exists(&Path::new(directory).join(program)))
}

fn subnet(root: &Root) -> Fact<Option<Subnet>> {
    let path = paths::flannel_subnet();
    let Some(file) = root.read_following(path)? else { return Ok(None) };
    let subnet = Subnet::read(&String::from_utf8_lossy(&file.content));
    let wrong = |why| Failure::new(Reason::FlannelPending, format!("`{}` {why}", path.display()));
    subnet.map(Some).map_err(wrong)
}
