//! Where a node keeps its certificates, and who uses them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// What the kubelet may take between two system calls on a busy machine: 200 ms were exceeded where three processes more
/// than there are processors wanted to run.
const BETWEEN: Duration = Duration::from_secs(2);

/// A certificate of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The kubelet's, for the API server.
    KubeletClient,
    /// The kubelet's, for those who ask it.
    KubeletServing,
    /// kube-proxy's, for the API server.
    ProxyClient,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::KubeletClient, Self::KubeletServing, Self::ProxyClient];

    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::KubeletClient | Self::KubeletServing => "var/lib/kubelet/pki",
            Self::ProxyClient => "var/lib/kube-proxy/pki",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::KubeletClient => "kubelet-client-current.pem",
            Self::KubeletServing => "kubelet-server-current.pem",
            Self::ProxyClient => "kube-proxy-client.pem",
        }
    }

    /// What is there, in a node's root as the host sees it.
    ///
    /// The kubelet takes its link away right before it gives the next one its name (client-go, certificate_store.go,
    /// `updateSymlink`): while the next one is there, the link is looked for again.
    pub(super) fn read(self, root: &Path) -> Result<String> {
        let directory = root.join(self.directory());
        let next = directory.join(self.file().replace("-current.pem", "-updated.pem"));
        let begin = Instant::now();
        while begin.elapsed() < BETWEEN {
            let found = self.read_once(&directory);
            if found.is_ok() {
                return found;
            }
            if !next.is_symlink() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        // It may have got its name between the two looks.
        self.read_once(&directory)
    }

    fn read_once(self, directory: &Path) -> Result<String> {
        let path = directory.join(self.file());
        // A link of the kubelet's is absolute, and would lead to the host's root.
        let target = fs::read_link(&path).ok().and_then(|link| link.file_name().map(PathBuf::from));
        let path = target.map_or(path, |name| directory.join(name));
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KubeletClient => "kubelet, client",
            Self::KubeletServing => "kubelet, serving",
            Self::ProxyClient => "kube-proxy, client",
        })
    }
}
