//! Random numbers that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

/// Names the seed of a run to be repeated.
const VARIABLE: &str = "FIREWALL_SEED";

impl Rng {
    /// The seed of the environment, or another one each time; printed, so that a
    /// failure can be repeated.
    pub(crate) fn from_environment(what: &str) -> Result<Self> {
        let seed = if let Ok(text) = std::env::var(VARIABLE) {
            text.parse().with_context(|| format!("{VARIABLE}={text} is no number"))?
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            u64::from(now.subsec_nanos()) << 20 ^ now.as_secs()
        };
        eprintln!("{what}: {VARIABLE}={seed}");
        Ok(Self(seed))
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() >> 1).unwrap_or(0) % end.max(1)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of them; the default if there is none.
    pub(crate) fn pick<T: Clone + Default>(&mut self, from: &[T]) -> T {
        from.get(self.below(from.len())).cloned().unwrap_or_default()
    }

    /// A random byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }

    /// Random bytes, fewer than `end`.
    pub(crate) fn bytes(&mut self, end: usize) -> Vec<u8> {
        (0..self.below(end)).map(|_| self.byte()).collect()
    }

    /// Puts them into a random order.
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for place in (1..all.len()).rev() {
            all.swap(place, self.below(place + 1));
        }
    }
}
