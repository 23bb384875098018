//! Looks at the certificates for as long as a course takes: in their files at each change and ten times a second, on the
//! kubelet's port twice a second.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use k8s_openapi::jiff::Timestamp;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, WatchFlags},
};

use super::{Course, certificate::Trail, journal, place::Place, stage::Stage};
use crate::{Identity, interrupt, process::output, progress::say};

/// Between looks at files that nothing changed.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Between requests to the kubelet.
const ASK: Duration = Duration::from_millis(500);

/// Between looks at whether the course is done, where no certificate is replaced.
const COUNT: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) files: BTreeMap<Place, Trail>,
    /// By those who asked the kubelet.
    pub(super) served: Trail,
    pub(super) end: Timestamp,
}

/// Returns when the course is done.
pub(super) fn watch(stage: &Stage, course: &Course) -> Result<Seen> {
    let (files, served) = (Mutex::new(BTreeMap::new()), Mutex::new(Trail::default()));
    let (root, stop) = (stage.root()?, AtomicBool::new(false));
    let (news, renewed) = channel();
    let (asks, ended) = channel::<()>();
    thread::scope(|scope| {
        let looking = scope.spawn(|| look(&root, &files, &news, &stop));
        let shown_to_us = &served;
        let asking = scope.spawn(move || ask(stage, shown_to_us, &ended));
        let result = follow(stage, course, &files, &renewed);
        stop.store(true, Ordering::Relaxed);
        drop(asks);
        let panicked = |_| anyhow!("it panicked");
        looking.join().map_err(panicked).flatten().context("looking at the files")?;
        asking.join().map_err(panicked).context("asking the kubelet")?;
        result
    })?;
    let inner = |trail: Mutex<Trail>| trail.into_inner().unwrap_or_else(PoisonError::into_inner);
    let files = files.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Seen { files, served: inner(served), end: Timestamp::now() })
}

/// Waits for the renewals of a course, and for the end of the certificate that kube-proxy began with.
fn follow(
    stage: &Stage,
    course: &Course,
    files: &Mutex<BTreeMap<Place, Trail>>,
    news: &Receiver<String>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let files = files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let renewals = |place: &Place| files.get(place).map_or(0, Trail::renewals);
        if let Some(proxy) = files.get(&Place::ProxyClient)
            && Place::ALL.iter().all(|place| renewals(place) >= course.renewals(*place))
            && proxy.issues.first().is_some_and(|issue| issue.certificate.left(Timestamp::now()) < 0.0)
            && taken_up(stage, proxy)? >= course.changes()
        {
            return Ok(());
        }
        interrupt::check()?;
        let counts: Vec<_> = Place::ALL.iter().map(renewals).collect();
        ensure!(start.elapsed() < course.limit, "not done after {} s: {counts:?}", course.limit.as_secs());
        match news.recv_timeout(COUNT) {
            Ok(told) => {
                let seconds = start.elapsed().as_secs_f64();
                say(format_args!("{seconds:>6.0} s  {}: {told}", stage.control_plane.run().name()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("nobody looks at the files any more"),
        }
    }
}

/// How often kube-proxy has gone from one certificate to another.
fn taken_up(stage: &Stage, proxy: &Trail) -> Result<usize> {
    let log = journal::of_unit(&stage.node, "kube-proxy")?;
    Ok(journal::changes(&log.uses(proxy, Timestamp::now())))
}

fn look(
    root: &Path,
    files: &Mutex<BTreeMap<Place, Trail>>,
    news: &Sender<String>,
    stop: &AtomicBool,
) -> Result<()> {
    let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    for place in Place::ALL {
        let what = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE;
        inotify::add_watch(&queue, root.join(place.directory()), what)?;
    }
    let mut events = [0_u8; 4096];
    while !stop.load(Ordering::Relaxed) {
        for place in Place::ALL {
            let (at, found) = (Timestamp::now(), place.read(root));
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            let trail: &mut Trail = files.entry(place).or_default();
            if trail.look(at, found)
                && let Some(issue) = trail.issues.last()
            {
                let left =
                    trail.left().last().map(|left| format!("; {left:.0} s were left")).unwrap_or_default();
                let _ = news.send(format!("{place}: {}{left}", issue.certificate));
            }
        }
        poll(&mut [PollFd::new(&queue, PollFlags::IN)], Some(&LOOK))?;
        while rustix::io::read(&queue, &mut events).is_ok_and(|length| length > 0) {}
    }
    Ok(())
}

fn ask(stage: &Stage, served: &Mutex<Trail>, ended: &Receiver<()>) {
    let kubelet = format!("{}:10250", stage.node.address());
    while ended.recv_timeout(ASK) == Err(RecvTimeoutError::Timeout) {
        let at = Timestamp::now();
        let found = shown(&kubelet, &stage.control_plane.ca(), &stage.prober);
        served.lock().unwrap_or_else(PoisonError::into_inner).look(at, found);
    }
}

/// What a server shows to one who verifies it and proves who it is; an error unless it then says that it is well.
pub(super) fn shown(server: &str, ca: &Path, prober: &Identity) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "5", "--output", "/dev/null"]);
    curl.args(["--write-out", "%{http_code}\n%{certs}"]).arg("--cacert").arg(ca);
    curl.arg("--cert").arg(&prober.certificate).arg("--key").arg(&prober.key);
    let answer = output(curl.arg(format!("https://{server}/healthz")))?;
    ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr).trim());
    let text = String::from_utf8(answer.stdout)?;
    ensure!(text.starts_with("200\n"), "it answers {}", text.lines().next().unwrap_or_default());
    Ok(text)
}
