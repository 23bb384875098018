//! Where a join can be cut: before, within and after each step, told by what the step does at the kernel's border.

use std::{collections::VecDeque, fmt};

use anyhow::{Context as _, Result, bail};

use super::tracer::{Answer, Call, Event, Side};

/// When, as seen from a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instant {
    /// At its first call, which the kernel does not do any more.
    Before,
    /// With a part of it done: a file written and not in place, a request sent and its answer not read.
    Within,
    /// With all of it done.
    After,
}

impl Instant {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::Within, Self::After];
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::Within => "within",
            Self::After => "after",
        })
    }
}

/// What the API server must have logged before a call counts: every text in one line of its audit log.
pub(super) type Heard = Vec<String>;

/// A call to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    /// A call about a file.
    File(Side, Call, String),
    /// A call whose bytes hold every text.
    Bytes(Side, Call, Vec<String>),
    /// The next of these calls at a connection to the API server once that has logged a request.
    Api(&'static [Call], Option<Heard>),
}

/// What the temporary file of a step must be on disk after the kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnDisk {
    pub(super) temporary: String,
    pub(super) there: bool,
}

/// A place in a join.
#[derive(Debug, Clone)]
pub(super) struct Point {
    /// The step as the agent's timeline names it, `*` for what differs from join to join.
    pub(super) step: String,
    pub(super) instant: Instant,
    pub(super) on_disk: Option<OnDisk>,
    marks: VecDeque<Mark>,
    done: Vec<String>,
}

/// How far a join came on its way to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Before,
    Reached,
    /// The agent did the step without passing the point.
    Overtaken,
}

impl Point {
    /// The three points of a step.
    pub(super) fn of_step(key: &str, node: &str) -> Result<Vec<Self>> {
        let step = pattern(key);
        let of_instant = |instant| {
            let marks = marks(&step, instant, node)
                .with_context(|| format!("where is `{step}` to be cut? the crash table does not know it"))?;
            let on_disk = last_file(&step)
                .map(|path| OnDisk { temporary: temporary(&path), there: instant == Instant::Within });
            Ok(Self { step: step.clone(), instant, on_disk, marks: marks.into(), done: logged(&step) })
        };
        Instant::ALL.into_iter().map(of_instant).collect()
    }

    /// Whether the join is there with this event. `heard` tells whether the API server has logged a request.
    pub(super) fn look(
        &mut self,
        event: &Event,
        heard: &mut dyn FnMut(&Heard) -> Result<bool>,
    ) -> Result<Progress> {
        let Some(mark) = self.marks.front() else { return Ok(Progress::Reached) };
        let here = match mark {
            Mark::File(side, call, path) => {
                event.side == *side && event.call == *call && matches(path, &event.path)
            }
            Mark::Bytes(side, call, texts) => {
                event.side == *side
                    && event.call == *call
                    && texts.iter().all(|text| holds(&event.bytes, text))
            }
            Mark::Api(calls, request) => {
                event.side == Side::Entry
                    && event.to_api
                    && calls.contains(&event.call)
                    && request.as_ref().map_or(Ok(true), heard)?
            }
        };
        if here {
            self.marks.pop_front();
            return Ok(if self.marks.is_empty() { Progress::Reached } else { Progress::Before });
        }
        let done = event.call == Call::Write && self.done.iter().all(|text| holds(&event.bytes, text));
        Ok(if done { Progress::Overtaken } else { Progress::Before })
    }
}

impl From<Progress> for Answer {
    fn from(progress: Progress) -> Self {
        // Overtaken is an end too: the join is not cut where it was meant to be, and tried again.
        if progress == Progress::Before { Self::GoOn } else { Self::Kill }
    }
}

/// A key with what differs from join to join left open: the hash of a key, the time of a certificate.
fn pattern(key: &str) -> String {
    let differing = [
        ("submit CSR kn-kubelet-", ""),
        ("submit CSR kn-proxy-", ""),
        ("install /var/lib/kubelet/pki/kubelet-client-", ".pem"),
    ];
    let found = differing.iter().find(|(begin, _)| key.starts_with(begin));
    found.map_or_else(|| key.to_owned(), |(begin, end)| format!("{begin}*{end}"))
}

/// The line of the agent's log that tells that a step is done.
fn logged(step: &str) -> Vec<String> {
    let mut texts = vec!["done".to_owned()];
    texts.extend(format!("step=\"{step}\"").split('*').map(str::to_owned));
    texts
}

