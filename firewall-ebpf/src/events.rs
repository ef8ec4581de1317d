//! Sampled events: which drops a person is told of, and the telling.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use firewall_common::abi::counter::Cpu;
use firewall_common::abi::event::{
    EVENT_SLOTS, EVENTS_PER_WINDOW, Event, Sampler, TRIES_PER_JIFFY,
};
use firewall_common::cold::cold;
use firewall_common::guard::mix;
use firewall_common::packet::{Address, Packet};
use firewall_common::parse::ethertype;
use firewall_common::pipeline::Arrival;
use firewall_common::verdict::Decision;

use crate::cpu::ThisCpu;
use crate::maps;
use crate::world::jiffies;

/// Where and as what to remember a drop that is worth an event: neither this CPU
/// nor this source has had its share of the window. Counts one that is not. Under a
/// flood this is a comparison and an addition: seed and source are `asked` for behind
/// them, so that nobody keeps them until then.
#[inline(always)]
fn worth(
    Cpu { sampler, last, .. }: &mut Cpu,
    decision: &Decision,
    asked: impl FnOnce() -> (u32, Address),
) -> Option<(usize, u64)> {
    let jiffy = jiffies();
    if sampler.closed != jiffy {
        cold();
        if sampler.jiffy != jiffy {
            if sampler.jiffy >> Sampler::WINDOW_SHIFT != jiffy >> Sampler::WINDOW_SHIFT {
                sampler.sent = 0;
            }
            sampler.jiffy = jiffy;
            sampler.tries = 0;
        }
        sampler.tries += 1;
        if sampler.tries == TRIES_PER_JIFFY {
            sampler.closed = jiffy;
        }
        let kind = u64::from(decision.cell.slot()) | (decision.reason as u64) << 32;
        let (seed, source) = asked();
        let hash = mix(seed, [source.hi, kind, jiffy >> Sampler::WINDOW_SHIFT]);
        let place = (hash & u64::from(EVENT_SLOTS - 1)) as usize;
        if sampler.sent < EVENTS_PER_WINDOW && last.get(place) != Some(&hash) {
            return Some((place, hash));
        }
    }
    sampler.suppressed += 1;
    None
}

/// Whether a drop is one of those that no event is sent of; counts it then.
#[inline(always)]
pub(crate) fn keeps_back(
    cpu: ThisCpu,
    decision: &Decision,
    asked: impl FnOnce() -> (u32, Address),
) -> bool {
    worth(cpu.row(), decision, asked).is_none()
}

/// Raises an event if it is worth one.
#[inline(never)]
pub(crate) fn sample(
    arrival: &Arrival,
    decision: Decision,
    packet: &Packet,
    (seed, generation): (u32, u32),
) {
    let Some(cpu) = ThisCpu::ask() else { return };
    let row = cpu.row();
    let asked = || (seed, packet.source);
    let Some((place, hash)) = worth(row, &decision, asked) else { return };
    let Cpu { sampler, last, .. } = row;
    if let Some(last) = last.get_mut(place) {
        *last = hash;
    }
    sampler.sent += 1;
    if !send(arrival, &decision, packet, generation) {
        sampler.lost += 1;
    }
}

/// Writes an event to the ring; false if there is no room.
#[inline(always)]
fn send(arrival: &Arrival, decision: &Decision, packet: &Packet, generation: u32) -> bool {
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else { return false };
    let known = matches!(packet.ethertype, ethertype::IPV4 | ethertype::IPV6);
    entry.write(Event {
        // SAFETY: the helper only reads a clock.
        time_ns: unsafe { bpf_ktime_get_coarse_ns() },
        source: [packet.source.hi, packet.source.lo],
        destination: [packet.destination.hi, packet.destination.lo],
        slot: decision.cell.slot(),
        ifindex: arrival.ifindex,
        length: arrival.length,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        ethertype: packet.ethertype,
        vlan: packet.vlan,
        protocol: packet.protocol,
        family: if known { packet.family as u8 } else { 0 },
        tcp_flags: packet.tcp_flags,
        reason: decision.reason as u8,
        direction: arrival.direction as u8,
        generation: generation as u8,
        reserved: [0; 6],
    });
    entry.submit(0);
    true
}
