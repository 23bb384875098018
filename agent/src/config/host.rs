//! The machine that a configuration is for, as far as defaults are computed from it.

/// What is known of the machine before anything is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Its host name, as it is.
    pub hostname: String,
    /// How many processors it uses; 0 where that is not known.
    pub processors: u64,
    /// Its memory, bytes; 0 where that is not known.
    pub memory: u64,
}

impl HostFacts {
    /// Of this machine.
    pub fn of_host() -> Self {
        let memory = rustix::system::sysinfo();
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
        Self {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            processors: named(&online),
            memory: memory.totalram.saturating_mul(memory.mem_unit.into()),
        }
    }
}

/// How many numbers a text of the kernel's names, such as `0-3,7`.
fn named(text: &str) -> u64 {
    let count = |range: &str| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        high.parse::<u64>().ok()?.checked_sub(low.parse().ok()?)?.checked_add(1)
    };
    text.trim().split(',').filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn processors_are_counted_as_the_kernel_lists_them() {
        for (list, count) in [("0-1\n", 2), ("0\n", 1), ("0-3,7,9-10\n", 7), ("", 0), ("x", 0)] {
            assert_eq!(super::named(list), count, "{list:?}");
        }
    }
}