/// The file a step puts in place last.
fn last_file(step: &str) -> Option<String> {
    let (verb, object) = step.split_once(' ')?;
    match verb {
        // The kubelet's own convention: the symlink comes after the certificate, and only then it counts.
        "install" if object.contains('*') => {
            Some("/var/lib/kubelet/pki/kubelet-client-current.pem".to_owned())
        }
        "write" | "install" => Some(object.to_owned()),
        "make" => object.strip_prefix("key ").map(str::to_owned),
        _ => None,
    }
}

fn marks(step: &str, instant: Instant, node: &str) -> Result<Vec<Mark>> {
    let (verb, object) = step.split_once(' ').context("it is one word")?;
    if let Some(last) = last_file(step) {
        let first = object.strip_prefix("key ").unwrap_or(object);
        return Ok(file(first, &last, instant));
    }
    Ok(match (verb, object) {
        ("make", path) => directory_entry(Call::Mkdir, path, instant),
        ("remove", path) => directory_entry(Call::Unlink, path, instant),
        // With the length of the member's name: a property's ends so, too.
        ("reload", "systemd") => bus(&["\u{6}\0\0\0Reload\0"], step, instant),
        ("await", unit) => {
            // An object's path escapes what is no letter.
            let object = unit.replace('-', "_2d").replace('.', "_2e");
            bus(&["Job\0", &format!("unit/{object}\0")], step, instant)
        }
        ("start", unit) => bus(&["StartUnit\0", &format!("{unit}\0")], step, instant),
        ("restart", unit) => bus(&["RestartUnit\0", &format!("{unit}\0")], step, instant),
        ("enable", _) => match instant {
            // What follows at once is the reload; the answer lists the links that were made.
            Instant::After => vec![bytes(Side::Exit, Call::Receive, &["multi-user.target.wants/"])],
            _ => bus(&["EnableUnitFiles\0"], step, instant),
        },
        ("submit", name) => {
            let name = name.trim_start_matches("CSR ").trim_end_matches('*');
            let key = if name.contains("proxy") { "kube-proxy.key" } else { "kubelet-client.key" };
            let start = Mark::File(Side::Exit, Call::Rename, format!("/var/lib/kn-agent/{key}"));
            let sent = ["\"verb\":\"create\"", "\"resource\":\"certificatesigningrequests\"", name];
            request(start, None, &sent, step, instant)
        }
        ("create", _) => {
            let link = "/var/lib/kubelet/pki/kubelet-client-current.pem".to_owned();
            let start = Mark::File(Side::Exit, Call::Rename, link);
            let user = format!("\"username\":\"system:node:{node}\"");
            let looked = ["\"resource\":\"nodes\"", "\"userAgent\":\"kn-agent/", &user];
            let sent = ["\"verb\":\"create\"", "\"resource\":\"nodes\"", "\"userAgent\":\"kn-agent/"];
            request(start, Some(texts(&looked)), &sent, step, instant)
        }
        _ => bail!("its verb is new"),
    })
}

/// A file: what a crash left is taken away, the temporary is written, it takes the name, the directory is synced.
fn file(first: &str, last: &str, instant: Instant) -> Vec<Mark> {
    match instant {
        Instant::Before => vec![Mark::File(Side::Entry, Call::Unlink, temporary(first))],
        Instant::Within => vec![Mark::File(Side::Entry, Call::Rename, last.to_owned())],
        Instant::After => vec![
            Mark::File(Side::Exit, Call::Rename, last.to_owned()),
            Mark::File(Side::Exit, Call::Sync, parent(last)),
        ],
    }
}

/// One call that the kernel does as a whole, and the directory's sync.
fn directory_entry(call: Call, path: &str, instant: Instant) -> Vec<Mark> {
    let done = Mark::File(Side::Exit, call, path.to_owned());
    match instant {
        Instant::Before => vec![Mark::File(Side::Entry, call, path.to_owned())],
        Instant::Within => vec![done],
        Instant::After => vec![done, Mark::File(Side::Exit, Call::Sync, parent(path))],
    }
}

/// A call over the bus: not sent, sent and not answered, answered.
fn bus(message: &[&str], step: &str, instant: Instant) -> Vec<Mark> {
    match instant {
        Instant::Before => vec![bytes(Side::Entry, Call::Send, message)],
        Instant::Within => vec![bytes(Side::Exit, Call::Send, message)],
        Instant::After => vec![Mark::Bytes(Side::Entry, Call::Write, logged(step))],
    }
}

