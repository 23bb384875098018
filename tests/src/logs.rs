//! What kubelet and kube-proxy say of flags and fields they do not know: nothing, of what the agent writes.

use anyhow::{Result, ensure};

use crate::Node;

/// How they say it, in lower case: pflag and Go's own flags, and the decoders of Kubernetes' configuration files.
const MARKS: [&str; 6] = [
    "unknown flag",
    "unknown shorthand flag",
    "flag provided but not defined",
    "lenient decoding",
    "strict decoding",
    "unknown field",
];

/// What is spoilt for the control.
const MISSPELT: &str = "misspeltOnPurpose";

/// Runs a program with the file that the agent wrote and a field too many, then with a flag too many, each in a unit of
/// its own. Its paths lead nowhere, so that it ends when it has read them, and in namespaces of its own.
const CONTROL: &str = r#"
sed 's#/etc/kubernetes#/root/none#g; s#/var/lib/kubelet#/root/none#g' "$2" > /root/misspelt.yaml
echo "$3: true" >> /root/misspelt.yaml
more=
[ "$1" = kube-proxy ] || more="--kubeconfig=/root/none/kubeconfig --root-dir=/root/none/root"
control() {
    unit=$1; shift
    systemd-run --quiet --wait --unit="$unit" unshare --net --mount timeout 30 "$@" || true
    systemctl reset-failed "$unit" 2>/dev/null || true
}
control "lab-field-$1" "/usr/local/bin/$1" --config=/root/misspelt.yaml $more
control "lab-flag-$1" "/usr/local/bin/$1" "--$3=1"
rm -r /root/misspelt.yaml /root/none 2>/dev/null || true
"#;

/// Fails where either said so; otherwise how many lines were read. The same search finds a field and a flag that each is
/// given on purpose.
pub fn prove(node: &Node) -> Result<usize> {
    let mut lines = 0;
    for (program, file) in [("kubelet", "kubelet.yaml"), ("kube-proxy", "kube-proxy.yaml")] {
        let log = journal(node, program)?;
        ensure!(!log.is_empty(), "{program} has no log");
        let found = marked(&log);
        ensure!(found.is_empty(), "{program} says:\n{}", found.join("\n"));
        lines += log.lines().count();
        node.sh(CONTROL, &[program, &format!("/etc/kubernetes/{file}"), MISSPELT])?;
        for control in ["field", "flag"] {
            let log = journal(node, &format!("lab-{control}-{program}"))?;
            let is_found = marked(&log).iter().any(|line| line.contains(MISSPELT));
            ensure!(is_found, "the control: the search finds no misspelt {control} of {program}:\n{log}");
        }
    }
    Ok(lines)
}

fn journal(node: &Node, unit: &str) -> Result<String> {
    node.exec(&["journalctl", "--sync"])?;
    node.exec(&["journalctl", "--unit", unit, "--output=cat", "--no-pager"])
}

fn marked(log: &str) -> Vec<&str> {
    let is_marked = |line: &&str| MARKS.iter().any(|mark| line.to_lowercase().contains(mark));
    log.lines().filter(is_marked).collect()
}
