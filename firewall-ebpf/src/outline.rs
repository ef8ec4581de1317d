//! Look-ups that the verifier checks once, on their own.
//!
//! An exported function is a *global* function to BPF: it takes scalars, is
//! verified without its callers, and so keeps the cost of verification from
//! multiplying with the places that need it.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use firewall_common::abi::control::Word;
use firewall_common::abi::scratch::Scratch;
use firewall_common::ban::{self, Bans as _};
use firewall_common::control::in_force;
use firewall_common::flow;
use firewall_common::lines::{Classes, vectors};
use firewall_common::opening;
use firewall_common::packet::{Address, Family};
use firewall_common::parse;
use firewall_common::question;
use firewall_common::request::{self, Entry, Kind, Tally};
use firewall_common::service::ServiceIndex;
use firewall_common::verdict::{Direction, Reason};

use crate::frame::{Hook, TcFrame, XdpFrame};
use crate::maps;
use crate::sockets;
use crate::world::{self, SharedBans, Words};
use crate::{tc_action, xdp_action};

/// [`question::ask_openings`] of the scratch; the kernel wants a result.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ask_openings() -> u32 {
    let Some(Scratch { questions, answers, .. }) = maps::scratch() else { return 0 };
    question::ask_openings(questions, answers, |remote, version, service| {
        opening(remote.hi, remote.lo, version, service.0) != 0
    });
    0
}

/// [`opening::admits`]; 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opening(hi: u64, lo: u64, version: u32, service: u32) -> u32 {
    let Some(openings) = world::openings() else { return 0 };
    let (remote, service, now) = (Address { hi, lo }, ServiceIndex(service), SharedBans.now());
    u32::from(opening::admits(openings, remote, version, service, now))
}

/// [`vectors::line`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn line_of_vectors(which: u32, address: u32, side: u32, column: u32) -> u32 {
    vectors::line(&Words, direction(which & 1), Classes { address, side, column })
}

/// [`ban::find`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ban_of(hi: u64, lo: u64, version: u32) -> u32 {
    ban::find(&mut SharedBans, Address { hi, lo }, family(version))
}

/// [`ban::place`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ban_place(hi: u64, lo: u64, version: u32, length: u32) -> u32 {
    ban::place(&mut SharedBans, Address { hi, lo }, family(version), length)
}

/// [`parse::parse_v6`] into the scratch packet; see [`result`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn parse_v6_xdp(ctx: *mut xdp_md, offset: u64) -> u32 {
    parse_v6(&XdpFrame::new(ctx), offset)
}

/// The same at TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn parse_v6_tc(skb: *mut __sk_buff, offset: u64) -> u32 {
    parse_v6(&TcFrame::pulled(skb), offset)
}

#[inline(always)]
fn parse_v6<H: Hook>(frame: &H, offset: u64) -> u32 {
    let Some(scratch) = maps::scratch() else { return PARSED };
    match parse::parse_v6(frame, &mut scratch.packet, (offset & 0xff) as usize) {
        Ok(()) => PARSED,
        Err(reason) => reason as u32,
    }
}

/// No reason has this number.
const PARSED: u32 = Reason::COUNT;

/// What a number returned by a parser says.
#[inline(always)]
pub(crate) fn result(number: u32) -> Result<(), Reason> {
    match Reason::from_number((number & 0xff) as u8) {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

/// The slot that is in force, or `PASS_ALL`; asks the clock while a generation is on trial.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn slot_in_force() -> u32 {
    // SAFETY: the helper only reads a clock.
    in_force(world::control(), || unsafe { bpf_ktime_get_coarse_ns() }).into()
}

/// Counts a frame for which the slot that the control word names has no program, or which it
/// names none for; the action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn unjudged_xdp(ctx: *mut xdp_md, slot: u32) -> u32 {
    let arrival = XdpFrame::new(ctx).arrival(Direction::Ingress);
    xdp_action(world::count(&arrival, missing(slot, Direction::Ingress)))
}

/// The same at TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn unjudged_tc(skb: *mut __sk_buff, slot: u32, way: u32) -> u32 {
    let arrival = TcFrame::pulled(skb).arrival(direction(way));
    tc_action(world::count(&arrival, missing(slot, direction(way)))).cast_unsigned()
}

/// Why a frame has no judge.
#[inline(always)]
fn missing(slot: u32, direction: Direction) -> Reason {
    let word = Word(world::control().word);
    let closed = match direction {
        Direction::Ingress => word.closed_ingress(),
        Direction::Egress => word.closed_egress(),
    };
    match (slot, closed) {
        (0, true) => Reason::Slot0EmptyDrop,
        (0, false) => Reason::Slot0EmptyPass,
        (1, true) => Reason::Slot1EmptyDrop,
        (1, false) => Reason::Slot1EmptyPass,
        _ => Reason::NoPolicy,
    }
}

/// [`sockets::has_connection`] for the scratch packet; 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn has_connection_xdp(ctx: *mut xdp_md) -> u32 {
    has_connection(ctx.cast())
}

/// The same at TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn has_connection_tc(skb: *mut __sk_buff) -> u32 {
    has_connection(skb.cast())
}

#[inline(always)]
fn has_connection(context: *mut c_void) -> u32 {
    let Some(scratch) = maps::scratch() else { return 0 };
    let key = flow::key(&scratch.packet, scratch.direction());
    u32::from(sockets::has_connection(context, &key, &scratch.packet))
}

/// Reads one unit of the scratch packet's payload; 1 if there is another, else 0.
///
/// Entry and tally are map values, which a global function takes as memory of the
/// size of their type.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn next_unit_xdp(
    ctx: *mut xdp_md,
    entry: *mut Entry,
    tally: *mut Tally,
    kind: u32,
) -> u32 {
    next_unit(&XdpFrame::new(ctx), entry, tally, kind)
}

/// The same at TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn next_unit_tc(
    skb: *mut __sk_buff,
    entry: *mut Entry,
    tally: *mut Tally,
    kind: u32,
) -> u32 {
    next_unit(&TcFrame::pulled(skb), entry, tally, kind)
}

#[inline(always)]
fn next_unit<H: Hook>(frame: &H, entry: *mut Entry, tally: *mut Tally, kind: u32) -> u32 {
    // SAFETY: the verifier has checked what the caller passes against the type.
    let entry = unsafe { entry.as_mut() };
    // SAFETY: as above.
    let tally = unsafe { tally.as_mut() };
    let (Some(entry), Some(tally), Some(packet), Some(kind)) =
        (entry, tally, maps::scratch_packet(), Kind::from_number(kind))
    else {
        return 0;
    };
    u32::from(request::next_unit_of(frame, kind, entry, packet, tally))
}

#[inline(always)]
const fn direction(number: u32) -> Direction {
    if number == 0 { Direction::Ingress } else { Direction::Egress }
}

#[inline(always)]
const fn family(number: u32) -> Family {
    if number == 4 { Family::V4 } else { Family::V6 }
}
