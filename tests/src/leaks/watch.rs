//! Every program a node starts, with its arguments and environment, and every file its agent makes: seen as a debugger
//! sees them, so that none is too short-lived to be looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::FileExt as _,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::Signal,
    },
    unistd::Pid,
};
use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::Node;

/// What is read of a written buffer.
const LONGEST: usize = 1 << 20;

/// A program with this among its arguments ends the watch.
const END: &str = "lab-watch-ends";
const END_LIMIT: Duration = Duration::from_secs(20);

/// A system call's stop under PTRACE_O_TRACESYSGOOD.
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// What a file of the agent's was given.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Permission bits, at its making and by each change.
    pub modes: BTreeSet<u32>,
    /// All that was written into it.
    pub content: Vec<u8>,
}

/// What a watch saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Arguments and environment of each program that was started, one after the other.
    pub programs: Vec<u8>,
    /// How many they are.
    pub count: usize,
    /// The files of those that the agent started.
    pub by_agent: BTreeSet<String>,
    /// What the agent wrote, by the names that files had last.
    pub files: BTreeMap<String, Written>,
    /// Signals that could not be passed on: a program that waited for one was disturbed.
    pub withheld: usize,
}

/// A watch over a node.
#[derive(Debug)]
pub struct Watch {
    seen: mpsc::Receiver<Result<Seen>>,
}

impl Watch {
    /// Watches what the node's PID 1 starts from now on, and what `agent` (its arguments, each with a NUL behind it)
    /// does with files.
    pub fn start(node: &Node, agent: &'static str) -> Result<Self> {
        let leader = Pid::from_raw(i32::try_from(node.leader()?)?);
        let (attached, is_attached) = mpsc::channel();
        let (sender, seen) = mpsc::channel();
        // All requests must come from the thread that attached; when it ends the kernel lets go of everything.
        thread::spawn(move || {
            let options = Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_TRACEEXEC
                | Options::PTRACE_O_TRACEFORK
                | Options::PTRACE_O_TRACEVFORK
                | Options::PTRACE_O_TRACECLONE;
            let begun = ptrace::seize(leader, options).context("cannot trace the node's PID 1");
            let failed = begun.is_err();
            let _ = attached.send(begun);
            if !failed {
                let _ = sender.send(Watcher { agent, ..Watcher::default() }.run());
            }
        });
        is_attached.recv().context("the watch ended")??;
        Ok(Self { seen })
    }

    /// Ends the watch.
    pub fn finish(self, node: &Node) -> Result<Seen> {
        node.exec(&["systemd-run", "--quiet", "--wait", "/bin/true", END])?;
        self.seen.recv_timeout(END_LIMIT).context("the watch does not end")?
    }
}

#[derive(Debug, Default)]
struct Watcher {
    agent: &'static str,
    seen: Seen,
    /// The agent's processes, with the permission bits that their umask takes away.
    agents: BTreeMap<i32, u32>,
    /// Threads that have been met, and whether each is one of an agent.
    threads: BTreeMap<i32, bool>,
}

