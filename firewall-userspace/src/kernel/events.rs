//! Reading sampled events.

use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use anyhow::Result;
use aya::maps::{Map, MapData, RingBuf};
use firewall_common::abi::counter::Cpu;
use firewall_common::abi::event::{Event, Sampler};

use super::counters::Counters;
use super::maps::Maps;
use super::sys;

/// The reading end of the ring.
pub struct Events(RingBuf<MapData>);

impl Events {
    /// Opens the ring. There is one reader: two would each see a part.
    ///
    /// # Errors
    /// If the ring is not ours to read.
    pub fn open(maps: &Maps) -> Result<Self> {
        let data = MapData::from_fd(sys::duplicate(&maps.fd("EVENTS")?)?)?;
        Ok(Self(RingBuf::try_from(Map::RingBuf(data))?))
    }

    /// The next event; `None` when there is no more for now.
    pub fn next_event(&mut self) -> Option<Event> {
        let item = self.0.next()?;
        let bytes: &[u8] = &item;
        if bytes.len() < size_of::<Event>() {
            return None;
        }
        // SAFETY: long enough, any bit pattern is an `Event`, alignment is not
        // assumed.
        Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring's descriptor lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// What became of packets that were worth an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Aggregated away, since the maps were made.
    pub suppressed: u64,
    /// Lost because nobody read the ring.
    pub lost: u64,
}

/// Adds up what all CPUs kept back.
///
/// # Errors
/// If the map cannot be read.
pub fn sampled(maps: &Maps) -> Result<Sampled> {
    let cpus = Counters::open(maps, "CPUS", false)?;
    let total = |field| cpus.sum((offset_of!(Cpu, sampler) + field) / 8);
    Ok(Sampled {
        suppressed: total(offset_of!(Sampler, suppressed)),
        lost: total(offset_of!(Sampler, lost)),
    })
}
