//! A process seen system call by system call, from outside as a debugger sees it, and killed at the one that was
//! asked for. Being stopped there, it can't be a call too late.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// What a system call does, whichever of its variants it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Mkdir,
    Unlink,
    Rename,
    Sync,
    Connect,
    Send,
    Receive,
    Write,
}

/// Before the kernel does it, or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Entry,
    Exit,
}

/// A system call on its way in or out.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) call: Call,
    pub(super) side: Side,
    /// The file it is about; of a rename, the new name.
    pub(super) path: String,
    /// What is sent or written, or was received: its first bytes.
    pub(super) bytes: Vec<u8>,
    /// Whether it is about a connection to the API server.
    pub(super) to_api: bool,
}

/// What to do with the process at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    GoOn,
    Kill,
}

/// Where a call's operand is, by the number of its argument.
#[derive(Debug, Clone, Copy)]
enum Operand {
    Path(usize),
    Descriptor,
    Address,
    Buffer,
    Vector,
    Message,
}

const CALLS: [(libc::c_long, Call, Operand); 13] = [
    (libc::SYS_mkdirat, Call::Mkdir, Operand::Path(1)),
    (libc::SYS_unlinkat, Call::Unlink, Operand::Path(1)),
    (libc::SYS_renameat, Call::Rename, Operand::Path(3)),
    (libc::SYS_renameat2, Call::Rename, Operand::Path(3)),
    (libc::SYS_fsync, Call::Sync, Operand::Descriptor),
    (libc::SYS_connect, Call::Connect, Operand::Address),
    (libc::SYS_sendto, Call::Send, Operand::Buffer),
    (libc::SYS_sendmsg, Call::Send, Operand::Message),
    (libc::SYS_writev, Call::Send, Operand::Vector),
    (libc::SYS_write, Call::Write, Operand::Buffer),
    (libc::SYS_read, Call::Receive, Operand::Buffer),
    (libc::SYS_recvfrom, Call::Receive, Operand::Buffer),
    (libc::SYS_recvmsg, Call::Receive, Operand::Message),
];

/// Calls that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: [(libc::c_long, Call, Operand); 3] = [
    (libc::SYS_mkdir, Call::Mkdir, Operand::Path(0)),
    (libc::SYS_unlink, Call::Unlink, Operand::Path(0)),
    (libc::SYS_rename, Call::Rename, Operand::Path(1)),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: [(libc::c_long, Call, Operand); 0] = [];

/// What is read of a path, a message or a buffer.
const LONGEST: usize = 4096;

/// A process that is traced. The kernel lets it go if this thread ends.
#[derive(Debug)]
pub(super) struct Tracer {
    pid: Pid,
    memory: File,
    api_port: u16,
    api_connections: BTreeSet<u64>,
    /// Threads, and whether each is inside a call.
    inside: BTreeMap<Pid, bool>,
}

