//! containerd's own configuration: what the operator wrote, with our keys in it and its comments kept.

use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Value};

use super::toml::{self, Path as Keys};
use super::{Facts, FileSpec, cni_bin_dir, paths, runtime};
use crate::config::Config;

/// What is imported from beside the main file, where that says so; containerd 2.2 and later do by default.
const IMPORTED: &str = "/etc/containerd/conf.d/*.toml";

/// The same, from where the main file is.
const IMPORTED_FROM_HERE: &str = "conf.d/*.toml";

/// The runtimes that know `SystemdCgroup`.
const RUNC: &str = "io.containerd.runc.v2";

/// containerd's configuration as found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// `config.toml` and its permission bits.
    pub main: Option<(String, u32)>,
    /// The files of others that it may import, in their order.
    pub drop_ins: Vec<(PathBuf, String, u32)>,
    /// Why it can't be read.
    pub error: Option<String>,
    /// The directory of CNI plugins that it names.
    pub bin_dir: Option<PathBuf>,
    /// The cgroup driver that it names for the runtime pods get.
    pub cgroup_driver: Option<&'static str>,
}

impl Found {
    /// What was read.
    pub fn new(main: Option<(String, u32)>, drop_ins: Vec<(PathBuf, String, u32)>) -> Self {
        let mut found = Self { main, drop_ins, ..Self::default() };
        let document = found.main.as_ref().and_then(|(text, _)| text.parse::<DocumentMut>().ok());
        if let Some((document, form)) = document.and_then(|it| form(&it).ok().map(|form| (it, form))) {
            let plugin = toml::get(document.as_item(), &["plugins", form.runtime()]);
            found.bin_dir = plugin.and_then(bin_dir);
            found.cgroup_driver = plugin.and_then(cgroup_driver);
        }
        found
    }

    /// What could not be read.
    pub fn unreadable(error: String) -> Self {
        Self { error: Some(error), ..Self::default() }
    }
}

fn bin_dir(plugin: &Item) -> Option<PathBuf> {
    let cni = plugin.get("cni")?;
    let first = cni.get("bin_dirs").and_then(Item::as_array).and_then(|dirs| dirs.get(0)?.as_str());
    let dir = first.or_else(|| cni.get("bin_dir")?.as_str()).filter(|dir| dir.starts_with('/'))?;
    Some(dir.into())
}

fn cgroup_driver(plugin: &Item) -> Option<&'static str> {
    let containerd = plugin.get("containerd")?;
    let name = containerd.get("default_runtime_name").and_then(Item::as_str).unwrap_or("runc");
    let options = containerd.get("runtimes")?.get(name)?.get("options")?;
    Some(if options.get("SystemdCgroup")?.as_bool()? { "systemd" } else { "cgroupfs" })
}

/// A form of the configuration. From 3 on the CRI is two plugins, and their names are others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `version = 2`: containerd 1.x, and every later one reads it.
    Two,
    /// `version = 3` and later: containerd 2.x.
    Three(i64),
}

impl Form {
    const fn number(self) -> i64 {
        match self {
            Self::Two => 2,
            Self::Three(number) => number,
        }
    }

    /// The plugin that runs pods.
    const fn runtime(self) -> &'static str {
        match self {
            Self::Two => "io.containerd.grpc.v1.cri",
            Self::Three(_) => "io.containerd.cri.v1.runtime",
        }
    }

    /// Where the sandbox image stands.
    const fn sandbox_image(self) -> Keys<'static> {
        match self {
            Self::Two => &["plugins", "io.containerd.grpc.v1.cri", "sandbox_image"],
            Self::Three(_) => &["plugins", "io.containerd.cri.v1.images", "pinned_images", "sandbox"],
        }
    }

    /// The plugins that hold a key of ours.
    const fn plugins(self) -> &'static [&'static str] {
        match self {
            Self::Two => &["io.containerd.grpc.v1.cri"],
            Self::Three(_) => &["io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"],
        }
    }
}

/// What the CRI is called where it is disabled. docker's package of containerd ships `cri`.
const CRI: [&str; 4] =
    ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"];

