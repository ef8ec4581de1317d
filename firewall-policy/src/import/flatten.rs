//! Chains and jumps to one list of lines.
//!
//! What a line surely matches (`must`) and what it can match (`may`) are
//! followed apart. An accept counts for what it surely matches, a drop for
//! all it can match, so whatever is not known makes the import stricter.

use super::program::{Base, Line, Program, Remarks, Verdict};
use super::space::{Boxed, Region};
use crate::ir::{Action, Direction};
use crate::set::AddrSet;

/// A line that decides: packets, in the order of asking.
#[derive(Clone, Debug)]
pub(super) struct Flat<'p> {
    pub(super) action: Action,
    pub(super) region: Region,
    /// The line; `None` for the policy of a chain.
    pub(super) line: Option<&'p Line>,
    /// Where that policy is written.
    pub(super) policy: Option<&'p Base>,
    /// The chain it stands in.
    pub(super) chain: usize,
}

/// Everything a direction does with the packets of some families.
#[derive(Clone, Debug)]
pub(super) struct Flow<'p> {
    pub(super) families: AddrSet,
    pub(super) flats: Vec<Flat<'p>>,
    pub(super) default: Action,
    pub(super) default_by: Option<&'p Base>,
}

/// Lines that are followed before the import is given up: what is behind many
/// jumps counts for each way there.
const MAX_STEPS: usize = 200_000;
/// Jumps inside each other, as iptables and nftables allow (16 in nftables).
const MAX_DEPTH: usize = 64;

/// Said of an accept that is not reached for sure.
const DEPENDS: &str = "not carried in full: a line before it that is not carried, or NAT, may take \
                       packets away from it";

/// Why the jumps cannot be followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLong<'p>(pub(super) Option<&'p Line>);

/// Follows the packets of some families in one direction.
pub(super) fn flow<'p>(
    program: &'p Program,
    direction: Direction,
    families: &AddrSet,
    remarks: &mut Remarks,
) -> Result<Flow<'p>, TooLong<'p>> {
    let is_asked =
        |base: &&Base| base.direction == direction && !base.families.intersect(families).is_empty();
    let bases: Vec<&Base> = program.bases.iter().filter(is_asked).collect();
    let filters = bases.iter().filter(|base| !base.rewrites);
    // The chain that says most keeps its order; of others only drops matter,
    // since a packet must be accepted by each.
    let weight =
        |base: &&&Base| (base.policy == Action::Drop, program.chains[base.chain].lines.len());
    let main = filters.max_by_key(weight).copied();
    let universe = Region::one(Boxed::universe(direction, families));
    let mut walk = Walk { program, flats: Vec::new(), remarks, steps: 0, depth: 0, before: None };
    let mut sure = universe.clone();
    let others = bases.iter().filter(|base| !main.is_some_and(|main| std::ptr::eq(main, **base)));
    for base in others {
        sure = walk.rewritten(base.chain, sure, universe.clone())?;
        if base.rewrites {
            continue;
        }
        walk.before = Some(Region::empty());
        walk.chain(base.chain, universe.clone(), universe.clone())?;
        let accepted = walk.before.take().unwrap_or_default();
        if base.policy == Action::Drop {
            let region = universe.clone().subtract(&accepted).unwrap_or_else(|| universe.clone());
            walk.flats.push(Flat {
                action: Action::Drop,
                region,
                line: None,
                policy: Some(base),
                chain: base.chain,
            });
        }
    }
    if let Some(main) = main {
        walk.chain(main.chain, sure, universe)?;
    }
    let flats = walk.flats;
    let default = main.map_or(Action::Allow, |main| main.policy);
    Ok(Flow { families: families.clone(), flats, default, default_by: main })
}

struct Walk<'p, 'r> {
    program: &'p Program,
    flats: Vec<Flat<'p>>,
    remarks: &'r mut Remarks,
    steps: usize,
    depth: usize,
    /// In a chain that another one follows: what it surely lets through to that.
    before: Option<Region>,
}

