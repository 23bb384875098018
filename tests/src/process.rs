//! Programs: run to their end with their output captured, or started and certain to end with us.

use std::{
    ffi::OsStr,
    fs::File,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::interrupt;

/// The least and the most between two looks at a condition that nothing signals.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Looks until `look` finds something, for at most `limit`. An error of `look` ends the wait. Between looks is twice the time
/// that one takes: a kubectl after the other keeps a processor from what is waited for.
pub fn wait_until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let begin = Instant::now();
        if let Some(found) = look()? {
            return Ok(found);
        }
        let took = begin.elapsed();
        interrupt::check()?;
        if Instant::now() >= deadline {
            bail!("waited {} s in vain for {what}", limit.as_secs_f32());
        }
        thread::sleep((took * 2).clamp(POLL.0, POLL.1));
    }
}

/// Runs a program to its end; a failure carries what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}{}",
            describe(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end, whatever that is.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{}`", describe(command)))
}

/// Runs `ip` with the words of `arguments`, none of which holds a space.
pub(crate) fn ip(arguments: &str) -> Result<String> {
    run(Command::new("ip").args(arguments.split(' ')))
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A child in a process group of its own, which the kernel kills if we die and which is stopped when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    child: Child,
    grace: Duration,
}

impl Daemon {
    /// Starts `command` (its program must be a path or on `PATH`) with both outputs appended to `log`.
    pub(crate) fn start(name: &str, command: &Command, log: &Path, grace: Duration) -> Result<Self> {
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open `{}`", log.display()))?;
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => bound.env(key, value),
                None => bound.env_remove(key),
            };
        }
        bound.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file).process_group(0);
        let child = spawn_from_lasting_thread(bound).with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, grace })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails if it has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status})", self.name),
        }
    }

    /// SIGTERM, then SIGKILL after the grace period.
    pub(crate) fn stop(&mut self) {
        if !self.wait(Duration::ZERO) {
            signal(self.pid(), Signal::TERM);
            if !self.wait(self.grace) {
                self.kill();
            }
        }
    }

    /// SIGKILL to its process group.
    pub(crate) fn kill(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }

    /// Whether it ended within `limit`. Goes on through an interrupt: cleaning up is what interrupts ask for.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL.0);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a signal to a process. It may have ended before: that is no failure.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

type Request = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The parent-death signal fires when the parent *thread* ends, and tests run in threads that do: children are
/// started from one that lasts as long as the process.
fn spawn_from_lasting_thread(command: Command) -> Result<Child> {
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in receiver {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = mpsc::channel();
    let request = (command, reply);
    SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).send(request).context("the spawner has ended")?;
    Ok(answer.recv().context("the spawner has ended")??)
}
