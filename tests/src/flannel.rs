//! flannel as its add-on runs it: flanneld and its CNI plugin, built from their Go modules, in an image of the lab's own
//! with the iptables of the nodes.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{Artefacts, cache, go, process::run};

/// The image's name: both of the add-on's images in one.
pub const FLANNEL_IMAGE: &str = "kn-agent-lab/flannel:1";

const FLANNELD: &str = "github.com/flannel-io/flannel";

/// The plugin as it was before flannel took it over; the same configuration and `subnet.env`. flannel's own repository
/// of it is no module that the proxy has.
const PLUGIN: &str = "github.com/containernetworking/plugins/plugins/meta/flannel";

/// `$1`: a node's root; `$2`: flanneld; `$3`: the plugin; `$4`: where the image's tar goes; `$5`: the image's name. What
/// `docker load` and `ctr images import` take.
const PACK: &str = r#"
set -eu
root=$1
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
image=$stage/image tree=$stage/tree
mkdir -p "$image" "$tree/opt/bin" "$tree/usr/bin" "$tree/usr/sbin" "$tree/usr/lib" "$tree/run" "$tree/tmp"
ln -s usr/bin "$tree/bin"
ln -s usr/sbin "$tree/sbin"
ln -s usr/lib "$tree/lib"
ln -s usr/lib64 "$tree/lib64"
cp "$2" "$tree/opt/bin/flanneld"
cp "$3" "$tree/flannel"
cp "$root/bin/busybox" "$tree/usr/bin/busybox"
for name in cat cp ls mv sh; do ln -s busybox "$tree/usr/bin/$name"; done
cp "$root/usr/sbin/xtables-nft-multi" "$tree/usr/sbin/"
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s xtables-nft-multi "$tree/usr/sbin/$name"
done
copy() { mkdir -p "$tree/$(dirname "$1")" && cp -L "$root/$1" "$tree/$1"; }
(cd "$root" && find usr/lib/*/xtables -name '*.so') | while read -r file; do copy "$file"; done
{ echo usr/sbin/xtables-nft-multi; cd "$root" && find usr/lib/*/xtables -name '*.so'; } | while read -r file; do
    chroot "$root" ldd "/$file" | sed -n 's/.*=> \(\/[^ ]*\) (.*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p'
done | sort -u | while read -r library; do
    case $library in /usr/*) copy "${library#/}" ;; *) copy "usr$library" ;; esac
done
tar --create --file "$image/layer.tar" --directory "$tree" --owner=0 --group=0 .
layer=$(sha256sum "$image/layer.tar" | cut -d ' ' -f 1)
case $(uname -m) in aarch64) arch=arm64 ;; *) arch=amd64 ;; esac
cat > "$image/config.json" <<END
{"architecture":"$arch","os":"linux","config":{"Env":["PATH=/usr/sbin:/usr/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
END
cat > "$image/manifest.json" <<END
[{"Config":"config.json","RepoTags":["$5"],"Layers":["layer.tar"]}]
END
tar --create --file "$4" --directory "$image" manifest.json config.json layer.tar
"#;

/// The image as a tar, made where it is missing.
pub fn flannel_image(artefacts: &Artefacts) -> Result<PathBuf> {
    let version = go::required_version("flannel", FLANNELD)?;
    let programs = cache::entry(&format!("flannel-{version}"), |directory| {
        let setting = (format!("{FLANNELD}/pkg/version.Version"), format!("v{version}"));
        // Its UDP backend is written in C.
        go::build_with_c("flannel", FLANNELD, &directory.join("flanneld"), &[(&setting.0, &setting.1)])?;
        go::build_package("flannel-cni", PLUGIN, &directory.join("flannel"), &[])
    })?;
    let root = &artefacts.node.root;
    let root_name = root.parent().and_then(|entry| entry.file_name()).context("the root has no name")?;
    let digest = cache::digest(&format!("{FLANNEL_IMAGE}{PACK}"));
    let key = format!("flannel-image-{version}-{}-{digest}", root_name.to_string_lossy());
    let entry = cache::entry(&key, |directory| {
        let mut pack = Command::new("sh");
        pack.args(["-c", PACK, "pack"])
            .arg(root)
            .arg(programs.join("flanneld"))
            .arg(programs.join("flannel"));
        run(pack.arg(directory.join("flannel.tar")).arg(FLANNEL_IMAGE)).map(drop)
    })?;
    Ok(entry.join("flannel.tar"))
}
