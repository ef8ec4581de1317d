//! What a generation takes, by part.

use serde::{Deserialize, Serialize};

/// Bytes of one value of an array map, at most: a program may not point beyond
/// ([`BPF_MAX_VAR_OFF`](https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/verifier.c)).
pub(super) const TABLE_BYTES_MAX: u64 = 1 << 29;

/// Bytes, by part: tables of one generation, and maps that generations share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Service tables of both directions.
    pub services: u64,
    /// Roots of the address trie.
    pub roots: u64,
    /// Blocks of the address trie.
    pub blocks: u64,
    /// Compare records of the address trie.
    pub compares: u64,
    /// Filter or bitmap of what rules name.
    #[serde(alias = "bitmap")]
    pub filter: u64,
    /// Table of lone addresses.
    #[serde(default)]
    pub hosts: u64,
    /// Cells of the ingress chain.
    pub cells_ingress: u64,
    /// Cells of the egress chain.
    pub cells_egress: u64,
    /// Local, interface, VLAN, flag and request maps, and what aligns the rest.
    pub small: u64,
    /// What people are told of a generation's rules; as computed, which is a little more.
    #[serde(default)]
    pub metadata: u64,
    /// Rule counters, one row per CPU.
    pub rule_counters: u64,
    /// Request counters, one row per CPU.
    pub request_counters: u64,
    /// Flow table.
    pub flows: u64,
}

impl Memory {
    /// Bytes of the tables of one generation.
    #[must_use]
    pub fn table_bytes(&self) -> u64 {
        self.services
            + self.roots
            + self.blocks
            + self.compares
            + self.filter
            + self.hosts
            + self.cells_ingress
            + self.cells_egress
            + self.small
    }

    /// Bytes of all that a generation has for itself.
    #[must_use]
    pub fn generation_bytes(&self) -> u64 {
        self.table_bytes() + self.metadata
    }

    /// Bytes of all maps while a policy is replaced: two generations, and what they share.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        2 * self.generation_bytes() + self.rule_counters + self.request_counters + self.flows
    }

    /// Name and bytes of each part, in the order in which people see them.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 13] {
        [
            ("service tables", self.services),
            ("address roots", self.roots),
            ("address blocks", self.blocks),
            ("address records", self.compares),
            ("address filter", self.filter),
            ("lone addresses", self.hosts),
            ("ingress cells", self.cells_ingress),
            ("egress cells", self.cells_egress),
            ("small tables", self.small),
            ("names of rules", self.metadata),
            ("rule counters", self.rule_counters),
            ("request counters", self.request_counters),
            ("flow table", self.flows),
        ]
    }

    /// The part that takes most while a policy is replaced, and its bytes then.
    #[must_use]
    pub fn largest(&self) -> (&'static str, u64) {
        let shared = ["rule counters", "request counters", "flow table"];
        let doubled =
            |(part, bytes)| (part, if shared.contains(&part) { bytes } else { 2 * bytes });
        self.parts().map(doubled).into_iter().max_by_key(|&(_, bytes)| bytes).unwrap_or_default()
    }
}

/// Bytes for people, rounded as `firewall check` does: `12.3 MiB`.
#[expect(clippy::cast_precision_loss, reason = "shown to a tenth")]
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1_u32 << 20))
}
