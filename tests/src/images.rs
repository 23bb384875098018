//! Container images without a registry: busybox, imported once into the data directories of docker and containerd that
//! nodes start with.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{Node, Run, cache, node::NodeSpec, process::run};

/// What holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "kn-agent-lab/pause:1";

/// busybox with its usual names, for pods; serves nothing by itself.
pub const DEMO_IMAGE: &str = "kn-agent-lab/demo:1";

const IMPORT: &str = r#"
set -e
systemctl start docker
image=$(mktemp -d)
mkdir "$image/bin" "$image/tmp" "$image/www"
cp /bin/busybox "$image/bin/busybox"
for name in cat hostname httpd ls nslookup sh sleep wget; do ln -s busybox "$image/bin/$name"; done
tar -C "$image" -c . > /tmp/image.tar
docker import -c 'ENTRYPOINT ["/bin/busybox", "sleep", "2147483647"]' /tmp/image.tar "$1"
docker import -c 'CMD ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"]' -c 'ENV PATH=/bin' /tmp/image.tar "$2"
systemctl stop docker docker.socket containerd
"#;

/// From docker to containerd, where the kubelet looks for them.
const HAND_OVER: &str = "
set -e
systemctl start docker
docker save \"$@\" > /tmp/images.tar
systemctl stop docker docker.socket containerd
systemctl start containerd
ctr --namespace k8s.io images import /tmp/images.tar
systemctl stop containerd
";

/// A docker data directory that holds the images, made on a node where it is missing.
pub(crate) fn ensure(root: &str, spec: NodeSpec) -> Result<PathBuf> {
    let key = format!("docker-{root}-{}", cache::digest(&format!("{PAUSE_IMAGE}{DEMO_IMAGE}{IMPORT}")));
    let entry = cache::entry(&key, |directory| {
        let run_ = Run::start(&format!("images-{}", std::process::id()))?;
        let mut node = Node::boot_spec(&run_, "images", spec)?;
        node.sh(IMPORT, &[PAUSE_IMAGE, DEMO_IMAGE]).context("cannot import the images")?;
        node.power_off()?;
        run(Command::new("cp").arg("--archive").arg(node.docker_directory()).arg(directory.join("docker")))?;
        Ok(())
    })?;
    Ok(entry.join("docker"))
}

/// A containerd data directory that holds the images, made on a node with docker's.
pub(crate) fn ensure_for_containerd(root: &str, spec: &NodeSpec) -> Result<PathBuf> {
    let key = format!(
        "containerd-{root}-{}",
        cache::digest(&format!("{PAUSE_IMAGE}{DEMO_IMAGE}{IMPORT}{HAND_OVER}"))
    );
    let entry = cache::entry(&key, |directory| {
        let run_ = Run::start(&format!("images-{}", std::process::id()))?;
        let empty = directory.join("empty");
        fs::create_dir(&empty)?;
        let spec = NodeSpec { containerd: Some(empty.clone()), ..spec.clone() };
        let mut node = Node::boot_spec(&run_, "images", spec)?;
        node.sh(HAND_OVER, &[PAUSE_IMAGE, DEMO_IMAGE]).context("cannot hand the images over")?;
        node.power_off()?;
        run(Command::new("cp")
            .arg("--archive")
            .arg(node.containerd_directory())
            .arg(directory.join("containerd")))?;
        fs::remove_dir(empty)?;
        Ok(())
    })?;
    Ok(entry.join("containerd"))
}
