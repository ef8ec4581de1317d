//! The root programs: one word says which generation judges the packet.
//!
//! Judges ask the same word, because they may be attached themselves: one whose generation is not
//! in force does what a root does.
//!
//! A tail call is a direct jump only where its index is a constant, and LLVM
//! merges call sites that differ in nothing but that constant (+20 ns under
//! retpolines). Hence one call site per slot, each followed by something of its own; a
//! test looks at the object.

use aya_ebpf::EbpfContext;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::abi::control::Word;
use firewall_common::abi::tables::Setting;
use firewall_common::cold::cold;
use firewall_common::verdict::Direction;

use crate::maps::{JUDGES_EGRESS, JUDGES_INGRESS, JUDGES_XDP};
use crate::outline::{unjudged_tc, unjudged_xdp};
use crate::{maps, outline, world};

/// Hands a frame to the judge of a slot; says what to do with it.
#[inline(always)]
pub(crate) fn xdp(ctx: &XdpContext, slot: u32) -> u32 {
    call(ctx, slot, &JUDGES_XDP, || unjudged_xdp(ctx.ctx, slot))
}

/// The same at TC.
#[inline(always)]
pub(crate) fn tc(ctx: &TcContext, slot: u32, direction: Direction) -> i32 {
    let judges = match direction {
        Direction::Ingress => &JUDGES_INGRESS,
        Direction::Egress => &JUDGES_EGRESS,
    };
    call(ctx, slot, judges, || unjudged_tc(ctx.skb.skb, slot, direction as u32)).cast_signed()
}

/// Slot of the generation in force, or `PASS_ALL`.
#[inline(always)]
pub(crate) fn slot() -> u32 {
    match settled() {
        PASS_ALL => outline::slot_in_force(),
        slot => slot,
    }
}

/// The same, if it is not this program's own.
#[inline(always)]
pub(crate) fn elsewhere() -> Option<u32> {
    let own = maps::setting(Setting::Generation);
    if settled() == own {
        return None;
    }
    cold();
    let slot = outline::slot_in_force();
    (slot != own).then_some(slot)
}

const PASS_ALL: u32 = Word::PASS_ALL as u32;

/// [`Word::settled`], of which no more is read than is asked: the compiler would read the whole
/// word, and mask it.
#[inline(always)]
fn settled() -> u32 {
    const { assert!(cfg!(target_endian = "little") && Word(0x0102).settled() == 2) };
    // SAFETY: the lowest byte of the word comes first.
    unsafe { (&raw const world::control().word).cast::<u8>().read() }.into()
}

/// Calls the judge of a slot. If there is none the frame is `unjudged`: out of line, so that no
/// register is kept for it.
#[inline(always)]
fn call<C: EbpfContext>(
    ctx: &C,
    slot: u32,
    judges: &ProgramArray,
    unjudged: impl Fn() -> u32,
) -> u32 {
    match slot {
        0 => {
            // SAFETY: nothing here needs dropping.
            unsafe { judges.tail_call(ctx, 0) };
            maps::apart::<0>();
            unjudged()
        }
        1 => {
            // SAFETY: as above.
            unsafe { judges.tail_call(ctx, 1) };
            maps::apart::<1>();
            unjudged()
        }
        _ => unjudged(),
    }
}
