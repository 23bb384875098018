//! A bus on which nobody hears that a job has ended: it passes everything on but systemd's signals of that.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use lab::Node;

/// The member's field of the signal (D-Bus specification, "Header Fields": its length and a NUL).
const JOB_REMOVED: &[u8] = b"\x0a\0\0\0JobRemoved\0";

/// The bytes before a message's header fields; the fields are padded to eights.
const FIXED: usize = 16;
const SIGNAL: u8 = 4;

pub(crate) struct DeafBus {
    /// Where it listens, as the host sees it.
    pub(crate) address: String,
    swallowed: Arc<AtomicUsize>,
}

impl DeafBus {
    /// Listens beside the node's own bus.
    pub(crate) fn start(node: &Node) -> Result<Self> {
        let run = format!("/proc/{}/root/run", node.leader()?);
        let (here, real) = (format!("{run}/lab-deaf-bus"), format!("{run}/dbus/system_bus_socket"));
        let listener = UnixListener::bind(&here).context("cannot listen on the node")?;
        let swallowed = Arc::new(AtomicUsize::default());
        let counted = Arc::clone(&swallowed);
        // It ends with the test's process: nobody connects once the node is gone.
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(bus) = UnixStream::connect(&real) else { return };
                let (Ok(from), Ok(to)) = (client.try_clone(), bus.try_clone()) else { return };
                thread::spawn(move || copy(&from, &to));
                let counted = Arc::clone(&counted);
                thread::spawn(move || copy_but_ends(&bus, &client, &counted));
            }
        });
        Ok(Self { address: format!("unix:path={here}"), swallowed })
    }

    /// How many ends nobody heard of.
    pub(crate) fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }
}

fn copy(mut from: &UnixStream, mut to: &UnixStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Line by line while the two agree on who they are, and message by message after.
fn copy_but_ends(mut bus: &UnixStream, mut client: &UnixStream, swallowed: &AtomicUsize) {
    let (mut waiting, mut buffer) = (Vec::new(), vec![0; 65_536]);
    while let Ok(read @ 1..) = bus.read(&mut buffer) {
        waiting.extend_from_slice(buffer.get(..read).unwrap_or_default());
        while let Some(length) = length_of_first(&waiting) {
            let piece: Vec<u8> = waiting.drain(..length).collect();
            if is_end_of_job(&piece) {
                swallowed.fetch_add(1, Ordering::SeqCst);
            } else if client.write_all(&piece).is_err() {
                break;
            }
        }
    }
    let _ = (bus.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
}

/// How long the first line or message is, once all of it is there. systemd and bus speak little-endian (`l`) here; no line
/// of the handshake begins so.
fn length_of_first(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'l') {
        return Some(bytes.iter().position(|&byte| byte == b'\n')? + 1);
    }
    let number = |at: usize| {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(four)).ok()
    };
    let (body, fields) = (number(4)?, number(12)?);
    let length = FIXED + fields.next_multiple_of(8) + body;
    (bytes.len() >= length).then_some(length)
}

fn is_end_of_job(piece: &[u8]) -> bool {
    piece.starts_with(&[b'l', SIGNAL]) && piece.windows(JOB_REMOVED.len()).any(|window| window == JOB_REMOVED)
}