/// The files that need a change: `config.toml`, or where that imports others, one of ours among them.
///
/// # Errors
/// A file does not parse, or is of a form that is not changed by halves.
pub(super) fn files(config: &Config, facts: &Facts) -> Result<Vec<FileSpec>, String> {
    let found = &facts.containerd;
    if let Some(error) = &found.error {
        return Err(error.clone());
    }
    let path = paths::containerd_config();
    let (text, mode) = match &found.main {
        Some((text, mode)) => (text.as_str(), *mode),
        None => ("", 0o644),
    };
    let mut main = parse(path, text)?;
    let form = begin(&mut main, found).map_err(|why| format!("`{}`: {why}", path.display()))?;
    let mut files = Vec::new();
    if imports(&main) {
        let drop_in = drop_in(&main, found, form, config, facts)?;
        // It repeats what others hold, passwords of registries too: whom they shut out stays shut out.
        let mode = found.drop_ins.iter().fold(mode, |mode, (_, _, other)| mode & other);
        files.push(FileSpec::new(paths::containerd_drop_in(), drop_in, mode));
    } else {
        fill(&mut main, form, config, facts).map_err(|why| format!("`{}`: {why}", path.display()))?;
    }
    let written = main.to_string();
    if written != text {
        files.push(FileSpec::new(path, written, mode));
    }
    Ok(files)
}

fn parse(path: &Path, text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        // Not its own text, which quotes the line: there may be a password in it.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("`{}`: line {line}: {}", path.display(), error.message())
    })
}

fn form(document: &DocumentMut) -> Result<Form, String> {
    match document.get("version").map(Item::as_integer) {
        Some(Some(2)) => Ok(Form::Two),
        Some(Some(number @ (3 | 4))) => Ok(Form::Three(number)),
        None | Some(Some(0 | 1)) => Err("is of form 1".to_owned()),
        _ => Err("`version` is none that is known (2, 3, 4)".to_owned()),
    }
}

/// Makes the main file one that can be added to: its form is known, and the CRI is not disabled.
fn begin(main: &mut DocumentMut, found: &Found) -> Result<Form, String> {
    if let Some(disabled) = main.get_mut("disabled_plugins").and_then(Item::as_array_mut) {
        disabled.retain(|plugin| !plugin.as_str().is_some_and(|plugin| CRI.contains(&plugin)));
    }
    if found.main.is_none() {
        main.insert("version", toml_edit::value(2));
        if !found.drop_ins.is_empty() {
            // containerd 2.2 reads them where there is no main file; now there is one.
            main.insert("imports", toml_edit::value(Array::from_iter([IMPORTED])));
        }
        if let Some(mut version) = main.key_mut("version") {
            version
                .leaf_decor_mut()
                .set_prefix("# Begun by kn-agent, which keeps what else is written here.\n");
        }
        return Ok(Form::Two);
    }
    match form(main) {
        Err(_) if is_neutral(main) => {
            main.insert("version", toml_edit::value(2));
            Ok(Form::Two)
        }
        Err(why) => Err(format!("{why}; `containerd config migrate` prints it in a form that is known")),
        found => found,
    }
}

/// Whether a file of form 1 means the same in form 2: the names of plugins are all that differs.
fn is_neutral(main: &DocumentMut) -> bool {
    let listed = |name| main.get(name).and_then(Item::as_array).is_some_and(|list| !list.is_empty());
    let configured = main.get("plugins").and_then(Item::as_table_like).is_some_and(|table| !table.is_empty());
    let unnumbered = main.get("version").is_none_or(|version| version.as_integer().is_some_and(|v| v < 2));
    unnumbered && !configured && !listed("disabled_plugins") && !listed("required_plugins")
}

fn imports(main: &DocumentMut) -> bool {
    let imports = main.get("imports").and_then(Item::as_array);
    let ours = |path: &str| [IMPORTED, IMPORTED_FROM_HERE].contains(&path);
    imports.is_some_and(|list| list.iter().any(|path| path.as_str().is_some_and(ours)))
}