impl<'p> Walk<'p, '_> {
    fn step(&mut self, line: &'p Line) -> Result<(), TooLong<'p>> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.depth > MAX_DEPTH {
            return Err(TooLong(Some(line)));
        }
        Ok(())
    }

    fn chain(
        &mut self,
        chain: usize,
        mut must: Region,
        mut may: Region,
    ) -> Result<(), TooLong<'p>> {
        for line in &self.program.chains[chain].lines {
            self.step(line)?;
            if may.is_empty() {
                break;
            }
            let reached = possible(&may, &line.may);
            if let (Some(reason), false) = (&line.loss, reached.is_empty()) {
                self.remarks.lost(&line.place, &line.text, reason.clone());
            }
            if reached.is_empty() {
                continue;
            }
            let sure = surely(&must, &reached, line);
            match line.verdict {
                Verdict::Accept => {
                    if line.loss.is_none()
                        && !line.waived
                        && self.before.is_none()
                        && !sure.covers(&reached)
                    {
                        self.remarks.lost(&line.place, &line.text, DEPENDS);
                    }
                    self.accept(line, chain, sure);
                }
                Verdict::Drop => self.drop(line, chain, reached),
                Verdict::Jump(to) => self.inside(to, sure, reached)?,
                Verdict::Goto(to) => {
                    self.inside(to, sure, reached)?;
                    (must, may) = past(must, may, line);
                }
                Verdict::Return => (must, may) = past(must, may, line),
                Verdict::Rewrite => must = keep_few(must, line),
                Verdict::Continue => {}
            }
        }
        Ok(())
    }

    fn inside(&mut self, chain: usize, must: Region, may: Region) -> Result<(), TooLong<'p>> {
        self.depth += 1;
        let done = self.chain(chain, must, may);
        self.depth -= 1;
        done
    }

    fn accept(&mut self, line: &'p Line, chain: usize, region: Region) {
        if let Some(before) = &mut self.before {
            *before = std::mem::take(before).union(region);
        } else {
            self.flats.push(Flat {
                action: Action::Allow,
                region,
                line: Some(line),
                policy: None,
                chain,
            });
        }
    }

    fn drop(&mut self, line: &'p Line, chain: usize, mut region: Region) {
        if let Some(before) = &self.before {
            region = region.clone().subtract(before).unwrap_or(region);
        }
        self.flats.push(Flat {
            action: Action::Drop,
            region,
            line: Some(line),
            policy: None,
            chain,
        });
    }

    /// What is surely not rewritten by a chain and those behind it.
    fn rewritten(
        &mut self,
        chain: usize,
        must: Region,
        may: Region,
    ) -> Result<Region, TooLong<'p>> {
        let (mut left, mut may) = (must, may);
        for line in &self.program.chains[chain].lines {
            self.step(line)?;
            let reached = possible(&may, &line.may);
            if reached.is_empty() {
                continue;
            }
            match line.verdict {
                Verdict::Jump(to) | Verdict::Goto(to) => {
                    self.depth += 1;
                    left = self.rewritten(to, left, reached)?;
                    self.depth -= 1;
                }
                Verdict::Rewrite => {
                    if let Some(reason) = &line.loss {
                        self.remarks.lost(&line.place, &line.text, reason.clone());
                    }
                    left = left.subtract(&reached).unwrap_or_default();
                }
                Verdict::Return | Verdict::Accept => {
                    (_, may) = past(Region::empty(), may, line);
                }
                Verdict::Drop | Verdict::Continue => {
                    if let Some(reason) = &line.loss {
                        self.remarks.lost(&line.place, &line.text, reason.clone());
                    }
                }
            }
        }
        Ok(left)
    }
}

/// What is in both, or more where that is too much to reckon with.
fn possible(a: &Region, b: &Region) -> Region {
    a.intersect(b).unwrap_or_else(|| a.clone())
}

/// What a line surely gets of what may reach it; unbroken, if that is all.
fn surely(must: &Region, reached: &Region, line: &Line) -> Region {
    if let Some(whole) = reached.intersect(&line.must)
        && must.covers(&whole)
    {
        return whole;
    }
    must.intersect(&line.must).unwrap_or_default()
}

/// What is left in a chain behind a line that packets do not come back from. Where
/// that falls into too many parts, less is taken for sure and more for possible.
fn past(must: Region, may: Region, line: &Line) -> (Region, Region) {
    let rest = may.clone().subtract(&line.must).unwrap_or(may);
    (keep_few(must, line), rest)
}

fn keep_few(must: Region, line: &Line) -> Region {
    must.subtract(&line.may).unwrap_or_default()
}
