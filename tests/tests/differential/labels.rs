//! Labels: what `node.labels` may hold against what the kubelet takes as `--node-labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kn_agent::config::{HostFacts, Sources, load};

use crate::go::{self, LabelTold};
use crate::rng::Rng;

const SEED: u64 = 35;
/// Labels in one configuration: all are checked, and each that is refused is named.
const AT_ONCE: usize = 400;
/// How the kubelet begins where it refuses a label for its namespace, and not for its form.
const MEANING: &str = "unknown 'kubernetes.io' or 'k8s.io' labels";

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) made: usize,
    pub(crate) accepted: usize,
    /// Accepted, and of a namespace of Kubernetes': `IsKubeletLabel` says so too.
    pub(crate) accepted_of_kubernetes: usize,
    /// Refused for what they mean, with a key that is well-formed.
    pub(crate) refused_well_formed: usize,
    pub(crate) differences: Vec<String>,
    /// What a rule would have said that forgets one thing: how often it differs from the kubelet.
    pub(crate) caught: BTreeMap<&'static str, usize>,
    pub(crate) took: Duration,
}

/// Makes `count` labels and compares what is said about each.
pub(crate) fn compare(count: usize) -> Result<Found> {
    let start = Instant::now();
    let mut rng = Rng::new(SEED);
    let mut labels = BTreeMap::new();
    while labels.len() < count {
        labels.insert(key(&mut rng), value(&mut rng));
    }
    let labels: Vec<_> = labels.into_iter().collect();
    let mut found = Found::default();
    let (mut input, mut answers) = go::start("labels")?;
    for some in labels.chunks(AT_ONCE) {
        let refused = refused(some)?;
        for (key, value) in some {
            // One at a time: nobody waits for the other with a full pipe.
            go::ask(&mut input, &serde_json::json!({"key": key, "value": value}))?;
            found.take(key, value, !refused.contains(key), &answers.next()?);
        }
    }
    found.took = start.elapsed();
    Ok(found)
}

impl Found {
    fn take(&mut self, key: &str, value: &str, ours: bool, told: &LabelTold) {
        self.made += 1;
        self.accepted += usize::from(ours);
        let theirs = told.refusal.is_empty();
        let of_kubernetes = of_kubernetes(key);
        self.accepted_of_kubernetes += usize::from(ours && of_kubernetes);
        self.refused_well_formed += usize::from(!ours && told.refusal.starts_with(MEANING));
        if ours != theirs || (ours && of_kubernetes && !told.is_kubelet) {
            self.differences.push(format!("`{key}`=`{value}`: accepted here: {ours}, {told:?}"));
        }
        // A key that is none is refused whatever it means.
        if theirs || told.refusal.starts_with(MEANING) {
            for (name, rule) in CARELESS {
                *self.caught.entry(name).or_default() += usize::from(rule(key) != theirs);
            }
        }
    }

    /// What must not be.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.differences.iter().take(20).cloned().collect();
        if !problems.is_empty() {
            problems.insert(0, format!("{} labels are judged differently:", self.differences.len()));
        }
        for (name, count) in &self.caught {
            if *count == 0 {
                problems.push(format!("not caught where {name}"));
            }
        }
        for (what, count) in [
            ("accepted", self.accepted),
            ("accepted of Kubernetes' namespaces", self.accepted_of_kubernetes),
            ("refused for what they mean", self.refused_well_formed),
        ] {
            if count * 40 < self.made {
                problems.push(format!("only {count} of {} labels were {what}", self.made));
            }
        }
        problems
    }
}

/// The keys of `labels` that the configuration's check refuses.
fn refused(labels: &[(String, String)]) -> Result<BTreeSet<String>> {
    let map: BTreeMap<_, _> = labels.iter().cloned().collect();
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    // JSON is YAML.
    serde_json::to_writer(&mut file, &serde_json::json!({"node": {"labels": map}}))?;
    file.flush()?;
    let sources = Sources { root: "/".into(), only: Some(file.path().to_owned()), env: Vec::new() };
    let Err(errors) = load(&sources, &HostFacts { hostname: "n1".to_owned(), ..HostFacts::default() }) else {
        bail!("a configuration without a cluster is none");
    };
    let paths = errors.problems.into_iter().map(|problem| problem.path);
    Ok(paths.filter_map(|path| path.strip_prefix("node.labels.").map(str::to_owned)).collect())
}

