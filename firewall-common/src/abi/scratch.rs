//! What one run of the programs hands from one to the next.
//!
//! Map `SCRATCH`: per-CPU array of one [`Scratch`]. Written and read by the run on
//! that CPU only; user space gives it its size. It is in a map, not on the stack:
//! tail calls leave the stack behind, and the verifier does not follow what a map
//! holds, and so checks the code behind the parser once.

use crate::packet::Packet;
use crate::question::{Answers, Questions};
use crate::request::Tally;
use crate::verdict::{Decision, Direction};

/// Working memory of a run.
#[repr(C)]
#[derive(Debug)]
pub struct Scratch {
    /// The packet being judged.
    pub packet: Packet,
    /// What it asks of the policy.
    pub questions: Questions,
    /// What the policy says.
    pub answers: Answers,
    /// What was decided of it.
    pub decision: Decision,
    /// What it adds to request counters.
    pub tally: Tally,
    /// Slot of the generation that judges.
    pub generation: u32,
    /// Which way the packet goes: bit 0, a [`Direction`].
    pub direction: u32,
}

impl Scratch {
    /// Which way the packet goes; one bit, so that the verifier knows a bound.
    #[inline(always)]
    #[must_use]
    pub const fn direction(&self) -> Direction {
        if self.direction & 1 == 0 { Direction::Ingress } else { Direction::Egress }
    }
}

/// Places of the stage programs in `STAGES_XDP` and `STAGES_TC`.
pub mod stage {
    /// Parses and asks.
    pub const READ: u32 = 0;
    /// Decides and counts.
    pub const CONCLUDE: u32 = 1;
    /// Drops what comes from a banned source, which the packet in the scratch memory
    /// names; hands on any other.
    pub const SUSPECT: u32 = 2;
    /// Counts the requests in a packet that passes, which the scratch memory describes.
    pub const REQUESTS: u32 = 3;
    /// Places there are.
    pub const COUNT: u32 = 4;
}
