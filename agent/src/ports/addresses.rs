//! The machine's addresses, as the kernel lists them.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::{Failure, chain};
use crate::reason::Reason;

/// An address and the interface that has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// Every address that other machines may reach, with its interface; none of loopback and none of one link only.
///
/// # Errors
/// The kernel does not answer.
pub fn all() -> Result<Vec<LocalAddress>, Failure> {
    let listed = getifaddrs().map_err(|error| {
        Failure::new(Reason::Unobservable, format!("cannot list the machine's addresses: {}", chain(&error)))
    })?;
    let mut all: Vec<_> = listed
        .filter_map(|found| Some((found.interface_name, ip(&found.address?)?)))
        .filter(|(_, address)| reaches_out(*address))
        .map(|(interface, address)| LocalAddress { interface, address })
        .collect();
    all.sort();
    Ok(all)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|found| IpAddr::V6(found.ip())))
}

/// Whether other machines may reach it: it is none of loopback and none of one link only.
pub(crate) fn reaches_out(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_or_one_link_are_none_that_others_reach() {
        for (text, expected) in [
            ("10.0.0.2", true),
            ("fd00::2", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.20.10", false),
            ("fe80::1", false),
        ] {
            assert_eq!(reaches_out(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn the_kernel_answers() {
        let all = all().unwrap();
        assert!(all.iter().all(|local| !local.address.is_loopback()), "{all:?}");
    }
}