fn of_kubernetes(key: &str) -> bool {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    ["kubernetes.io", "k8s.io"]
        .iter()
        .any(|domain| namespace == *domain || namespace.ends_with(&format!(".{domain}")))
}

/// Whether a key is accepted by one who forgot something; that, and what was forgotten.
type Careless = (&'static str, fn(&str) -> bool);

const CARELESS: [Careless; 6] = [
    ("every label is a node's own", |_| true),
    ("no label of Kubernetes' namespaces is", |key| !of_kubernetes(key)),
    ("`k8s.io` is forgotten", |key| {
        let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
        !namespace.ends_with("kubernetes.io") || ALLOWED.contains(&key) || namespace.contains("node.")
    }),
    ("a namespace is looked for anywhere in the key", |key| {
        !of_kubernetes(key) || key.contains("kubelet.kubernetes.io") || key.contains("node.kubernetes.io")
    }),
    ("a namespace may end anything", |key| {
        let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
        !of_kubernetes(key)
            || ALLOWED.contains(&key)
            || namespace.ends_with("kubelet.kubernetes.io")
            || namespace.ends_with("node.kubernetes.io")
    }),
    ("only `node-role` and `node-restriction` are refused", |key| {
        !key.contains("node-role.") && !key.contains("node-restriction.")
    }),
];

const ALLOWED: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

const DOMAINS: [&str; 16] = [
    "kubernetes.io",
    "k8s.io",
    "node.kubernetes.io",
    "kubelet.kubernetes.io",
    "node-role.kubernetes.io",
    "node-restriction.kubernetes.io",
    "topology.kubernetes.io",
    "beta.kubernetes.io",
    "failure-domain.beta.kubernetes.io",
    "node.k8s.io",
    "kubelet.k8s.io",
    "example.com",
    "node.kubernetes.io.example.com",
    "io",
    "kubernetes",
    "",
];

const NAMES: [&str; 14] = [
    "hostname",
    "os",
    "arch",
    "zone",
    "region",
    "instance-type",
    "worker",
    "rack",
    "",
    "a.b",
    "a_b",
    "-a",
    "a-",
    "A",
];

/// A key: one that is allowed or nearly so, or a namespace and a name with a trick in it.
fn key(rng: &mut Rng) -> String {
    let namespace = namespace(rng);
    let name = match rng.below(10) {
        0 => "n".repeat(61 + rng.below(4)),
        1 => format!("{}{}", rng.pick(&NAMES), rng.below(1000)),
        2 => format!("x{:x}", rng.next() % (1 << 20)),
        3 => rng.pick(&NAMES).to_ascii_uppercase(),
        _ => rng.pick(&NAMES).to_owned(),
    };
    match rng.below(20) {
        0 => name,
        1 => namespace,
        2 => format!("{namespace}/{name}/{name}"),
        3 => format!("{namespace}//{name}"),
        4 => format!("{namespace}/{name}{}", rng.pick(&[" ", "\u{e9}", ":", "=", "\n", "%"])),
        5 => rng.pick(&ALLOWED).to_owned(),
        6 => rng.pick(&ALLOWED).replacen("kubernetes.io", "k8s.io", 1),
        7 => format!("{}{}", rng.pick(&ALLOWED), rng.pick(&["x", ".", "-x", "/", "/x"])),
        _ => format!("{namespace}/{name}"),
    }
}

fn namespace(rng: &mut Rng) -> String {
    let domain = rng.pick(&DOMAINS);
    let some = format!("{:x}", rng.next() % (1 << 16));
    match rng.below(14) {
        0..4 => format!("{some}.{domain}"),
        4 => format!("{some}{domain}"),
        5 => format!("{some}-{domain}"),
        6 => format!("{domain}.{some}"),
        7 => format!("{domain}."),
        8 => format!(".{domain}"),
        9 => domain.replacen('.', "..", 1),
        10 => domain.to_ascii_uppercase(),
        11 => format!("{some}.{}.{domain}", rng.pick(&DOMAINS)),
        12 => format!("{}.{domain}", "d".repeat(230 + rng.below(20))),
        _ => domain.to_owned(),
    }
}

fn value(rng: &mut Rng) -> String {
    match rng.below(12) {
        0 => "v".repeat(62 + rng.below(3)),
        1 => rng.pick(&["-", "a b", "a/b", ".a", "a_", "\u{e9}", "a.b-c_d"]).to_owned(),
        2 => String::new(),
        _ => "x".to_owned(),
    }
}
