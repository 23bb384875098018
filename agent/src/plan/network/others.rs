//! A network that others make: a DaemonSet writes its configuration, and what its program stands on.

use super::super::preflight::is_ignored;
use super::super::{Step, Verdict, View, later};
use super::{conflict, forwarded, lacking, plugin_missing, pod_cidr};
use crate::config::NetworkPlugin;
use crate::desired::{cni, cni_bin_dir, paths};
use crate::observe::cni::Conf;
use crate::reason::Reason;

/// Its configuration is there, will be used, and can be worked with.
pub(super) fn verdict(view: View<'_>, plugin: NetworkPlugin) -> Verdict {
    let confs = match &view.observed.cni.confs {
        Ok(confs) => confs,
        Err(failure) => return Verdict::from_failure(failure, None),
    };
    if let Some(why) = lacking(view).filter(|_| !is_ignored(view, "cni-plugins")) {
        return plugin_missing(view, why);
    }
    let theirs = cni::of_others(plugin).map(|(_, kind)| kind);
    let real = theirs.map_or_else(|| confs.iter().find(|conf| !is_ours(conf)), |kind| of(confs, kind));
    if let Some(step) = real.and_then(|_| leftover(view, confs)) {
        return Verdict::Act(vec![step]);
    }
    if let Some(why) = conflict(view).filter(|_| !is_ignored(view, "cni-conf")) {
        return Verdict::unmet(Reason::CniConflict, why);
    }
    let used = match theirs {
        Some(kind) if real.is_none() => return absent(view, kind, plugin),
        _ => confs.first(),
    };
    let Some(used) = used else { return missing(view, "") };
    if let Some((reason, message)) = unusable(view, used).filter(|_| !is_ignored(view, "cni-programs")) {
        return Verdict::Unmet { reason, message, until: Some(later(view.now)) };
    }
    match plugin {
        NetworkPlugin::Flannel => flannel(view),
        NetworkPlugin::Calico => calico(view),
        _ => {
            forwarded(view).unwrap_or_else(|| Verdict::Satisfied(format!("CNI configuration {}", used.file)))
        }
    }
}

/// The first configuration with a plugin of this type.
pub(super) fn of<'a>(confs: &'a [Conf], kind: &str) -> Option<&'a Conf> {
    confs.iter().find(|conf| conf.network.as_ref().is_ok_and(|network| network.has(kind)))
}

fn is_ours(conf: &Conf) -> bool {
    conf.network.as_ref().is_ok_and(cni::Network::is_ours)
}

/// The bridge's configuration, written while the bridge was what was wanted: it stands in until the real one is there,
/// and then leaves.
fn leftover(view: View<'_>, confs: &[Conf]) -> Option<Step> {
    let path = cni::bridge_path(view.config);
    let name = path.file_name()?.to_str()?;
    confs.iter().any(|conf| conf.file == name && is_ours(conf)).then_some(Step::RemoveFile(path))
}

fn missing(view: View<'_>, note: &str) -> Verdict {
    let directory = view.config.network.conf_dir.display();
    Verdict::Unmet {
        reason: Reason::CniMissing,
        message: format!("no CNI configuration in `{directory}` yet{note}"),
        until: Some(later(view.now)),
    }
}

/// The configuration of a network that is known by its plugin's type is not there: flanneld ends without a block of
/// addresses for the Node.
fn absent(view: View<'_>, kind: &str, plugin: NetworkPlugin) -> Verdict {
    if plugin == NetworkPlugin::Flannel && pod_cidr(view).is_none() {
        return Verdict::unmet(
            Reason::PodCidrMissing,
            "the Node has no podCIDR yet, and flanneld ends without",
        );
    }
    let others = view.observed.cni.confs.as_deref().unwrap_or_default().iter().map(|conf| conf.file.as_str());
    let others: Vec<&str> = others.collect();
    if others.is_empty() {
        return missing(view, "");
    }
    missing(view, &format!(" that is {kind}'s; there is {}", others.join(", ")))
}