impl Tracer {
    /// Attaches to a process that has one thread. All else must be done by this thread of ours.
    pub(super) fn attach(pid: u32, api_port: u16) -> Result<Self> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let pid = Pid::from_raw(i32::try_from(pid)?);
        // Not its forks: the kubelet that it asks for its version is none of our business.
        ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE)
            .context("cannot trace the agent")?;
        ptrace::interrupt(pid)?;
        Ok(Self { pid, memory, api_port, api_connections: BTreeSet::new(), inside: BTreeMap::new() })
    }

    /// Runs the process until it ends, by `decide` or otherwise.
    pub(super) fn run(&mut self, mut decide: impl FnMut(&Event) -> Result<Answer>) -> Result<()> {
        loop {
            // Children that other threads started are theirs to wait for.
            let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(status) => status,
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let (thread, signal) = match status {
                WaitStatus::PtraceSyscall(thread) => {
                    let inside = self.inside.entry(thread).or_insert(false);
                    *inside = !*inside;
                    let side = if *inside { Side::Entry } else { Side::Exit };
                    if let Some(event) = self.event(thread, side)?
                        && decide(&event)? == Answer::Kill
                    {
                        kill(self.pid, Signal::SIGKILL)?;
                        continue;
                    }
                    (thread, None)
                }
                WaitStatus::PtraceEvent(thread, ..) => (thread, None),
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                _ => continue,
            };
            match ptrace::syscall(thread, signal) {
                // Killed by somebody else between the two calls.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn event(&mut self, thread: Pid, side: Side) -> Result<Option<Event>> {
        let Some((number, arguments)) = registers(thread)? else { return Ok(None) };
        let found = CALLS.iter().chain(&OLD_CALLS).find(|(known, ..)| *known == number);
        let Some(&(_, call, operand)) = found else { return Ok(None) };
        let descriptor = arguments[0];
        let (mut path, mut bytes) = (String::new(), Vec::new());
        match operand {
            Operand::Path(index) => path = self.text(arguments[index]),
            Operand::Descriptor => path = self.file(descriptor),
            Operand::Address => self.note_connection(descriptor, arguments[1]),
            Operand::Buffer => bytes = self.memory(arguments[1], length(arguments[2])),
            Operand::Vector => bytes = self.vector(arguments[1], arguments[2]),
            // struct msghdr: name, its length, and only then the vector and its length.
            Operand::Message => {
                let header = self.memory(arguments[1], 32);
                bytes = self.vector(word(&header, 16), word(&header, 24));
            }
        }
        let to_api = self.api_connections.contains(&descriptor);
        Ok(Some(Event { call, side, path, bytes, to_api }))
    }

    fn note_connection(&mut self, descriptor: u64, address: u64) {
        let address = self.memory(address, 4);
        let family = address.get(..2).and_then(|two| two.try_into().ok()).map(u16::from_ne_bytes);
        let port = address.get(2..4).and_then(|two| two.try_into().ok()).map(u16::from_be_bytes);
        let internet = family.is_some_and(|family| [libc::AF_INET, libc::AF_INET6].contains(&family.into()));
        if internet && port == Some(self.api_port) {
            self.api_connections.insert(descriptor);
        } else {
            self.api_connections.remove(&descriptor);
        }
    }

    fn vector(&self, address: u64, count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Messages are sent in two or three parts; what counts is in the first.
        for index in 0..count.min(4) {
            let part = self.memory(address.wrapping_add(16 * index), 16);
            bytes.extend(self.memory(word(&part, 0), length(word(&part, 8))));
        }
        bytes
    }

    fn memory(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(LONGEST)];
        let read = self.memory.read_at(&mut bytes, address).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    fn text(&self, address: u64) -> String {
        let bytes = self.memory(address, LONGEST);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    fn file(&self, descriptor: u64) -> String {
        let link: PathBuf = format!("/proc/{}/fd/{descriptor}", self.pid).into();
        fs::read_link(link).map(|path| path.display().to_string()).unwrap_or_default()
    }
}

/// Number and arguments of the call a stopped thread is at; `None` where it has been killed meanwhile.
fn registers(thread: Pid) -> Result<Option<(libc::c_long, [u64; 6])>> {
    let Ok(text) = fs::read_to_string(format!("/proc/{thread}/syscall")) else { return Ok(None) };
    let mut words = text.split_whitespace();
    let Some(number) = words.next().and_then(|number| number.parse().ok()) else { return Ok(None) };
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        let text = words.next().and_then(|word| word.strip_prefix("0x")).unwrap_or_default();
        *argument = u64::from_str_radix(text, 16).with_context(|| format!("cannot read `{text}`"))?;
    }
    ensure!(words.next().is_some(), "`/proc/{thread}/syscall` ends early");
    Ok(Some((number, arguments)))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn length(argument: u64) -> usize {
    usize::try_from(argument).unwrap_or(LONGEST).min(LONGEST)
}