/// Our file beside the others. containerd 1.x takes the section of a plugin from the last file alone, so everything that
/// is said of it elsewhere is said again.
fn drop_in(
    main: &DocumentMut,
    found: &Found,
    form: Form,
    config: &Config,
    facts: &Facts,
) -> Result<String, String> {
    let mut ours = DocumentMut::new();
    ours.insert("version", toml_edit::value(form.number()));
    let mut others = vec![(paths::containerd_config(), main.clone())];
    for (path, text, _) in &found.drop_ins {
        let other = parse(path, text)?;
        if self::form(&other).is_ok_and(|of_other| of_other.runtime() == form.runtime()) {
            others.push((path.as_path(), other));
        }
    }
    for (path, other) in &others {
        for plugin in form.plugins() {
            let Some(section) = other.get("plugins").and_then(|all| all.get(plugin)) else { continue };
            toml::merge(ours.as_item_mut(), &["plugins", plugin], section)
                .map_err(|why| format!("`{}`: {why}", path.display()))?;
        }
    }
    fill(&mut ours, form, config, facts)?;
    Ok(format!(
        "# Written by kn-agent; changes are put back. Keys of your own belong into {} or another file here.\n{ours}",
        paths::containerd_config().display()
    ))
}

/// Puts our keys in.
fn fill(document: &mut DocumentMut, form: Form, config: &Config, facts: &Facts) -> Result<(), String> {
    let mut put = |keys: Keys, value: Value| toml::put(document.as_item_mut(), keys, value);
    let plugin = form.runtime();
    put(form.sandbox_image(), config.runtime.sandbox_image.as_str().into())?;
    put(&["plugins", plugin, "cni", "conf_dir"], text(&config.network.conf_dir))?;
    let systemd = runtime::kubelet_cgroup_driver(config, facts) == "systemd";
    let runc = ["plugins", plugin, "containerd", "runtimes", "runc"];
    if toml::get(document.as_item(), &runc).and_then(|runc| runc.get("runtime_type")).is_none() {
        toml::put(document.as_item_mut(), &[&runc[..], &["runtime_type"]].concat(), RUNC.into())?;
    }
    for name in runcs(document, &runc[..4]) {
        let keys = [&runc[..4], &[name.as_str(), "options", "SystemdCgroup"]].concat();
        toml::put(document.as_item_mut(), &keys, systemd.into())?;
    }
    put_bin_dir(document, form, cni_bin_dir(config, facts))
}

/// containerd 2.1 takes a list and warns of the single key, 2.4 knows the list alone, and both at once are an error
/// between: the key that is written is the one that is kept.
fn put_bin_dir(document: &mut DocumentMut, form: Form, dir: &Path) -> Result<(), String> {
    let cni = ["plugins", form.runtime(), "cni"];
    let found = toml::get(document.as_item(), &cni);
    let single = found.and_then(|cni| cni.get("bin_dir")?.as_str()).is_some_and(|dir| !dir.is_empty());
    if form == Form::Two || single {
        return toml::put(document.as_item_mut(), &[&cni[..], &["bin_dir"]].concat(), text(dir));
    }
    let mut list = found.and_then(|cni| cni.get("bin_dirs")?.as_array().cloned()).unwrap_or_default();
    if !list.iter().any(|found| found.as_str() == dir.to_str()) {
        list.insert(0, text(dir));
    }
    toml::put(document.as_item_mut(), &[&cni[..], &["bin_dirs"]].concat(), Value::Array(list))
}

fn text(path: &Path) -> Value {
    path.display().to_string().into()
}

/// Every runtime that is runc: a pod may ask for any of them.
fn runcs(document: &DocumentMut, keys: Keys) -> Vec<String> {
    let runtimes = toml::get(document.as_item(), keys).and_then(Item::as_table_like);
    let is_runc = |item: &Item| item.get("runtime_type").and_then(Item::as_str) == Some(RUNC);
    let runtimes = runtimes.into_iter().flat_map(toml_edit::TableLike::iter);
    runtimes.filter(|(_, item)| is_runc(item)).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests;
