//! What the imported lines say of one packet, read line by line as the other
//! firewall does: what the tests of an imported file expect.

use super::program::{Line, Program, Verdict};
use super::space::{Boxed, Region};
use crate::ir::{Action, Direction};

/// How a chain ends for a packet.
enum End {
    Decided(Action),
    Returned,
    /// Something in the way is not known.
    Unknown,
}

/// Lines that are read for one packet.
const MAX_STEPS: usize = 100_000;

/// The verdict on a packet, given as a box with one point; `None` if it depends
/// on what cannot be known.
pub(super) fn verdict(program: &Program, direction: Direction, packet: &Boxed) -> Option<Action> {
    let mut walk = Walk { program, packet, steps: 0 };
    let mut is_asked = false;
    for base in program.bases.iter().filter(|base| base.direction == direction) {
        let mut entering = packet.clone();
        entering.source = packet.source.intersect(&base.families);
        if entering.is_empty() {
            continue;
        }
        let action = match walk.chain(base.chain) {
            End::Decided(action) => action,
            End::Returned => base.policy,
            End::Unknown => return None,
        };
        is_asked |= !base.rewrites;
        if action == Action::Drop {
            return Some(Action::Drop);
        }
    }
    is_asked.then_some(Action::Allow)
}

struct Walk<'p> {
    program: &'p Program,
    packet: &'p Boxed,
    steps: usize,
}

impl Walk<'_> {
    fn chain(&mut self, chain: usize) -> End {
        for line in &self.program.chains[chain].lines {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return End::Unknown;
            }
            if line.verdict == Verdict::Continue || !self.is_in(&line.may) {
                continue;
            }
            if !self.is_in(&line.must) {
                return End::Unknown;
            }
            if let Some(end) = self.does(line) {
                return end;
            }
        }
        End::Returned
    }

    /// How a line that matches ends the chain, if it does.
    fn does(&mut self, line: &Line) -> Option<End> {
        match line.verdict {
            Verdict::Accept => Some(End::Decided(Action::Allow)),
            Verdict::Drop => Some(End::Decided(Action::Drop)),
            Verdict::Return => Some(End::Returned),
            Verdict::Rewrite => Some(End::Unknown),
            Verdict::Goto(to) => Some(self.chain(to)),
            Verdict::Continue => None,
            Verdict::Jump(to) => match self.chain(to) {
                End::Returned => None,
                end => Some(end),
            },
        }
    }

    fn is_in(&self, region: &Region) -> bool {
        region.boxes().iter().any(|one| one.meets(self.packet))
    }
}
