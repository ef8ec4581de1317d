//! A quick hash.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::LazyLock;

/// A map from names or sets of a policy.
pub(crate) type FoldMap<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;
/// A set of them.
pub(crate) type FoldSet<K> = HashSet<K, BuildHasherDefault<Fold>>;

/// A quick hash, from a number that is another in each process: a policy may come from
/// somebody who would gain by collisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold(u64);

impl Default for Fold {
    fn default() -> Self {
        static SECRET: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
        Self(*SECRET)
    }
}

/// The hash of a name.
pub(crate) fn hash(name: &str) -> u64 {
    BuildHasherDefault::<Fold>::default().hash_one(name)
}

impl Fold {
    fn mix(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value ^ 0x9e37_79b9_7f4a_7c15) * 0xd1b5_4a32_d192_ed03;
        self.0 = half(product) ^ half(product >> 64);
    }
}

/// The lower half.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
pub(crate) const fn half(value: u128) -> u64 {
    value as u64
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(padded));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_u128(&mut self, value: u128) {
        self.mix(half(value));
        self.mix(half(value >> 64));
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
