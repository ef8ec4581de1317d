//! What the settings of a program decide, decided before it is loaded.
//!
//! Settings are immediate numbers once a generation is known, after LLVM has done its work. The
//! verifier leaves out branches that nobody takes, but numbers stay in registers of their own,
//! and a branch stays where both of its ends are used otherwise. So this does what a compiler
//! would do that knew them: constants are propagated ([`constants`]), dead code is left out
//! ([`liveness`]), and what is left moves together ([`compact`]).

mod code;
mod compact;
mod constants;
mod liveness;
#[cfg(test)]
mod tests;

use std::ops::Range;

use anyhow::Result;
use aya_obj::Function;
use aya_obj::generated::bpf_insn;

pub(super) use code::WIDE;

/// Folds a program, and moves along what its records say of places in it.
///
/// # Errors
///
/// If a jump leaves the code.
pub(super) fn fold(function: &mut Function) -> Result<()> {
    let length = function.instructions.len();
    let (code, origins) = folded(&function.instructions)?;
    function.instructions = code;
    follow(&mut function.func_info.func_info, |of| &mut of.insn_off, length, &origins);
    follow(&mut function.line_info.line_info, |of| &mut of.insn_off, length, &origins);
    Ok(())
}

/// Moves records along with the code that each names by its place; those of code that is gone go, too.
fn follow<R>(
    records: &mut Vec<R>,
    place: impl Fn(&mut R) -> &mut u32,
    length: usize,
    origins: &[usize],
) {
    let old: Vec<u32> = records.iter_mut().map(|record| *place(record)).collect();
    let mut moved = moved(&old, length, origins).into_iter();
    records.retain_mut(|record| {
        let new = moved.next().flatten();
        *place(record) = new.unwrap_or_default();
        new.is_some()
    });
}

/// The same program, shorter, and the place that each slot of it had. It is done again until that
/// changes nothing: what a jump no longer leads to may be out of reach.
fn folded(code: &[bpf_insn]) -> Result<(Vec<bpf_insn>, Vec<usize>)> {
    let (mut code, mut origins): (Vec<_>, Vec<usize>) = (code.to_vec(), (0..code.len()).collect());
    loop {
        let mut instructions = code::read(&code);
        let known = constants::known(&instructions)?;
        constants::write(&mut instructions, &known);
        let reached: Vec<bool> = known.iter().map(Option::is_some).collect();
        let needed = liveness::needed(&instructions, &reached)?;
        let (shorter, places) = compact::compact(&instructions, &needed)?;
        let done = shorter.len() == code.len() && std::iter::zip(&shorter, &code).all(same);
        origins = places.into_iter().map(|place| origins[place]).collect();
        code = shorter;
        if done {
            return Ok((code, origins));
        }
    }
}

fn same((one, other): (&bpf_insn, &bpf_insn)) -> bool {
    let all = |of: &bpf_insn| (of.code, of.dst_reg(), of.src_reg(), of.off, of.imm);
    all(one) == all(other)
}

/// The new places of records, each of which holds until the next one; none of what is gone. Of
/// several at one place the first holds.
fn moved(old: &[u32], length: usize, origins: &[usize]) -> Vec<Option<u32>> {
    let place = |old: usize| origins.partition_point(|origin| *origin < old);
    let ends = old.iter().skip(1).map(|end| *end as usize).chain([length]);
    old.iter()
        .zip(ends)
        .map(|(start, end)| {
            let Range { start, end } = place(*start as usize)..place(end);
            u32::try_from(start).ok().filter(|_| start < end)
        })
        .collect()
}
