//! A bus that takes a call for a reload, passes it on, and never hands back what comes after it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::{fs, thread};

use anyhow::{Context as _, Result};
use lab::Node;

/// The member's field of a call to `Reload` (D-Bus specification, "Header Fields": its length and a NUL). The name of a
/// property that ends so has another length.
const RELOAD: &[u8] = b"\x06\0\0\0Reload\0";

/// Where it listens, as the node sees it.
pub(crate) const ADDRESS: &str = "unix:path=/run/lab-bus";

/// It passes everything on, but that answers are held back behind a reload.
pub(crate) struct LossyBus {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    reloads: AtomicUsize,
    /// The connection whose answers are held back, as long as there is one.
    held: Mutex<Option<UnixStream>>,
    is_cut: Condvar,
}

impl LossyBus {
    /// Listens on the node.
    pub(crate) fn start(node: &Node) -> Result<Self> {
        let run = format!("/proc/{}/root/run", node.leader()?);
        let (here, real) = (format!("{run}/lab-bus"), format!("{run}/dbus/system_bus_socket"));
        let listener = UnixListener::bind(&here).context("cannot listen on the node")?;
        fs::set_permissions(&here, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        // It ends with the test's process: nobody connects once the node is gone.
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(bus) = UnixStream::connect(&real) else { return };
                let _ = ours.pass(&client, &bus);
            }
        });
        Ok(Self { shared })
    }

    /// How many reloads were asked for.
    pub(crate) fn reloads(&self) -> usize {
        self.shared.reloads.load(Ordering::SeqCst)
    }

    /// Ends the connection that waits for its answer; whether one does. It ends before what was held back goes on, or that
    /// would be handed back after all.
    pub(crate) fn cut(&self) -> bool {
        let mut held = self.shared.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_cut = held.take().is_some_and(|client| client.shutdown(Shutdown::Both).is_ok());
        drop(held);
        self.shared.is_cut.notify_all();
        is_cut
    }
}

impl Shared {
    fn pass(self: &Arc<Self>, client: &UnixStream, bus: &UnixStream) -> Result<()> {
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        let (from, to, handle) = (client.try_clone()?, bus.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            copy(&from, &to, |bytes| {
                if bytes.windows(RELOAD.len()).any(|window| window == RELOAD) {
                    // Only the first one's answer is lost.
                    if up.reloads.fetch_add(1, Ordering::SeqCst) == 0 {
                        *up.held.lock().unwrap_or_else(PoisonError::into_inner) = handle.try_clone().ok();
                    }
                }
            });
        });
        let (from, to) = (bus.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            copy(&from, &to, |_| {
                let held = down.held.lock().unwrap_or_else(PoisonError::into_inner);
                drop(down.is_cut.wait_while(held, |held| held.is_some()));
            });
        });
        Ok(())
    }
}

/// Copies until either side ends; `seen` is asked before each piece is passed on.
fn copy(mut from: &UnixStream, mut to: &UnixStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..read) else { break };
        seen(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
