//! Why a policy cannot be compiled.

use std::fmt;

use firewall_common::abi::tables::{Cell, IFACES};

use super::memory::{Memory, mebibytes};

/// Why a policy cannot be compiled. Nothing has changed; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// The tables, or all maps together, take more than they may.
    Memory {
        /// What the policy needs, by part.
        memory: Box<Memory>,
        /// Bytes it may take.
        bytes_max: u64,
        /// What most of it comes from.
        cause: String,
        /// Whether the limit is the user's `memory-max`, or else the kernel's for
        /// one table.
        is_setting: bool,
    },
    /// More rules than cells can name.
    Rules {
        /// Rules of both directions.
        rules: usize,
    },
    /// Rules tell more interfaces apart than the tables hold.
    Interfaces {
        /// Interfaces of this host that some rule names.
        listed: usize,
    },
    /// Rules tell apart more combinations of local end, interface, VLAN and flags
    /// than there is room for, with so many services.
    Combinations {
        /// Combinations.
        sides: usize,
        /// Classes of services.
        services: usize,
    },
    /// Address or service sets overlap so much that listing, for each class, the
    /// sets that hold it takes too much memory.
    Overlaps {
        /// Entries that the lists may have.
        memberships_max: usize,
    },
}

impl std::error::Error for CompileError {}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { memory, bytes_max, cause, is_setting } => {
                let (part, bytes) = memory.largest();
                let (needed, limit, raise) = if *is_setting {
                    (memory.total_bytes(), "`memory-max`", "raise `memory-max`, or ")
                } else {
                    (memory.table_bytes(), "one table of the kernel", "")
                };
                let shrink = match part {
                    "flow table" => "lower `state: { flows }`",
                    "rule counters" | "names of rules" => "write fewer rules",
                    "request counters" => "count the requests of fewer rules",
                    _ => "name fewer distinct networks and ports",
                };
                write!(
                    f,
                    "the policy needs {}, and {limit} allows {}: most of it, {}, is {part} ({cause}); \
                     {raise}{shrink}",
                    mebibytes(needed),
                    mebibytes(*bytes_max),
                    mebibytes(bytes),
                )
            }
            Self::Rules { rules } => {
                let most = Cell::NO_SLOT;
                write!(f, "the policy has {rules} rules; there are counters for {most}")
            }
            Self::Interfaces { listed } => write!(
                f,
                "rules tell {listed} interfaces of this host apart, and {IFACES} is the most; \
                 name fewer in `iface`"
            ),
            Self::Combinations { sides, services } => write!(
                f,
                "rules tell {sides} combinations of local end, interface, VLAN and flags apart, \
                 for {services} classes of services; use fewer of these conditions"
            ),
            Self::Overlaps { memberships_max } => write!(
                f,
                "the sets that rules name overlap in more than {memberships_max} ways; \
                 name disjoint networks and ports"
            ),
        }
    }
}
