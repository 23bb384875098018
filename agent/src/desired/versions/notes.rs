//! What to do about a setting that is gone, and where that is written: for those that operators meet. Of the rest the data
//! says which field takes the place of a flag, and what the component itself said before it dropped it.

use super::{Component, Sort};

/// What is known beyond the data.
#[derive(Debug)]
pub(super) struct Note {
    component: Component,
    sort: Sort,
    names: &'static [&'static str],
    /// What to do.
    pub(super) hint: &'static str,
    /// Where its end is written.
    pub(super) source: &'static str,
    /// The minor version that dropped it, where none that is supported knew it.
    pub(super) gone: Option<u16>,
}

const DOCKERSHIM: Note = Note {
    component: Component::Kubelet,
    sort: Sort::Flag,
    names: &[
        "docker",
        "docker-endpoint",
        "docker-env-metadata-whitelist",
        "docker-only",
        "docker-root",
        "docker-tls",
        "docker-tls-ca",
        "docker-tls-cert",
        "docker-tls-key",
        "experimental-dockershim-root-directory",
        "image-pull-progress-deadline",
    ],
    hint: "remove it: the kubelet does not speak to docker any more; docker's own settings belong into \
           `runtime.daemonJson`",
    source: "KEP-2221",
    gone: None,
};

const CNI: Note = Note {
    names: &["cni-bin-dir", "cni-cache-dir", "cni-conf-dir", "network-plugin", "network-plugin-mtu"],
    hint: "remove it: CNI is the only way since, and the runtime's affair (`network.confDir`, `network.binDir`)",
    source: "kubernetes/kubernetes#106907",
    ..DOCKERSHIM
};

const KLOG: Note = Note {
    names: &[
        "add-dir-header",
        "alsologtostderr",
        "log-backtrace-at",
        "log-dir",
        "log-file",
        "log-file-max-size",
        "logtostderr",
        "one-output",
        "skip-headers",
        "skip-log-headers",
        "stderrthreshold",
    ],
    hint: "remove it: everything is logged to stderr, which the journal keeps",
    source: "KEP-2845",
    ..DOCKERSHIM
};

/// What only kube-proxy's userspace mode read.
const USERSPACE: Note = Note {
    component: Component::KubeProxy,
    sort: Sort::Field,
    names: &["udpIdleTimeout"],
    hint: "remove it: only the mode `userspace` read it, and that is gone too",
    source: "kubernetes/kubernetes#112133",
    gone: None,
};

static NOTES: [Note; 12] = [
    DOCKERSHIM,
    CNI,
    KLOG,
    Note { component: Component::KubeProxy, ..KLOG },
    USERSPACE,
    Note { sort: Sort::Flag, names: &["udp-timeout"], ..USERSPACE },
    Note {
        names: &["container-runtime"],
        hint: "remove it: every runtime is spoken to over CRI, `runtime.kind` says which",
        source: "CHANGELOG-1.27",
        ..DOCKERSHIM
    },
    Note {
        names: &["pod-infra-container-image"],
        hint: "set `runtime.sandboxImage`",
        source: "kubernetes/kubernetes#133779",
        ..DOCKERSHIM
    },
    Note {
        names: &["dynamic-config-dir"],
        hint: "put the fields into `kubelet.config`",
        source: "KEP-281",
        ..DOCKERSHIM
    },
    Note {
        names: &["register-schedulable"],
        hint: "write a taint into `node.taints`, e.g. `example.com/new:NoSchedule`",
        source: "cmd/kubelet/app/options/options.go",
        ..DOCKERSHIM
    },
    Note {
        names: &["allow-privileged"],
        hint: "remove it: admission decides, see Pod Security",
        source: "kubernetes/kubernetes#77820",
        gone: Some(15),
        ..DOCKERSHIM
    },
    Note {
        names: &["cadvisor-port"],
        hint: "remove it: the same is at /metrics/cadvisor on port 10250",
        source: "kubernetes/kubernetes#65707",
        gone: Some(12),
        ..DOCKERSHIM
    },
];

/// The note on a setting, where there is one.
pub(super) fn find(component: Component, sort: Sort, name: &str) -> Option<&'static Note> {
    NOTES.iter().find(|note| note.component == component && note.sort == sort && note.names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::super::{settings, table};
    use super::*;

    #[test]
    fn notes_are_about_settings_that_are_gone() {
        for note in &NOTES {
            for name in note.names {
                let mut spans = table::spans(note.component, note.sort, name).peekable();
                assert_eq!(spans.peek().is_none(), note.gone.is_some(), "{name}");
                assert!(spans.all(|setting| !setting.is_still_there()), "{name} is still there");
                assert_eq!(find(note.component, note.sort, name).unwrap().hint, note.hint, "{name}");
            }
        }
        assert!(find(Component::Kubelet, Sort::Field, "maxPods").is_none() && !settings().is_empty());
    }
}
