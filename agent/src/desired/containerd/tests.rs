use std::path::{Path, PathBuf};

use toml_edit::DocumentMut;

use super::{Found, files};
use crate::config::{Config, HostFacts, RuntimeKind, Sources, load};
use crate::desired::{Facts, FileSpec, paths};

const CONF_D: &str = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n";

/// As Debian ships it.
const DEBIAN: &str = r#"version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
"#;

/// As docker's package of it ships it, shortened.
const DOCKERS: &str = "#   Licensed under the Apache License\n\ndisabled_plugins = [\"cri\"]\n\n#root = \"/var/lib/containerd\"\n";

fn config() -> Config {
    let ca = rcgen::generate_simple_self_signed([]).unwrap().cert.pem();
    let variable = |name: &str, value: &str| (format!("KN_AGENT_{name}"), value.to_owned());
    let env = vec![
        variable("CLUSTER__SERVER", "https://10.0.0.10:6443"),
        variable("CLUSTER__CA__DATA", &ca),
        variable("RUNTIME__KIND", "containerd"),
        variable("RUNTIME__SANDBOX_IMAGE", "example.com/pause:1"),
    ];
    let root = tempfile::tempdir().unwrap();
    let sources = Sources { root: root.path().to_owned(), only: None, env };
    load(&sources, &HostFacts { hostname: "worker-1".to_owned(), ..HostFacts::default() }).unwrap().config
}

fn facts(containerd: Found) -> Facts {
    let resolv_conf = PathBuf::from("/etc/resolv.conf");
    Facts { cgroup_v2: true, containerd, resolv_conf, ..Facts::default() }
}

fn found(main: Option<&str>, drop_ins: &[(&str, &str)]) -> Found {
    let drop_in = |(name, text): &(&str, &str)| {
        (Path::new("/etc/containerd/conf.d").join(name), (*text).to_owned(), 0o644)
    };
    Found::new(main.map(|text| (text.to_owned(), 0o644)), drop_ins.iter().map(drop_in).collect())
}

fn change(found: Found) -> Result<Vec<FileSpec>, String> {
    assert_eq!(config().runtime.kind, RuntimeKind::Containerd);
    files(&config(), &facts(found))
}

fn text(file: &FileSpec) -> String {
    String::from_utf8(file.content.clone()).unwrap()
}

/// The one file that is changed; changed once, it stays.
fn changed(main: &str) -> String {
    let [file] = change(found(Some(main), &[])).unwrap().try_into().unwrap();
    assert_eq!(file.path, paths::containerd_config());
    let written = text(&file);
    assert_eq!(change(found(Some(&written), &[])).unwrap(), [], "{written}");
    written
}

/// What stands at a dotted path whose parts are parted by `/`.
fn at(document: &str, path: &str) -> Option<String> {
    let document: DocumentMut = document.parse().unwrap();
    let item = path.split('/').try_fold(document.as_item(), |here, key| here.get(key))?;
    Some(item.to_string().trim().to_owned())
}

#[test]
fn debians_file_keeps_what_is_in_it() {
    let written = changed(DEBIAN);
    for line in DEBIAN.lines() {
        assert!(written.lines().any(|kept| kept == line), "`{line}` is lost:\n{written}");
    }
    insta::assert_snapshot!("debian", written);
}

#[test]
fn without_a_file_one_is_begun_that_every_containerd_reads() {
    let [file] = change(found(None, &[])).unwrap().try_into().unwrap();
    assert_eq!(file.mode, 0o644);
    insta::assert_snapshot!("begun", text(&file));
    assert_eq!(change(found(Some(&text(&file)), &[])).unwrap(), []);
}

#[test]
fn the_cri_that_dockers_package_disables_is_enabled() {
    let written = changed(DOCKERS);
    assert_eq!(at(&written, "disabled_plugins").as_deref(), Some("[]"));
    assert_eq!(at(&written, "version").as_deref(), Some("2"));
    assert!(written.starts_with("#   Licensed under the Apache License\n"), "{written}");
    for name in ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"] {
        let main =
            format!("version = 3\ndisabled_plugins = [\"{name}\", \"io.containerd.snapshotter.v1.btrfs\"]\n");
        let left = "[\"io.containerd.snapshotter.v1.btrfs\"]";
        assert_eq!(
            at(&changed(&main), "disabled_plugins").map(|list| list.replace(' ', "")).as_deref(),
            Some(left)
        );
    }
}

