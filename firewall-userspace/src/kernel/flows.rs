//! The table of flows, read and written through a mapping while programs use it.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use firewall_common::abi::flow::{
    ENTRY_WORDS, FLOW_PORTS, Flow, FlowKey, HEADER_WORDS, SEED_WORD, State, places_of,
};
use firewall_common::abi::tables::Setting;
use firewall_common::flow::table::{self, Slots, WAYS};
use firewall_common::flow::{self, Clock, TICK_SHIFT};

use super::jiffies;
use super::maps::Maps;
use super::object::Settings;
use super::sys::{self, Mapping};

/// The table of flows, at one moment of its clock.
#[derive(Debug)]
pub struct Flows {
    memory: Memory,
    ports: Mapping,
    clock: Clock,
}

impl Flows {
    /// Opens the table, under a policy that lets flows be silent for so long.
    ///
    /// # Errors
    /// If it cannot be mapped, or the kernel does not tell the time.
    pub fn open(maps: &Maps, Idle { tcp, udp }: Idle) -> Result<Self> {
        let memory = Memory::map(maps.fd("FLOWS")?)?;
        let ports = Mapping::new(maps.fd("FLOW_PORTS")?, 4 * FLOW_PORTS as usize, true)
            .context("could not map the ports of flows")?;
        let now = jiffies::now()? >> TICK_SHIFT;
        let clock = Clock { now, hz: jiffies::per_second(), tcp, udp };
        Ok(Self { memory, ports, clock })
    }

    /// Flows that there is room for.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.memory.mask + 1
    }

    /// Flows in force. Reads no entry.
    #[must_use]
    pub fn count(&self) -> usize {
        let in_force = |&place: &u32| {
            table::is_live(&self.memory, table::word_at(&self.memory, place), &self.clock)
        };
        (0..self.capacity()).filter(in_force).count()
    }

    /// Flows in force. One that begins or ends meanwhile may be among them or not.
    pub fn iter(&self) -> impl Iterator<Item = (FlowKey, Flow)> {
        (0..self.capacity()).filter_map(|place| table::flow_at(&self.memory, place, &self.clock))
    }

    /// For how long a flow has been silent.
    #[must_use]
    pub fn silence(&self, flow: &Flow) -> Duration {
        self.clock.silence(flow.seen)
    }

    /// Writes a flow that was silent for so long, and notes its port, without which
    /// nobody looks it up.
    ///
    /// # Errors
    /// If the table would not take it.
    pub fn write(&mut self, key: &FlowKey, flags: u32, slot: u32, silent: Duration) -> Result<()> {
        let seen = self.clock.before(silent);
        let flow = Flow { seen, opened: seen, slot, flags };
        table::forget(&mut self.memory, key);
        let written = table::insert(&mut self.memory, key, &flow, &self.clock);
        ensure!(written, "the table of flows is full");
        if let Some(index) = flow::port_index(key.protocol, key.local_port) {
            let (word, shift) = (index as usize / 2, index % 2 * 32);
            self.ports.set_bits(word, u64::from(flow::STAMP_UNKNOWN) << shift);
        }
        Ok(())
    }

    /// Forgets every flow.
    pub fn clear(&mut self) {
        for place in 0..self.capacity() {
            let word = table::word_at(&self.memory, place);
            if word.state() == State::Live {
                self.memory.swap(place, word.0, word.with(State::Free).0);
            }
        }
    }
}

/// What programs have to know of a table: its places, less one, and its seed.
///
/// # Errors
/// If it cannot be mapped.
pub fn settings(fd: BorrowedFd<'_>) -> Result<(u32, u32)> {
    let head = Memory::head(fd)?;
    Ok((head.mask, head.seed))
}

/// For how many seconds a flow may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Of TCP.
    pub tcp: u32,
    /// Of UDP without an answer.
    pub udp: u32,
}

impl Idle {
    /// As a generation's programs were told.
    pub(super) fn of(settings: &Settings) -> Self {
        let told = |setting| settings.get(setting as usize).copied().unwrap_or_default();
        Self { tcp: told(Setting::TcpIdleSeconds), udp: told(Setting::UdpIdleSeconds) }
    }
}

/// The memory of a table.
#[derive(Debug)]
struct Memory {
    mapping: Mapping,
    mask: u32,
    seed: u32,
}

impl Memory {
    /// Maps a table.
    fn map(fd: BorrowedFd<'_>) -> Result<Self> {
        Self::part(fd, |bytes| bytes as usize)
    }

    /// Maps what stands before its places: a mapping takes time by its length.
    fn head(fd: BorrowedFd<'_>) -> Result<Self> {
        Self::part(fd, |_| HEADER_WORDS as usize * 8)
    }

    /// Maps the beginning of a table, and draws its seed if it has none.
    fn part(fd: BorrowedFd<'_>, length: impl Fn(u32) -> usize) -> Result<Self> {
        let bytes = sys::shape(fd)?.value;
        let mapping =
            Mapping::new(fd, length(bytes), true).context("could not map the table of flows")?;
        if mapping.word(SEED_WORD as usize) == 0 {
            // Another process may be quicker: then its seed holds.
            let _ours = mapping.swap(SEED_WORD as usize, 0, sys::random()? | 1);
        }
        let [seed, _] = sys::halves(mapping.word(SEED_WORD as usize));
        let mask = places_of(bytes).checked_sub(1).context("a table of flows without places")?;
        Ok(Self { mapping, mask, seed })
    }
}

impl Slots for Memory {
    type Bucket = usize;
    type Entry = usize;

    fn mask(&self) -> u32 {
        self.mask
    }

    fn seed(&self) -> u32 {
        self.seed
    }

    fn bucket(&self, first: u32) -> usize {
        (HEADER_WORDS + first) as usize
    }

    fn word(&self, bucket: usize, way: u32) -> u64 {
        self.mapping.word(bucket + (way % WAYS) as usize)
    }

    fn swap(&mut self, place: u32, old: u64, new: u64) -> bool {
        self.mapping.swap((HEADER_WORDS + place) as usize, old, new)
    }

    fn entry(&self, place: u32) -> usize {
        HEADER_WORDS as usize + self.mask as usize + 1 + (place * ENTRY_WORDS) as usize
    }

    fn read(&self, entry: usize, index: usize) -> u64 {
        self.mapping.word(entry + index)
    }

    fn write(&mut self, entry: usize, index: usize, value: u64) {
        self.mapping.set_word(entry + index, value);
    }
}
