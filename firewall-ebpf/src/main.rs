//! The BPF programs: a thin shell over `firewall-common`.
//!
//! | program | hook | does |
//! | --- | --- | --- |
//! | `root_xdp` | XDP | tail-calls the generation in force |
//! | `root_ingress` | TC ingress | the same, where XDP is not wanted |
//! | `root_egress` | TC egress | the same for what this host sends |
//! | `judge_xdp`, `judge_ingress`, `judge_egress` | through a root | one packet: [`firewall_common::pipeline`] |
//!
//! The roots are loaded once and stay attached; every generation brings its own
//! `judge_*` with its own tables and frozen settings.
#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the target is 64-bit, helpers take u32, and every narrowed number is masked or bounded"
)]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros pass contexts by value")]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod frame;
mod maps;
mod outline;
mod root;
mod world;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::fast;
use firewall_common::packet::Family;
use firewall_common::pipeline::Arrival;
use firewall_common::verdict::{Direction, Verdict};

use crate::frame::{Hook, TcFrame, XdpFrame};
use crate::world::Kernel;

/// Root of the XDP hook.
#[xdp(frags)]
fn root_xdp(ctx: XdpContext) -> u32 {
    xdp_action(root::xdp(&ctx))
}

/// Root of the TC ingress hook.
#[classifier]
fn root_ingress(ctx: TcContext) -> i32 {
    tc_action(root::ingress(&ctx))
}

/// Root of the TC egress hook.
#[classifier]
fn root_egress(ctx: TcContext) -> i32 {
    tc_action(root::egress(&ctx))
}

/// One generation's verdict on a frame from the wire.
#[xdp(frags)]
#[inline(always)]
fn judge_xdp(ctx: XdpContext) -> u32 {
    let frame = XdpFrame::new(ctx.ctx);
    let arrival = frame.arrival();
    xdp_action(judge(&frame, &arrival))
}

/// The same at TC ingress.
#[classifier]
#[inline(always)]
fn judge_ingress(ctx: TcContext) -> i32 {
    judge_tc(&ctx, Direction::Ingress)
}

/// One generation's verdict on a frame to the wire.
#[classifier]
#[inline(always)]
fn judge_egress(ctx: TcContext) -> i32 {
    judge_tc(&ctx, Direction::Egress)
}

#[inline(always)]
fn judge_tc(ctx: &TcContext, direction: Direction) -> i32 {
    let frame = TcFrame::pulled(ctx.skb.skb);
    let arrival = frame.arrival(direction);
    tc_action(judge(&frame, &arrival))
}

/// Most IPv4 packets are decided here. The rest goes out of line, which keeps it out
/// of the way, out of the registers and off the stack.
#[inline(always)]
fn judge<H: Hook>(frame: &H, arrival: &Arrival) -> Verdict {
    let decided = match fast::family(frame) {
        Some(Family::V4) => fast::process_v4(&mut Kernel { frame, arrival }, frame, arrival)
            .map(|decision| decision.reason.verdict()),
        Some(Family::V6) => frame.fast_v6(arrival.direction),
        None => None,
    };
    match decided {
        Some(verdict) => verdict,
        None => frame.in_full(arrival.direction),
    }
}

#[inline(always)]
const fn xdp_action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

/// A pass lets programs behind ours have their say.
#[inline(always)]
const fn tc_action(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop => TC_ACT_SHOT,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers for sockets and time are for GPL-compatible programs only; "Dual
/// MIT/GPL" is the kernel's word for a licence that includes ours.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