#[test]
fn form_1_is_not_changed_where_it_names_plugins() {
    for main in [
        "[plugins.cri]\nsandbox_image = \"x\"\n",
        "disabled_plugins = [\"cri\", \"aufs\"]\n",
        "version = 1\n[plugins.opt]\npath = \"/opt\"\n",
    ] {
        let why = change(found(Some(main), &[])).unwrap_err();
        assert!(
            why.starts_with("`/etc/containerd/config.toml`: is of form 1; `containerd config migrate`"),
            "{why}"
        );
    }
    assert!(change(found(Some("version = 9\n"), &[])).unwrap_err().contains("none that is known"));
}

#[test]
fn form_3_has_other_names_and_keeps_the_key_of_the_plugins_directory() {
    let written = changed("version = 3\n");
    insta::assert_snapshot!("form_3", written);
    let runtime = "plugins/io.containerd.cri.v1.runtime/cni";
    let single = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = '/a'\n";
    let written = changed(single);
    assert_eq!(at(&written, &format!("{runtime}/bin_dir")).as_deref(), Some("'/a'"));
    assert_eq!(at(&written, &format!("{runtime}/bin_dirs")), None);
    let several =
        "version = 4\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = ''\nbin_dirs = ['/a', '/b']\n";
    assert_eq!(at(&changed(several), &format!("{runtime}/bin_dirs")).as_deref(), Some("['/a', '/b']"));
    let mut config = config();
    config.network.bin_dir = Some("/c".into());
    let [file] = files(&config, &facts(found(Some(several), &[]))).unwrap().try_into().unwrap();
    let dirs = at(&text(&file), &format!("{runtime}/bin_dirs")).unwrap();
    assert_eq!(dirs.replace('\'', "\"").replace(", ", ","), "[\"/c\",\"/a\",\"/b\"]");
}

#[test]
fn every_runtime_that_is_runc_gets_the_kubelets_driver() {
    let main = "version = 2\n\
        [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n\
        default_runtime_name = \"nvidia\" # the GPUs\n\
        runtimes.nvidia = { runtime_type = \"io.containerd.runc.v2\", options = { BinaryName = \"/n\" } }\n\
        runtimes.kata = { runtime_type = \"io.containerd.kata.v2\" }\n\
        runtimes.runc = { runtime_type = \"io.containerd.runc.v2\", options = { SystemdCgroup = false } }\n";
    let written = changed(main);
    let runtimes = "plugins/io.containerd.grpc.v1.cri/containerd/runtimes";
    let driver = |name: &str| at(&written, &format!("{runtimes}/{name}/options/SystemdCgroup"));
    assert_eq!(
        (driver("nvidia").as_deref(), driver("runc").as_deref()),
        (Some("true"), Some("true")),
        "{written}"
    );
    assert_eq!(driver("kata"), None);
    assert!(written.contains("# the GPUs"));
    // What the runtime in use says is the kubelet's where nothing else is said.
    let said = main.replace("BinaryName = \"/n\"", "SystemdCgroup = false");
    let written = changed(&said);
    assert_eq!(at(&written, &format!("{runtimes}/runc/options/SystemdCgroup")).as_deref(), Some("false"));
}

#[test]
fn beside_a_file_that_imports_others_one_of_ours_repeats_what_they_say() {
    let main = format!(
        "version = 2\n{CONF_D}[plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\n"
    );
    let nvidia = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/certs\"\n";
    let ours = |files: Vec<FileSpec>| -> FileSpec {
        let [file] = files.try_into().unwrap();
        file
    };
    let mut found = found(Some(&main), &[("10-nvidia.toml", nvidia)]);
    let file = ours(change(found.clone()).unwrap());
    assert_eq!((file.path.as_path(), file.mode), (paths::containerd_drop_in(), 0o644));
    insta::assert_snapshot!("drop_in", text(&file));
    // A password that one of them holds stays among those who may read it there.
    found.drop_ins[0].2 = 0o600;
    assert_eq!(ours(change(found).unwrap()).mode, 0o600);
}

#[test]
fn what_is_read_without_a_main_file_is_imported_by_the_one_that_is_begun() {
    let files = change(found(None, &[("10-other.toml", "version = 2\n")])).unwrap();
    let paths_of: Vec<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    assert_eq!(paths_of, [paths::containerd_drop_in(), paths::containerd_config()]);
    assert!(text(&files[1]).contains(CONF_D), "{}", text(&files[1]));
    assert!(!text(&files[1]).contains("plugins"));
}

#[test]
fn what_does_not_parse_is_told_by_its_line_and_not_quoted() {
    let why = change(found(Some("version = 2\npassword = canary\n"), &[])).unwrap_err();
    assert!(why.starts_with("`/etc/containerd/config.toml`: line 2: "), "{why}");
    assert!(!why.contains("canary"), "{why}");
    let why = change(found(Some("version = 2\nplugins = 1\n"), &[])).unwrap_err();
    assert_eq!(why, "`/etc/containerd/config.toml`: `plugins` is no table");
}
