//! The pod network as it is found on the node.

use std::path::{Path, PathBuf};

use super::{Fact, modules};
use crate::config::{Config, NetworkPlugin};
use crate::desired::flannel::Subnet;
use crate::desired::modes::Module;
use crate::desired::{Facts, cni, cni_bin_dir, paths};
use crate::ports::Failure;
use crate::ports::root::{FileOnDisk, Root};
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
    /// What calico left; looked for only where it is the plugin.
    pub calico: Calico,
}

impl Default for Found {
    fn default() -> Self {
        Self { confs: Ok(Vec::new()), missing: Vec::new(), subnet: Ok(None), calico: Calico::default() }
    }
}

/// What calico left on the node, and what it can work with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calico {
    /// The name that calico-node goes by.
    pub nodename: Fact<Option<String>>,
    /// The kubeconfig that its configuration names, where that is missing.
    pub missing_kubeconfig: Option<PathBuf>,
    /// The interface of its tunnel.
    pub tunnel: Option<&'static str>,
    /// The tunnels that this kernel can make: `ipip`, `vxlan`. `None` where it does not say.
    pub kernel: Option<Vec<&'static str>>,
}

impl Default for Calico {
    fn default() -> Self {
        Self { nodename: Ok(None), missing_kubeconfig: None, tunnel: None, kernel: None }
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
    let confs = confs(root, &config.network.conf_dir, &lacks);
    Found {
        calico: match config.network.plugin {
            NetworkPlugin::Calico => calico(root, confs.as_deref().unwrap_or_default()),
            _ => Calico::default(),
        },
        confs,
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

fn calico(root: &Root, confs: &[Conf]) -> Calico {
    let networks = confs.iter().filter_map(|conf| conf.network.as_ref().ok());
    let kubeconfig =
        networks.filter(|network| network.has("calico")).find_map(|network| network.kubeconfig.clone());
    let nodename = root.read_following(paths::calico_nodename());
    let text = |file: FileOnDisk| String::from_utf8_lossy(&file.content).trim().to_owned();
    Calico {
        nodename: nodename.map(|file| file.map(text)),
        missing_kubeconfig: kubeconfig.filter(|path| !root.exists(path)),
        tunnel: ["vxlan.calico", "tunl0"]
            .into_iter()
            .find(|interface| root.exists(&Path::new("/sys/class/net").join(interface))),
        kernel: kernel(root),
    }
}

/// A module that is there or part of the kernel has a directory, since both have a parameter; one that can be loaded
/// stands in the list of those. A container may see no modules at all, and the daemon's sandbox hides the lists.
fn kernel(root: &Root) -> Option<Vec<&'static str>> {
    let present = Path::new("/sys/module");
    if !root.exists(present) {
        return None;
    }
    let release = modules::release(root);
    let found = ["ipip", "vxlan"].map(|module| {
        let is_present = root.exists(&present.join(module));
        (module, if is_present { Module::Present } else { modules::on_disk(root, &release, module) })
    });
    let is_told = found.iter().all(|(_, state)| *state != Module::Unknown);
    let there = found.iter().filter(|(_, state)| *state != Module::Absent).map(|(module, _)| *module);
    is_told.then(|| there.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = Root::new(directory.path());
        (directory, root)
    }

    #[test]
    fn what_calico_left_is_found() {
        let conf = r#"{"name": "k8s-pod-network", "plugins": [{"type": "calico", "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}}]}"#;
        let files = [
            ("etc/cni/net.d/10-calico.conflist", conf),
            ("opt/cni/bin/calico", ""),
            ("var/lib/calico/nodename", "n1\n"),
            ("sys/class/net/vxlan.calico/mtu", "1450"),
            ("sys/module/vxlan/version", ""),
            ("proc/sys/kernel/osrelease", "6.1.0\n"),
            (
                "lib/modules/6.1.0/modules.dep",
                "kernel/net/ipv4/ipip.ko.xz: kernel/net/ipv4/ip_tunnel.ko.xz\n",
            ),
        ];
        let (_directory, root) = machine(&files);
        let lacks = |program: &str| !root.exists(&Path::new("/opt/cni/bin").join(program));
        let confs = confs(&root, Path::new("/etc/cni/net.d"), &lacks).unwrap();
        assert_eq!(confs[0].missing, []);
        let found = calico(&root, &confs);
        assert_eq!(found.nodename.as_ref().unwrap().as_deref(), Some("n1"));
        assert_eq!(found.missing_kubeconfig, Some("/etc/cni/net.d/calico-kubeconfig".into()));
        assert_eq!((found.tunnel, found.kernel), (Some("vxlan.calico"), Some(vec!["ipip", "vxlan"])));
        // As the daemon's sandbox has it: the lists can't be reached, and what is not loaded is not thought absent.
        let hidden =
            [("sys/module/vxlan/version", ""), ("proc/sys/kernel/osrelease", "6.1.0\n"), ("lib/modules", "")];
        let (directory, root) = machine(&hidden);
        assert_eq!(calico(&root, &[]).kernel, None);
        std::fs::create_dir(directory.path().join("sys/module/ipip")).unwrap();
        assert_eq!(calico(&root, &[]).kernel, Some(vec!["ipip", "vxlan"]));
        let (_directory, bare) = machine(&[]);
        assert_eq!(calico(&bare, &[]), Calico::default());
    }
}
