//! The root programs: one word says which generation judges the packet.
//!
//! Judges ask the same word, because they may be attached themselves: one whose generation is not
//! in force does what a root does.
//!
//! A tail call is a direct jump only where its index is a constant, and LLVM
//! merges call sites that differ in nothing but that constant (+20 ns under
//! retpolines). Hence one call site per slot, each followed by something of its own; a
//! test looks at the object.

use core::hint::cold_path;

use aya_ebpf::EbpfContext;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::abi::control::Word;
use firewall_common::abi::tables::Setting;
use firewall_common::verdict::Direction;

use crate::maps::{JUDGES_EGRESS, JUDGES_INGRESS, JUDGES_XDP};
use crate::outline::{unjudged_tc, unjudged_xdp};
use crate::{maps, outline, world};

/// Root of the XDP hook; says what to do with the packet.
#[inline(always)]
pub(crate) fn xdp(ctx: &XdpContext) -> u32 {
    call(ctx, &JUDGES_XDP, |slot| unjudged_xdp(ctx.ctx, slot))
}

/// Root of the TC ingress hook.
#[inline(always)]
pub(crate) fn ingress(ctx: &TcContext) -> u32 {
    call(ctx, &JUDGES_INGRESS, |slot| unjudged_tc(ctx.skb.skb, slot, Direction::Ingress as u32))
}

/// Root of the TC egress hook.
#[inline(always)]
pub(crate) fn egress(ctx: &TcContext) -> u32 {
    call(ctx, &JUDGES_EGRESS, |slot| unjudged_tc(ctx.skb.skb, slot, Direction::Egress as u32))
}

/// Whether another generation than this program's is in force.
#[inline(always)]
pub(crate) fn is_elsewhere() -> bool {
    let own = maps::setting(Setting::Generation);
    if u32::from(Word(world::control().word).settled()) == own {
        return false;
    }
    cold_path();
    outline::slot_in_force() != own
}

/// Hands the packet to the generation in force. If there is none it is `unjudged`: out of
/// line, as a trial is, so that no register is kept for either.
#[inline(always)]
fn call<C: EbpfContext>(ctx: &C, judges: &ProgramArray, unjudged: impl Fn(u32) -> u32) -> u32 {
    let settled = Word(world::control().word).settled();
    match if settled == Word::PASS_ALL { outline::slot_in_force() } else { settled.into() } {
        0 => {
            // SAFETY: nothing here needs dropping.
            unsafe { judges.tail_call(ctx, 0) };
            maps::apart::<0>();
            unjudged(0)
        }
        1 => {
            // SAFETY: as above.
            unsafe { judges.tail_call(ctx, 1) };
            maps::apart::<1>();
            unjudged(1)
        }
        slot => unjudged(slot),
    }
}
