//! The root programs: one word says which generation judges the packet.
//!
//! A tail call is a direct jump only where its index is a constant, and LLVM
//! merges call sites that differ in nothing but that constant (+20 ns under
//! retpolines). Hence one call site per slot, each going on to count a reason of
//! its own; a test looks at the object.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::abi::control::Word;
use firewall_common::control::in_force;
use firewall_common::verdict::{Direction, Reason, Verdict};

use crate::frame::{Hook as _, TcFrame, XdpFrame};
use crate::maps::{JUDGES_EGRESS, JUDGES_INGRESS, JUDGES_XDP};
use crate::world;

/// Root of the XDP hook.
#[inline(always)]
pub(crate) fn xdp(ctx: &XdpContext) -> Verdict {
    let reason = call(ctx, &JUDGES_XDP, Direction::Ingress);
    world::count(&XdpFrame::new(ctx.ctx).arrival(Direction::Ingress), reason)
}

/// Root of the TC ingress hook.
#[inline(always)]
pub(crate) fn ingress(ctx: &TcContext) -> Verdict {
    let reason = call(ctx, &JUDGES_INGRESS, Direction::Ingress);
    world::count(&TcFrame::pulled(ctx.skb.skb).arrival(Direction::Ingress), reason)
}

/// Root of the TC egress hook.
#[inline(always)]
pub(crate) fn egress(ctx: &TcContext) -> Verdict {
    let reason = call(ctx, &JUDGES_EGRESS, Direction::Egress);
    world::count(&TcFrame::pulled(ctx.skb.skb).arrival(Direction::Egress), reason)
}

/// Hands the packet to the generation in force; returns only if there is none.
#[inline(always)]
fn call<C: EbpfContext>(ctx: &C, judges: &ProgramArray, direction: Direction) -> Reason {
    let control = world::control();
    // SAFETY: the helper only reads a clock.
    let slot = in_force(control, || unsafe { bpf_ktime_get_coarse_ns() });
    let word = Word(control.word);
    let closed = match direction {
        Direction::Ingress => word.closed_ingress(),
        Direction::Egress => word.closed_egress(),
    };
    match slot {
        0 => {
            // SAFETY: nothing here needs dropping.
            unsafe { judges.tail_call(ctx, 0) };
            if closed { Reason::Slot0EmptyDrop } else { Reason::Slot0EmptyPass }
        }
        1 => {
            // SAFETY: as above.
            unsafe { judges.tail_call(ctx, 1) };
            if closed { Reason::Slot1EmptyDrop } else { Reason::Slot1EmptyPass }
        }
        _ => Reason::NoPolicy,
    }
}