/// Why a runtime could not work with a configuration.
pub(super) fn unusable(view: View<'_>, conf: &Conf) -> Option<(Reason, String)> {
    if let Err(why) = &conf.network {
        let path = view.config.network.conf_dir.join(&conf.file);
        return Some((Reason::CniConfUnusable, format!("`{}` {why}", path.display())));
    }
    let directory = cni_bin_dir(view.config, &view.observed.facts).display();
    let told = conf.missing.iter().map(|missing| match missing.elsewhere {
        Some(elsewhere) => format!("{} (it is in `{elsewhere}`)", missing.program),
        None => missing.program.clone(),
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| {
        let message = format!("`{}` needs what `{directory}` lacks: {}", conf.file, told.join(", "));
        (Reason::CniPluginMissing, message)
    })
}

/// flanneld has said which addresses are this node's: its plugin makes no pod without that.
fn flannel(view: View<'_>) -> Verdict {
    let pending = |message: String| Verdict::Unmet {
        reason: Reason::FlannelPending,
        message,
        until: Some(later(view.now)),
    };
    let path = paths::flannel_subnet().display();
    let subnet = match &view.observed.cni.subnet {
        Ok(Some(subnet)) => subnet,
        Ok(None) => return pending(format!("flanneld has not written `{path}` yet")),
        Err(failure) => return pending(failure.message.clone()),
    };
    match pod_cidr(view) {
        None => Verdict::unmet(Reason::PodCidrMissing, "the Node has no podCIDR, and flanneld ends without"),
        Some(pod_cidr) if !subnet.is_of(&pod_cidr) => pending(format!(
            "`{path}` is of another life: {}, and the Node's podCIDR is {pod_cidr}",
            subnet.subnet
        )),
        Some(pod_cidr) => Verdict::Satisfied(format!("flannel, pods from {pod_cidr}")),
    }
}

/// calico-node has said which node this is, and its plugin has what it reaches the API server with: it makes no pod
/// without either.
fn calico(view: View<'_>) -> Verdict {
    let pending = |message: String| Verdict::Unmet {
        reason: Reason::CalicoPending,
        message,
        until: Some(later(view.now)),
    };
    let (found, name) = (&view.observed.cni.calico, &view.config.node.name);
    if let Some(missing) = &found.missing_kubeconfig {
        return pending(format!("calico's configuration names `{}`, which is not there", missing.display()));
    }
    let path = paths::calico_nodename().display();
    let tunnel =
        || found.tunnel.map_or_else(|| "without a tunnel".to_owned(), |tunnel| format!("over {tunnel}"));
    match &found.nodename {
        Err(failure) => Verdict::from_failure(failure, Some(later(view.now))),
        Ok(None) => pending(format!("calico-node has not written `{path}` yet")),
        Ok(Some(other)) if other != name.as_str() => {
            pending(format!("`{path}` is of another node: {other}, and this one is {name}"))
        }
        Ok(Some(_)) => Verdict::Satisfied(format!("calico, {}", tunnel())),
    }
}

/// The tunnels that calico could use, for `check`: its releases take ipip where nobody says otherwise.
pub(in crate::plan) fn tunnels(view: View<'_>) -> Result<String, (Reason, String)> {
    let Some(kernel) = &view.observed.cni.calico.kernel else {
        return Ok("not told: modules are hidden here".to_owned());
    };
    match (kernel.contains(&"ipip"), kernel.contains(&"vxlan")) {
        (true, true) => Ok("ipip and vxlan".to_owned()),
        (true, false) => Ok("ipip, no vxlan".to_owned()),
        (false, true) => Ok("vxlan, no ipip: calico.yaml wants it unless CALICO_IPV4POOL_IPIP is Never; calico-vxlan.yaml \
                             does not"
            .to_owned()),
        (false, false) => Err((
            Reason::KernelSetting,
            "this kernel has neither ipip nor vxlan: calico can carry packets by routes alone, between nodes that are \
             neighbours"
                .to_owned(),
        )),
    }
}
