//! What is needed, moved together.

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_insn;

use super::code::{self, Instruction, Kind};

/// The instructions that are needed, and the place that each of them had, for both halves of one.
///
/// # Errors
///
/// If a jump leaves the code.
pub(super) fn compact(
    code: &[Instruction],
    needed: &[bool],
) -> Result<(Vec<bpf_insn>, Vec<usize>)> {
    let mut kept = needed.to_vec();
    let ends = ends(code, needed)?;
    let places = loop {
        let places = places(code, &kept);
        let useless = |place: &usize| {
            let jumps = matches!(code::kind(code[*place].of), Kind::Goto(_));
            kept[*place]
                && jumps
                && ends[*place].is_some_and(|end| places[end] == places[*place + 1])
        };
        let useless: Vec<usize> = (0..code.len()).filter(useless).collect();
        if useless.is_empty() {
            break places;
        }
        for place in useless {
            kept[place] = false;
        }
    };
    let mut new = Vec::new();
    let mut origins = Vec::new();
    for place in (0..code.len()).filter(|place| kept[*place]) {
        let mut instruction = code[place];
        let of = &mut instruction.of;
        if let Some(end) = ends[place] {
            let offset = i64::try_from(places[end])? - i64::try_from(new.len())? - 1;
            match code::kind(*of) {
                Kind::Goto(_) => *of = bpf_insn { off: short(offset)?, ..code::nothing() },
                Kind::If { .. } => of.off = short(offset)?,
                _ => of.imm = offset.try_into()?,
            }
        }
        origins.extend(std::iter::repeat_n(place, instruction.size()));
        new.extend(instruction.write());
    }
    Ok((new, origins))
}

fn short(offset: i64) -> Result<i16> {
    offset.try_into().context("a jump is longer than 16 bits can say")
}

/// Where each instruction that is kept leads: one that always jumps, to a jump, to the end of that.
fn ends(code: &[Instruction], needed: &[bool]) -> Result<Vec<Option<usize>>> {
    let end = |place: usize| -> Result<Option<usize>> {
        let of = code[place].of;
        let mut end = match code::kind(of) {
            _ if !needed[place] => return Ok(None),
            Kind::Goto(offset) => code::target(place, offset, code)?,
            // To a jump of its own: one that the verifier finds never to be taken it leaves out
            // if nobody else comes where it leads.
            Kind::If { .. } => return code::target(place, of.off.into(), code).map(Some),
            _ => return code::callee(place, code),
        };
        // As often as does for what compilers make: a loop of jumps has no end.
        let first = end;
        for _ in 0..8 {
            let Kind::Goto(offset) = code::kind(code[end].of) else { return Ok(Some(end)) };
            end = code::target(end, offset, code)?;
        }
        Ok(Some(first))
    };
    (0..code.len()).map(end).collect()
}

/// The new place of each instruction, or of the next one that is kept; and of the end.
fn places(code: &[Instruction], kept: &[bool]) -> Vec<usize> {
    let mut places = Vec::with_capacity(code.len() + 1);
    let mut next = 0;
    for (instruction, kept) in code.iter().zip(kept) {
        places.push(next);
        next += if *kept { instruction.size() } else { 0 };
    }
    places.push(next);
    places
}