impl Watcher {
    fn run(mut self) -> Result<Seen> {
        let options = WaitOptions::from_bits_retain((libc::__WALL | libc::__WNOTHREAD).cast_unsigned());
        loop {
            let (pid, status) = match wait(options) {
                Ok(Some((pid, status))) => (pid.as_raw_nonzero().get(), status),
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CHILD) => bail!("the node ended under the watch"),
                Err(error) => return Err(error.into()),
            };
            let Some(signal) = status.stopping_signal() else {
                self.threads.remove(&pid);
                continue;
            };
            let (deliver, ends) = self.stopped(pid, signal, event(status))?;
            if ends {
                return Ok(self.seen);
            }
            let thread = Pid::from_raw(pid);
            let resumed = match self.threads.get(&pid) {
                Some(true) => ptrace::syscall(thread, deliver),
                _ => ptrace::cont(thread, deliver),
            };
            match resumed {
                // Killed meanwhile.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The signal to pass on, and whether this was the end.
    fn stopped(&mut self, pid: i32, signal: i32, event: i32) -> Result<(Option<Signal>, bool)> {
        if let std::collections::btree_map::Entry::Vacant(new) = self.threads.entry(pid) {
            new.insert(tgid(pid).is_some_and(|process| self.agents.contains_key(&process)));
        }
        if signal == SYSCALL_STOP {
            self.called(pid)?;
            return Ok((None, false));
        }
        if event == libc::PTRACE_EVENT_EXEC {
            return Ok((None, self.executed(pid)));
        }
        if event != 0 {
            return Ok((None, false));
        }
        // Signals without a name can't be passed on by the calls at hand; nothing in a join waits for one.
        let named = Signal::try_from(signal).ok();
        self.seen.withheld += usize::from(named.is_none());
        Ok((named, false))
    }

    fn executed(&mut self, pid: i32) -> bool {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        self.seen.count += 1;
        self.seen.programs.extend([arguments.as_slice(), &environment, b"\n"].concat());
        let is_agent = arguments == self.agent.as_bytes();
        let parent = field(pid, "PPid:").and_then(|parent| parent.parse().ok());
        if parent.is_some_and(|parent: i32| self.agents.contains_key(&parent)) {
            let file = fs::read_link(format!("/proc/{pid}/exe"));
            self.seen.by_agent.extend(file.map(|file| file.display().to_string()));
        }
        self.threads.insert(pid, is_agent);
        if is_agent {
            self.agents.insert(pid, umask(pid).unwrap_or(0));
        } else {
            self.agents.remove(&pid);
        }
        arguments.split(|&byte| byte == 0).any(|word| word == END.as_bytes())
    }

    /// A system call of the agent's, on its way in or out: what is said of it is the same.
    fn called(&mut self, thread: i32) -> Result<()> {
        let Some((number, arguments)) = call(thread) else { return Ok(()) };
        let at = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let bits = |index: usize| u32::try_from(at(index) & 0o7777).unwrap_or_default();
        let creates = |flags: u64| flags & u64::from(libc::O_CREAT.cast_unsigned()) != 0;
        match number {
            libc::SYS_openat if creates(at(2)) => {
                let umask = tgid(thread).and_then(|process| self.agents.get(&process).copied());
                let mode = bits(3) & !umask.unwrap_or(0);
                self.file(text(thread, at(1))).modes.insert(mode);
            }
            libc::SYS_fchmod => {
                self.file(link(thread, at(0))).modes.insert(bits(1));
            }
            libc::SYS_fchmodat => {
                self.file(text(thread, at(1))).modes.insert(bits(2));
            }
            libc::SYS_write | libc::SYS_pwrite64 => {
                let path = link(thread, at(0));
                if path.starts_with('/') {
                    let bytes = memory(thread, at(1), at(2));
                    self.file(path).content.extend(bytes);
                }
            }
            libc::SYS_writev if link(thread, at(0)).starts_with('/') => {
                bail!("the agent writes `{}` by writev, which is not looked at", link(thread, at(0)))
            }
            libc::SYS_renameat | libc::SYS_renameat2 => {
                self.renamed(&text(thread, at(1)), text(thread, at(3)));
            }
            other => self.called_old_way(thread, other, &arguments),
        }
        Ok(())
    }

    /// Calls that newer architectures do not have.
    #[cfg(target_arch = "x86_64")]
    fn called_old_way(&mut self, thread: i32, number: libc::c_long, arguments: &[u64; 6]) {
        match number {
            libc::SYS_rename => self.renamed(&text(thread, arguments[0]), text(thread, arguments[1])),
            libc::SYS_chmod => {
                let mode = u32::try_from(arguments[1] & 0o7777).unwrap_or_default();
                self.file(text(thread, arguments[0])).modes.insert(mode);
            }
            _ => {}
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn called_old_way(&mut self, _thread: i32, _number: libc::c_long, _arguments: &[u64; 6]) {}

    fn file(&mut self, path: String) -> &mut Written {
        self.seen.files.entry(path).or_default()
    }

    /// Also where the rename is met a second time, on its way out.
    fn renamed(&mut self, from: &str, to: String) {
        if let Some(moved) = self.seen.files.remove(from) {
            let file = self.file(to);
            file.modes.extend(moved.modes);
            file.content.extend(moved.content);
        }
    }
}

impl Seen {
    /// The files into which one of these texts was written.
    pub fn holding(&self, texts: &[&str]) -> Vec<(&str, &Written)> {
        let holds =
            |content: &[u8], text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
        let files = self.files.iter().filter(|(_, file)| texts.iter().any(|text| holds(&file.content, text)));
        files.map(|(path, file)| (path.as_str(), file)).collect()
    }
}

fn event(status: WaitStatus) -> i32 {
    status.as_raw() >> 16
}

fn tgid(thread: i32) -> Option<i32> {
    field(thread, "Tgid:")?.parse().ok()
}

fn umask(pid: i32) -> Option<u32> {
    u32::from_str_radix(&field(pid, "Umask:")?, 8).ok()
}

fn field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

/// Number and arguments of the call a stopped thread is at.
fn call(thread: i32) -> Option<(libc::c_long, [u64; 6])> {
    let text = fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?;
    let mut words = text.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some((number, arguments))
}

fn link(thread: i32, descriptor: u64) -> String {
    let link = fs::read_link(format!("/proc/{thread}/fd/{descriptor}"));
    link.map(|path| path.display().to_string()).unwrap_or_default()
}

fn memory(thread: i32, address: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(LONGEST).min(LONGEST)];
    let read =
        fs::File::open(format!("/proc/{thread}/mem")).and_then(|file| file.read_at(&mut bytes, address));
    bytes.truncate(read.unwrap_or(0));
    bytes
}

fn text(thread: i32, address: u64) -> String {
    let bytes = memory(thread, address, 4096);
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
