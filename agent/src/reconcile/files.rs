//! Files that others may change: an operator, the kubelet that renews its certificates, a network plugin.

use std::path::Path;

use tokio::sync::mpsc;

use super::{Reconciler, Wake};
use crate::config::{NetworkPlugin, TokenSource};
use crate::desired::paths;
use crate::plan::{Phase, Plan, Verdict};
use crate::ports::changes::Changes;

impl Reconciler {
    /// Once the host's files are there, whoever changes one of them wakes the loop.
    pub(super) fn follow_files(&mut self, plan: &Plan) {
        if !plan.verdicts.get(&Phase::Host).is_some_and(Verdict::is_satisfied) {
            return;
        }
        let conf_dir = self.target.config.network.conf_dir.clone();
        let ours = [paths::kubelet_config().parent(), Some(paths::kubelet_pki()), paths::joined().parent()];
        let config = self.target.config.clone();
        let pair = config.identity.supplied.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        let supplied = pair.chain(&config.proxy.kubeconfig).filter_map(|path| path.parent());
        let files: Vec<&Path> =
            ours.into_iter().flatten().chain([conf_dir.as_path()]).chain(supplied).collect();
        self.follow_directories("files", &files, || Wake::Files);
        self.follow_directories("unit files", &[paths::units()], || Wake::UnitFiles);
        // Made by whoever mounts it into flanneld's pod; until then a waiting network is looked at every 5 s.
        let flannel = paths::flannel_subnet().parent().filter(|path| self.target.root.exists(path));
        if let Some(directory) = flannel.filter(|_| config.network.plugin == NetworkPlugin::Flannel) {
            self.follow_directories("flanneld", &[directory], || Wake::Files);
        }
    }

    /// A token that is put into its file is used at once.
    pub(super) fn follow_token(&mut self) {
        let Some(TokenSource::File(path)) = &self.target.config.identity.token else { return };
        let Some(directory) = path.parent().map(Path::to_owned) else { return };
        self.follow_directories("token", &[&directory], || Wake::Token);
    }

    fn follow_directories(&mut self, name: &str, directories: &[&Path], what: fn() -> Wake) {
        if self.watches.contains_key(name) {
            return;
        }
        let real: Vec<_> = directories.iter().map(|path| self.target.root.path(path)).collect();
        let real: Vec<&Path> = real.iter().map(std::path::PathBuf::as_path).collect();
        match Changes::of(&real) {
            Ok(changes) => {
                let watch = self.background.spawn(wake_on(changes, self.wake.clone(), what, name.to_owned()));
                self.watches.insert(name.to_owned(), watch);
            }
            Err(error) => tracing::warn!(%error, "changed {name} are noticed only with the next pass"),
        }
    }
}

async fn wake_on(mut changes: Changes, wake: mpsc::Sender<Wake>, what: fn() -> Wake, name: String) {
    loop {
        if let Err(error) = changes.next().await {
            return tracing::warn!(%error, "changed {name} are noticed only with the next pass");
        }
        if wake.send(what()).await.is_err() {
            return;
        }
    }
}
