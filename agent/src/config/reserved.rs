//! `kubelet.reserved: auto`: what is kept from pods for the system and for Kubernetes' own programs, by the formula that
//! Google publishes for GKE's nodes (<https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes>, "CPU
//! reservations" and "Memory reservations"). It becomes `kubelet.config.kubeReserved`, which every version has.

use serde_json::json;

use super::merge::{Layer, located, plain};
use super::{HostFacts, Origin};

/// A part of a resource and the share of it that is kept, in hundredths of a per cent.
type Band = (u64, u64);

const MIB: u64 = 1 << 20;

/// Of memory, MiB; the last one has no end.
const MEMORY: [Band; 5] = [(4096, 2500), (4096, 2000), (8192, 1000), (114_688, 600), (u64::MAX, 200)];
/// Kept of a machine with less than 1 GiB.
const SMALLEST: u64 = 255;
/// Of processors, thousandths.
const PROCESSORS: [Band; 4] = [(1000, 600), (1000, 100), (2000, 50), (u64::MAX, 25)];

/// Where it is asked for.
const KEY: &str = "kubelet.reserved";

/// What is kept of `amount`.
fn kept(amount: u64, bands: &[Band]) -> u64 {
    let (mut left, mut hundredths) = (amount, 0_u128);
    for (size, share) in bands {
        let here = left.min(*size);
        hundredths += u128::from(here) * u128::from(*share);
        left -= here;
    }
    u64::try_from(hundredths / 10_000).unwrap_or(u64::MAX)
}

/// MiB of memory kept on a machine that has `bytes` of it.
fn memory(bytes: u64) -> u64 {
    let whole = bytes / MIB;
    if whole < 1024 { SMALLEST } else { kept(whole, &MEMORY) }
}

/// Thousandths of a processor.
fn processors(count: u64) -> u64 {
    kept(count.saturating_mul(1000), &PROCESSORS)
}

/// What it comes to on this machine, below everything that is written; `None` where it is not asked for.
pub(super) fn layer(layers: &[Layer], host: &HostFacts) -> Option<Layer> {
    let asked = layers.iter().rev().find_map(|layer| layer.get(KEY))?;
    if plain(asked) != "auto" {
        return None;
    }
    let mut layer = Layer::default();
    let mut set = |name: &str, value: String, how: &str, input: String| {
        let origin = Origin::Computed { how: format!("kubelet.reserved: auto, {how}"), inputs: vec![input] };
        layer.set(&format!("kubelet.config.kubeReserved.{name}"), located(&json!(value), &origin.encoded()));
    };
    if host.memory > 0 {
        let how = "25 % of the first 4 GiB, 20 % of the next 4, 10 % of the next 8, 6 % up to 128, 2 % of the rest; 255 MiB \
                   below 1 GiB";
        set(
            "memory",
            format!("{}Mi", memory(host.memory)),
            how,
            format!("{} MiB of memory", host.memory / MIB),
        );
    }
    if host.processors > 0 {
        let how = "6 % of the first processor, 1 % of the second, 0.5 % of the third and fourth, 0.25 % of the rest";
        set(
            "cpu",
            format!("{}m", processors(host.processors)),
            how,
            format!("{} processors", host.processors),
        );
    }
    Some(layer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1024 * MIB;

    #[test]
    fn figures_are_those_of_the_formula() {
        for (gib, mib) in
            [(1, 256), (2, 512), (4, 1024), (8, 1843), (16, 2662), (32, 3645), (64, 5611), (128, 9543)]
        {
            assert_eq!(memory(gib * GIB), mib, "{gib} GiB");
        }
        assert_eq!((memory(512 * MIB), memory(256 * GIB)), (255, 12_165));
        for (count, thousandths) in [(1, 60), (2, 70), (4, 80), (8, 90), (16, 110), (64, 230)] {
            assert_eq!(processors(count), thousandths, "{count}");
        }
    }

    proptest! {
        /// More of a machine keeps no less, and never all of it.
        #[test]
        fn more_keeps_no_less_and_never_all(small in 512_u64..4_000_000, more in 0_u64..4_000_000, count in 1_u64..4096) {
            let (one, other) = (memory(small * MIB), memory((small + more) * MIB));
            prop_assert!(one <= other && other - one <= more);
            prop_assert!(one * 2 <= small);
            prop_assert!(processors(count) <= processors(count + 1) && processors(count) < count * 1000);
        }
    }
}
