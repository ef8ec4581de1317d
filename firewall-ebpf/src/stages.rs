//! The way of a packet from program to program.
//!
//! Most are judged where they begin. The rest goes on by tail calls, each with a
//! stack of its own; what one program knows, the next finds in the scratch memory.
//! A place that holds no program is counted as an internal error, and the chain's
//! default holds.

use aya_ebpf::EbpfContext;
use firewall_common::abi::scratch::{Scratch, stage};
use firewall_common::abi::tables::Setting;
use firewall_common::fast::Rest;
use firewall_common::verdict::{Direction, Reason, Verdict};
use firewall_common::{fast, pipeline, question, request};

use crate::frame::Hook;
use crate::world::{self, Kernel, Slot, Words};
use crate::{maps, outline};

/// Judges a common packet; hands on any other.
#[inline(always)]
pub(crate) fn judge<C: EbpfContext, H: Hook>(ctx: &C, frame: &H, direction: Direction) -> Verdict {
    let arrival = &frame.arrival(direction);
    let mut world = Kernel { frame, arrival, settings: Words, settled: None, cpu: None };
    let rest = match fast::process(&mut world, frame, arrival) {
        Ok((verdict, _)) => return verdict,
        Err(rest) => rest,
    };
    // What is rare reads the frame anew: kept for it, it would take registers from the rest.
    if let Rest::Requests(decision) = rest {
        if let Some(scratch) = handed_on(direction) {
            scratch.answers = question::of_cell(&Words, decision.cell);
            fast::describe(&frame.again(), &mut scratch.packet);
            // SAFETY: nothing here needs dropping.
            unsafe { H::stages().tail_call(ctx, stage::REQUESTS) };
        }
        return Verdict::Pass;
    }
    if matches!(rest, Rest::Suspect)
        && let Some(source) = fast::source(&frame.again())
        && let Some(scratch) = handed_on(direction)
    {
        (scratch.packet.source, scratch.packet.family) = source;
        // SAFETY: nothing here needs dropping.
        unsafe { H::stages().tail_call(ctx, stage::SUSPECT) };
    }
    if handed_on(direction).is_some() {
        // SAFETY: as above.
        unsafe { H::stages().tail_call(ctx, stage::READ) };
    }
    // Asked for once more: the interface would be read, and kept, for every packet.
    world::count(&frame.arrival(direction), pipeline::internal_error(&Words, direction))
}

/// The scratch memory, which says to the stages who judges.
#[inline(always)]
fn handed_on(direction: Direction) -> Option<&'static mut Scratch> {
    let scratch = maps::scratch()?;
    scratch.generation = maps::setting(Setting::Generation);
    scratch.direction = direction as u32;
    Some(scratch)
}

/// Drops a packet if its source is banned; hands on any other.
#[inline(always)]
pub(crate) fn suspect<C: EbpfContext, H: Hook>(ctx: &C, frame: &H) -> Verdict {
    let Some(scratch) = maps::scratch() else { return Verdict::Drop };
    let settings = Slot(scratch.generation);
    let arrival = &frame.arrival(scratch.direction());
    let from = (scratch.packet.source, scratch.packet.family);
    let mut world = Kernel { frame, arrival, settings, settled: None, cpu: None };
    if let Some(decision) = fast::drop_banned(&mut world, from, arrival) {
        return decision.reason.verdict();
    }
    // SAFETY: nothing here needs dropping.
    unsafe { H::stages().tail_call(ctx, stage::READ) };
    world::count(arrival, pipeline::internal_error(&settings, arrival.direction))
}

/// Parses a packet, and asks the generation that is to judge it.
#[inline(always)]
pub(crate) fn read<C: EbpfContext, H: Hook>(ctx: &C, frame: &H) -> Verdict {
    // A per-CPU look-up of key 0 never fails, but the verifier asks.
    let Some(scratch) = maps::scratch() else { return Verdict::Drop };
    let (slot, direction) = (scratch.generation, scratch.direction());
    let arrival = &frame.arrival(direction);
    let settings = Slot(slot);
    let Scratch { packet, questions, decision, .. } = scratch;
    let mut world = Kernel { frame, arrival, settings, settled: Some(decision), cpu: None };
    if let Some(decision) = pipeline::read(&mut world, frame, arrival, packet, questions) {
        return decision.reason.verdict();
    }
    // As in the roots: an index is a constant, and the ends differ.
    let passes = matches!(pipeline::internal_error(&settings, direction).verdict(), Verdict::Pass);
    let reason = if slot == 0 {
        // SAFETY: nothing here needs dropping.
        unsafe { H::answers().tail_call(ctx, 0) };
        if passes { Reason::Slot0EmptyPass } else { Reason::Slot0EmptyDrop }
    } else {
        // SAFETY: as above.
        unsafe { H::answers().tail_call(ctx, 1) };
        if passes { Reason::Slot1EmptyPass } else { Reason::Slot1EmptyDrop }
    };
    world::count(arrival, reason)
}

/// Answers what is asked of this generation's tables.
#[inline(always)]
pub(crate) fn answer<C: EbpfContext, H: Hook>(ctx: &C, frame: &H) -> Verdict {
    let Some(scratch) = maps::scratch() else { return Verdict::Drop };
    scratch.answers = question::answer(&Words, &scratch.questions);
    let direction = scratch.direction();
    // SAFETY: nothing here needs dropping.
    unsafe { H::stages().tail_call(ctx, stage::CONCLUDE) };
    world::count(&frame.arrival(direction), pipeline::internal_error(&Words, direction))
}

/// Decides, and counts.
#[inline(always)]
pub(crate) fn conclude<C: EbpfContext, H: Hook>(ctx: &C, frame: &H) -> Verdict {
    if world::openings().is_some() {
        outline::ask_openings();
    }
    let Some(scratch) = maps::scratch() else { return Verdict::Drop };
    let settings = Slot(scratch.generation);
    let arrival = &frame.arrival(scratch.direction());
    let Scratch { packet, questions, answers, decision, .. } = scratch;
    let mut world = Kernel { frame, arrival, settings, settled: Some(decision), cpu: None };
    let decision = pipeline::conclude(&mut world, packet, questions, *answers, arrival);
    if pipeline::counts_requests(&settings, &decision) {
        // SAFETY: nothing here needs dropping.
        unsafe { H::stages().tail_call(ctx, stage::REQUESTS) };
    }
    decision.reason.verdict()
}

/// Counts the requests in a packet that passes.
#[inline(always)]
pub(crate) fn requests<H: Hook>(frame: &H) -> Verdict {
    let Some(scratch) = maps::scratch() else { return Verdict::Pass };
    let settings = Slot(scratch.generation);
    let direction = scratch.direction();
    let arrival = &frame.arrival(direction);
    let mut world = Kernel { frame, arrival, settings, settled: None, cpu: None };
    let Scratch { packet, answers, tally, .. } = scratch;
    request::count(&mut world, frame, packet, *answers, direction, tally);
    Verdict::Pass
}
