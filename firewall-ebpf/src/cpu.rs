//! What this CPU counts of all packets, and remembers of events: its row of `CPUS`.

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use firewall_common::abi::counter::{Cpu, INTERFACES, Interface, Traffic};
use firewall_common::abi::tables::Setting;
use firewall_common::cold::cold;
use firewall_common::verdict::{Direction, Reason};

use crate::maps;

/// Outcomes of one direction.
const REASONS: usize = Reason::COUNT as usize;

/// This CPU, and its row of `CPUS`.
#[derive(Clone, Copy)]
pub(crate) struct ThisCpu {
    /// Its number.
    pub(crate) number: u32,
    row: *mut Cpu,
}

impl ThisCpu {
    /// Asks which it is; `None` if user space did not count it.
    #[inline(always)]
    pub(crate) fn ask() -> Option<Self> {
        // SAFETY: the helper only reads the CPU number.
        let number = unsafe { bpf_get_smp_processor_id() };
        if number >= maps::setting(Setting::Cpus) {
            cold();
            // A block that is nobody else's: verifiers that know how many CPUs there are find that
            // nothing leads here, and leave out the question.
            maps::apart::<2>();
            return None;
        }
        // SAFETY: the value has a row for each CPU.
        let row = unsafe { maps::value(&maps::CPUS).add(number as usize) };
        Some(Self { number, row })
    }

    /// All of its row.
    #[inline(always)]
    pub(crate) fn row(self) -> &'static mut Cpu {
        // SAFETY: no other CPU writes this row.
        unsafe { &mut *self.row }
    }

    /// The row, moved so that an interface stands where the first one does: it, or the first
    /// if it is none of those counted apart.
    ///
    /// User space enters an index at the first free place from `index & 15` on, at
    /// most four away; place 0 is never used.
    #[inline(always)]
    fn at_interface(self, ifindex: u32) -> *mut Cpu {
        let at = |place: u32| {
            let place = maps::masked(place, INTERFACES - 1);
            // SAFETY: there are as many places as a masked number can name.
            unsafe { self.row.byte_add(place * size_of::<Interface>()) }
        };
        // SAFETY: as above; user space writes whole words.
        let is_there = |row: *mut Cpu| unsafe { (*row).interfaces[0].ifindex } == ifindex;
        let first = at(ifindex);
        if is_there(first) {
            return first;
        }
        cold();
        for probe in 1..4 {
            let row = at(ifindex + probe);
            if is_there(row) {
                return row;
            }
        }
        self.row
    }

    /// Counts packets.
    #[inline(always)]
    pub(crate) fn count(
        self,
        (ifindex, direction): (u32, Direction),
        reason: Reason,
        packets: u64,
        bytes: u64,
    ) {
        let row = self.at_interface(ifindex);
        // SAFETY: an interface of this row.
        let outcomes = unsafe { &raw mut (*row).interfaces[0].outcomes }.cast::<Traffic>();
        let number = direction as usize * REASONS + reason as usize;
        // SAFETY: both are numbered from 0 on; whatever 8 bits the verifier believes a reason
        // to have, the place is in this row.
        let outcome = unsafe { outcomes.add(number) };
        // SAFETY: as above.
        let outcome = unsafe { &mut *outcome };
        outcome.packets += packets;
        outcome.bytes += bytes;
    }
}