/// A request to the API server: nothing sent since `start` (and since it was `asked` something else); `sent`, and its
/// answer not read; answered.
fn request(start: Mark, asked: Option<Heard>, sent: &[&str], step: &str, instant: Instant) -> Vec<Mark> {
    match instant {
        Instant::Before => vec![start, Mark::Api(&[Call::Connect, Call::Send], asked)],
        Instant::Within => vec![start, Mark::Api(&[Call::Receive], Some(texts(sent)))],
        Instant::After => vec![Mark::Bytes(Side::Entry, Call::Write, logged(step))],
    }
}

fn bytes(side: Side, call: Call, message: &[&str]) -> Mark {
    Mark::Bytes(side, call, texts(message))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn temporary(path: &str) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    format!("{directory}/.{name}.kn-agent-new")
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or_else(String::new, |(directory, _)| directory.to_owned())
}

/// Whether `text` is `pattern`, in which one `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, end)) => {
            text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end)
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(call: Call, side: Side, path: &str, bytes: &str) -> Event {
        Event { call, side, path: path.to_owned(), bytes: bytes.into(), to_api: false }
    }

    fn point(key: &str, instant: Instant) -> Point {
        let points = Point::of_step(key, "worker-1").unwrap();
        points.into_iter().find(|point| point.instant == instant).unwrap()
    }

    fn after(point: &mut Point, events: &[Event]) -> Vec<Progress> {
        let unheard = &mut |_: &Heard| Ok(false);
        events.iter().map(|event| point.look(event, unheard).unwrap()).collect()
    }

    #[test]
    fn a_step_with_a_new_verb_is_an_error_and_no_gap() {
        assert!(Point::of_step("write /etc/kubernetes/kubelet.yaml", "worker-1").is_ok());
        let error = Point::of_step("unwrite /etc/kubernetes/kubelet.yaml", "worker-1").unwrap_err();
        assert!(error.to_string().contains("unwrite"), "{error:#}");
    }

    #[test]
    fn a_write_is_over_when_its_directory_is_synced_after_the_rename() {
        let path = "/etc/kubernetes/kubelet.yaml";
        let mut point = point(&format!("write {path}"), Instant::After);
        let sync = || event(Call::Sync, Side::Exit, "/etc/kubernetes", "");
        let events = [
            sync(),
            event(Call::Rename, Side::Exit, "/etc/kubernetes/kubelet.kubeconfig", ""),
            event(Call::Rename, Side::Entry, path, ""),
            event(Call::Rename, Side::Exit, path, ""),
            event(Call::Sync, Side::Exit, "/etc", ""),
            sync(),
        ];
        let progress = after(&mut point, &events);
        assert_eq!(progress[..5], [Progress::Before; 5]);
        assert_eq!(progress[5], Progress::Reached);
    }

    #[test]
    fn a_step_that_is_logged_as_done_before_its_point_has_overtaken_it() {
        let mut point = point("start kubelet.service", Instant::Within);
        let log = |step| {
            event(Call::Write, Side::Entry, "", &format!(" INFO done phase=\"kubelet\" step=\"{step}\""))
        };
        let sent = |unit| event(Call::Send, Side::Exit, "", &format!("StartUnit\0..{unit}\0"));
        let progress =
            after(&mut point.clone(), &[log("start docker.service"), log("start kubelet.service")]);
        assert_eq!(progress, [Progress::Before, Progress::Overtaken]);
        let progress = after(&mut point, &[sent("docker.service"), sent("kubelet.service")]);
        assert_eq!(progress, [Progress::Before, Progress::Reached]);
    }

    #[test]
    fn a_pattern_leaves_open_what_differs_between_joins() {
        let key = "install /var/lib/kubelet/pki/kubelet-client-2026-01-02-03-04-05.pem";
        assert_eq!(pattern(key), "install /var/lib/kubelet/pki/kubelet-client-*.pem");
        assert_eq!(pattern("submit CSR kn-proxy-0123"), "submit CSR kn-proxy-*");
        assert!(matches("a*c", "abc") && matches("a*c", "ac") && matches("abc", "abc"));
        assert!(!matches("ab*bc", "abc") && !matches("a*c", "abd") && !matches("abc", "abcd"));
    }
}
