//! The places that are searched, and the canary in each.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use lab::leaks::{Needles, Place, Seen};
use lab::{Node, NodeOutput};
use serde_json::Value;

use super::Case;
use crate::scenario::NODE;

/// Cores, wherever the usual patterns put them, one after the other.
const CORES: &str = "
find / /tmp /var/tmp -xdev '(' -path /proc -o -path /sys -o -path /usr ')' -prune -o -type f \
    '(' -name core -o -name 'core.*' -o -path '/var/lib/systemd/coredump/*' -o -path '/var/crash/*' ')' -exec cat {} +";

/// All that commands printed, on both their outputs.
#[derive(Debug)]
pub(crate) struct Spoken {
    file: RefCell<File>,
}

impl Spoken {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        Ok(Self { file: RefCell::new(File::create(directory.join("commands"))?) })
    }

    /// Runs our program on the node, at its most verbose.
    pub(crate) fn agent(&self, node: &Node, words: &[&str]) -> Result<NodeOutput> {
        self.any(node, &[&["env", "KN_AGENT_LOG=trace", "kn-agent"], words].concat())
    }

    /// Runs any program there.
    pub(crate) fn any(&self, node: &Node, words: &[&str]) -> Result<NodeOutput> {
        let output = node.try_exec(words)?;
        self.note(&format!("{}{}", output.stdout, output.stderr))?;
        Ok(output)
    }

    pub(crate) fn note(&self, text: &str) -> Result<()> {
        Ok(writeln!(self.file.borrow_mut(), "{text}")?)
    }
}

/// As an argument and as a variable.
pub(crate) fn plant_in_a_program(case: &Case) -> Result<()> {
    let variable = format!("--setenv=CANARY={}", case.planted);
    case.scenario
        .node
        .exec(&["systemd-run", "--quiet", "--wait", &variable, "/bin/true", &case.planted])
        .map(drop)
}

/// Everywhere else, by the way that is open to anybody.
fn plant(case: &Case) -> Result<()> {
    let (node, planted) = (&case.scenario.node, &case.planted);
    node.sh("printf %s \"$1\" | systemd-cat --identifier=canary", &[planted])?;
    for path in ["/var/log/canary.log", "/run/kn-agent/canary", "/var/tmp/core.canary"] {
        node.put(path, planted, 0o600)?;
    }
    case.spoken.any(node, &["cat", "/var/log/canary.log"])?;
    let bus = ["org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", "s"];
    node.try_exec(&[&["busctl", "call"], &bus[..], &[planted]].concat())?;
    let kubectl = case.scenario.control_plane.kubectl()?;
    kubectl.run(&["annotate", "node", NODE, &format!("canary={planted}")]).map(drop)
}

/// Searches every place for every secret, and for the canary.
pub(crate) fn search(case: &mut Case, seen: &Seen) -> Result<()> {
    plant(case)?;
    let places = gather(case, seen)?;
    ensure!(case.secrets.count() > 30, "only {} forms of secrets are known", case.secrets.count());
    let patterns = case.scenario.control_plane.run().directory().join("patterns");
    let mut leaks = Vec::new();
    for place in &places {
        let size = fs::metadata(&place.file)?.len();
        let canaries = case.canary.found_in(place, &patterns).with_context(|| place.name)?;
        ensure!(
            canaries.len() >= 3,
            "the canary is not found in {} ({size} bytes): {canaries:?}",
            place.name
        );
        let found = case.secrets.found_in(place, &patterns)?;
        lab::say(format_args!("{}: {size} bytes, {} secrets", place.name, found.len()));
        leaks.extend(found.iter().map(|found| format!("{}: {found}", place.name)));
    }
    ensure!(leaks.is_empty(), "secrets leak:\n{}", leaks.join("\n"));
    Ok(())
}

/// Brings every place to the host, as a file.
fn gather(case: &mut Case, seen: &Seen) -> Result<Vec<Place>> {
    // Not before what it says last has come.
    case.scenario.node.exec(&["journalctl", "--sync"])?;
    let _ = case.bus.kill();
    let _ = case.bus.wait();
    let (node, run) = (&case.scenario.node, case.scenario.control_plane.run());
    let directory = run.directory().join("leaks");
    let mut places = Vec::new();
    let mut of_node = |name: &'static str, words: &[&str]| -> Result<()> {
        let file = directory.join(name.replace(['/', ' ', '\''], "_"));
        let mut command = node.command(words)?;
        command.stdin(Stdio::null()).stdout(File::create(&file)?).stderr(Stdio::null()).status()?;
        places.push(Place { name, file });
        Ok(())
    };
    of_node("the journal", &["journalctl", "--output=export", "--all", "--no-pager"])?;
    of_node("/var/log", &["sh", "-c", "find /var/log -type f -not -path '*/journal/*' -exec cat {} +"])?;
    of_node("/run/kn-agent", &["sh", "-c", "find /run/kn-agent -type f -exec cat {} +"])?;
    of_node("cores", &["sh", "-c", CORES])?;
    let mut of_host = |name: &'static str, file: &str, text: Option<&[u8]>| -> Result<()> {
        let file = directory.join(file);
        if let Some(text) = text {
            fs::write(&file, text)?;
        }
        places.push(Place { name, file });
        Ok(())
    };
    of_host("commands' outputs", "commands", None)?;
    of_host("the bus", "bus", None)?;
    ensure!(seen.withheld == 0, "{} signals were withheld by the watch", seen.withheld);
    lab::say(format_args!("{} programs were started on the node", seen.count));
    of_host("arguments and environments", "programs", Some(&seen.programs))?;
    of_host("the audit log", "audit", Some(&audit(&case.scenario.control_plane.audit_log())?))?;
    Ok(places)
}

/// The audit log, and what it holds as base64.
fn audit(log: &Path) -> Result<Vec<u8>> {
    let mut text = fs::read_to_string(log)?;
    let mut requests = 0;
    let mut decoded = String::new();
    for line in text.lines() {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        for object in ["requestObject", "responseObject"] {
            for encoded in [&event[object]["spec"]["request"], &event[object]["status"]["certificate"]] {
                if let Ok(bytes) = serde_json::from_value::<k8s_openapi::ByteString>(encoded.clone()) {
                    decoded.push_str(&String::from_utf8_lossy(&bytes.0));
                    requests += 1;
                }
            }
        }
    }
    ensure!(requests > 5, "only {requests} requests with their bodies are in the audit log");
    text.push_str(&decoded);
    Ok(text.into_bytes())
}

/// What is no secret, in what commands printed: that they were listened to.
pub(crate) fn was_said(case: &Case, words: &str) -> Result<bool> {
    let directory = case.scenario.control_plane.run().directory().join("leaks/commands");
    Ok(fs::read_to_string(directory)?.contains(words))
}

/// Adds the forms of a token.
pub(crate) fn learn(secrets: &mut Needles, token: &str) {
    secrets.token(token);
}
