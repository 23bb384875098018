//! A name service that knows one name: what CoreDNS is for pods, as far as a pod's own settings are concerned.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

/// An answer without an error, and one that says that there is no such name (RFC 1035, 4.1.1).
const FOUND: [u8; 2] = [0x81, 0x80];
const NO_SUCH_NAME: [u8; 2] = [0x81, 0x83];

/// Answers until it is dropped.
pub(crate) struct NameService(SocketAddr);

impl NameService {
    /// Tells everybody who asks at a port of `at` that `name` is `address`.
    pub(crate) fn start(at: Ipv4Addr, name: &'static str, address: Ipv4Addr) -> io::Result<Self> {
        let socket = UdpSocket::bind((at, 0))?;
        let own = socket.local_addr()?;
        thread::spawn(move || {
            let mut buffer = [0; 512];
            // An empty packet is its end.
            while let Ok((length @ 1.., asker)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = answer(&buffer[..length], name, address) {
                    let _ = socket.send_to(&answer, asker);
                }
            }
        });
        Ok(Self(own))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }
}

impl Drop for NameService {
    fn drop(&mut self) {
        if let Ok(socket) = UdpSocket::bind((self.0.ip(), 0)) {
            let _ = socket.send_to(&[], self.0);
        }
    }
}

/// The answer to a question for the address of `name`; for anything else that there is none.
fn answer(query: &[u8], name: &str, address: Ipv4Addr) -> Option<Vec<u8>> {
    let (header, rest) = query.split_at_checked(12)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let question = rest.get(..end + 5)?;
    let mut labels = Vec::new();
    let mut left = &question[..end];
    while let Some((&length, more)) = left.split_first() {
        let (label, after) = more.split_at_checked(usize::from(length))?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        left = after;
    }
    let is_known = labels.join(".") == name;
    let is_told = is_known && question[end + 1..end + 3] == [0, 1];
    let flags = if is_known { FOUND } else { NO_SUCH_NAME };
    let mut answer = [&header[..2], &flags, &[0, 1, 0, u8::from(is_told), 0, 0, 0, 0], question].concat();
    if is_told {
        // The name of the question, an address of the internet, good for 5 s.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
