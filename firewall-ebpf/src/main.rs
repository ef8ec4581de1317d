//! The BPF programs: a thin shell over `firewall-common`.
//!
//! | program | hook | does |
//! | --- | --- | --- |
//! | `root_xdp` | XDP | tail-calls the generation in force |
//! | `root_ingress` | TC ingress | the same, where XDP is not wanted |
//! | `root_egress` | TC egress | the same for what this host sends |
//! | `judge_xdp`, `judge_ingress`, `judge_egress` | a root's, or through one | judges common packets at once ([`firewall_common::fast`]), hands on the rest |
//! | `suspect_xdp`, `suspect_tc` | through a judge | drops what comes from banned sources |
//! | `read_xdp`, `read_tc` | through a judge | parses, and finds what is asked of the policy |
//! | `answer_xdp`, `answer_tc` | through `read_*` | asks the tables |
//! | `conclude_xdp`, `conclude_tc` | through `answer_*` | decides and counts |
//! | `requests_xdp`, `requests_tc` | through a judge or `conclude_*` | counts the requests in what passes |
//!
//! What the macros make of a program calls the function below them, which therefore is inlined:
//! a call costs 7 to 10 ns, and large ones are not by themselves.
//!
//! A generation has its own `judge_*` and `answer_*`, with its tables and settings in
//! their instructions. The others are loaded once and serve all: they are nine tenths of
//! what the verifier has to walk.
#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the target is 64-bit, helpers take u32, and every narrowed number is masked or bounded"
)]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros pass contexts by value")]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod cpu;
mod events;
mod flows;
mod frame;
mod maps;
mod outline;
mod root;
mod sockets;
mod stages;
mod world;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::verdict::{Direction, Verdict};

use crate::frame::{TcFrame, XdpFrame};

/// Root of the XDP hook.
#[xdp(frags)]
#[inline(always)]
fn root_xdp(ctx: XdpContext) -> u32 {
    root::xdp(&ctx, root::slot())
}

/// Root of the TC ingress hook.
#[classifier]
#[inline(always)]
fn root_ingress(ctx: TcContext) -> i32 {
    root::tc(&ctx, root::slot(), Direction::Ingress)
}

/// Root of the TC egress hook.
#[classifier]
#[inline(always)]
fn root_egress(ctx: TcContext) -> i32 {
    root::tc(&ctx, root::slot(), Direction::Egress)
}

/// One generation's verdict on a frame from the wire.
#[xdp(frags)]
#[inline(always)]
fn judge_xdp(ctx: XdpContext) -> u32 {
    if let Some(slot) = root::elsewhere() {
        return root::xdp(&ctx, slot);
    }
    xdp_action(stages::judge(&ctx, &XdpFrame::new(ctx.ctx), Direction::Ingress))
}

/// The same at TC ingress.
#[classifier]
#[inline(always)]
fn judge_ingress(ctx: TcContext) -> i32 {
    if let Some(slot) = root::elsewhere() {
        return root::tc(&ctx, slot, Direction::Ingress);
    }
    tc_action(stages::judge(&ctx, &TcFrame::pulled(ctx.skb.skb), Direction::Ingress))
}

/// One generation's verdict on a frame to the wire.
#[classifier]
#[inline(always)]
fn judge_egress(ctx: TcContext) -> i32 {
    if let Some(slot) = root::elsewhere() {
        return root::tc(&ctx, slot, Direction::Egress);
    }
    tc_action(stages::judge(&ctx, &TcFrame::pulled(ctx.skb.skb), Direction::Egress))
}

/// Stage of a common packet whose source seems to be banned.
#[xdp(frags)]
#[inline(always)]
fn suspect_xdp(ctx: XdpContext) -> u32 {
    xdp_action(stages::suspect(&ctx, &XdpFrame::new(ctx.ctx)))
}

/// The same at TC.
#[classifier]
#[inline(always)]
fn suspect_tc(ctx: TcContext) -> i32 {
    tc_action(stages::suspect(&ctx, &TcFrame::pulled(ctx.skb.skb)))
}

/// First stage of a frame that is not a common one.
#[xdp(frags)]
#[inline(always)]
fn read_xdp(ctx: XdpContext) -> u32 {
    xdp_action(stages::read(&ctx, &XdpFrame::new(ctx.ctx)))
}

/// The same at TC.
#[classifier]
#[inline(always)]
fn read_tc(ctx: TcContext) -> i32 {
    tc_action(stages::read(&ctx, &TcFrame::new(ctx.skb.skb)))
}

/// One generation's answers.
#[xdp(frags)]
#[inline(always)]
fn answer_xdp(ctx: XdpContext) -> u32 {
    xdp_action(stages::answer(&ctx, &XdpFrame::new(ctx.ctx)))
}

/// The same at TC.
#[classifier]
#[inline(always)]
fn answer_tc(ctx: TcContext) -> i32 {
    tc_action(stages::answer(&ctx, &TcFrame::pulled(ctx.skb.skb)))
}

/// Last stage of a verdict.
#[xdp(frags)]
#[inline(always)]
fn conclude_xdp(ctx: XdpContext) -> u32 {
    xdp_action(stages::conclude(&ctx, &XdpFrame::new(ctx.ctx)))
}

/// The same at TC.
#[classifier]
#[inline(always)]
fn conclude_tc(ctx: TcContext) -> i32 {
    tc_action(stages::conclude(&ctx, &TcFrame::pulled(ctx.skb.skb)))
}

/// Stage of a packet that passes, and may be a request.
#[xdp(frags)]
#[inline(always)]
fn requests_xdp(ctx: XdpContext) -> u32 {
    xdp_action(stages::requests(&XdpFrame::new(ctx.ctx)))
}

/// The same at TC.
#[classifier]
#[inline(always)]
fn requests_tc(ctx: TcContext) -> i32 {
    tc_action(stages::requests(&TcFrame::pulled(ctx.skb.skb)))
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
