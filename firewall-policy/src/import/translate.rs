//! From "the first line that matches" to "deny beats allow".
//!
//! Every rule that comes out holds for exact sets: an allow for what its line
//! accepts and no line before it drops, a deny for what its line drops and no
//! line before it accepts. Then no packet is in both lists, and neither the
//! order of lists nor of rules matters.

use super::flatten::{Flat, Flow};
use super::join::{both_families, merged};
use super::program::{Line, Remarks};
use super::space::{Boxed, Cast, MAX_BOXES, Region, all_services, globs, multicast, protocol};
use crate::ir::{Action, Direction};
use crate::set::ServiceSet;
use firewall_common::service::{ServiceIndex, proto};

/// A rule that is carried.
#[derive(Clone, Debug)]
pub(super) struct Carried<'p> {
    pub(super) action: Action,
    /// What it says, as the boxes of one rule each.
    pub(super) boxes: Vec<Boxed>,
    /// The lines it comes from; none for the policy of a chain.
    pub(super) lines: Vec<&'p Line>,
}

/// One direction, as our lists have it.
#[derive(Clone, Debug)]
pub(super) struct Side<'p> {
    pub(super) direction: Direction,
    pub(super) default: Action,
    pub(super) deny: Vec<Carried<'p>>,
    pub(super) allow: Vec<Carried<'p>>,
}

/// Rules that one line may become before another way is looked for.
const FEW: usize = 8;
/// Entries of a service that a person still reads.
const READABLE: u32 = 24;

/// Translates what is done in one direction with the packets of each family.
pub(super) fn side<'p>(
    direction: Direction,
    mut flows: Vec<Flow<'p>>,
    remarks: &mut Remarks,
) -> Side<'p> {
    for flow in &mut flows {
        cut(flow, direction, remarks);
    }
    let drops = flows.iter().any(|flow| flow.default == Action::Drop);
    let default = if drops { Action::Drop } else { Action::Allow };
    let mut side = Side { direction, default, deny: Vec::new(), allow: Vec::new() };
    for mut flow in flows {
        if flow.default != default {
            let region = Region::one(Boxed::universe(direction, &flow.families));
            let chain = flow.default_by.map_or(0, |base| base.chain);
            flow.flats.push(Flat {
                action: Action::Allow,
                region,
                line: None,
                policy: flow.default_by,
                chain,
            });
        }
        let mut one =
            Translation { side: &mut side, remarks, blocked: Region::empty(), past: vec![] };
        one.run(&merged(flow.flats));
    }
    for rules in [&mut side.deny, &mut side.allow] {
        *rules = both_families(std::mem::take(rules));
    }
    side
}

/// A line that decides everything is the default, and the end.
fn cut(flow: &mut Flow<'_>, direction: Direction, remarks: &mut Remarks) {
    let universe = Region::one(Boxed::universe(direction, &flow.families));
    let Some(end) = flow.flats.iter().position(|flat| flat.region.covers(&universe)) else {
        return;
    };
    flow.default = flow.flats[end].action;
    for flat in flow.flats.drain(end..).skip(1) {
        if let Some(line) = flat.line {
            remarks.note(
                "a line before it decides everything, so it decides nothing",
                Some(&line.place),
            );
        }
    }
}

struct Translation<'t, 'p> {
    side: &'t mut Side<'p>,
    remarks: &'t mut Remarks,
    /// Drops that no deny says: taken out of every allow that follows.
    blocked: Region,
    /// What is decided so far, for lines that decide nothing any more.
    past: Vec<(Action, Region)>,
}

impl<'p> Translation<'_, 'p> {
    fn run(&mut self, flats: &[(Flat<'p>, Vec<&'p Line>)]) {
        for (at, (flat, lines)) in flats.iter().enumerate() {
            if flat.region.is_empty() {
                continue;
            }
            if self.is_decided(&flat.region) {
                for line in lines {
                    let text = "lines before it decide all of it, so it decides nothing";
                    self.remarks.note(text, Some(&line.place));
                }
                continue;
            }
            match flat.action {
                Action::Allow => self.allow(flat, lines, flats),
                Action::Drop => self.drop(flat, lines, &flats[at + 1..]),
            }
        }
    }

    fn is_decided(&self, region: &Region) -> bool {
        let mut left = region.clone();
        for (_, taken) in self.past.iter().filter(|(_, taken)| taken.meets(region)) {
            match left.subtract(taken) {
                Some(rest) if rest.is_empty() => return true,
                Some(rest) => left = rest,
                None => return false,
            }
        }
        false
    }

    fn allow(&mut self, flat: &Flat<'p>, lines: &[&'p Line], flats: &[(Flat<'p>, Vec<&'p Line>)]) {
        let direction = self.side.direction;
        let region = flat.region.clone().subtract(&self.blocked);
        let region = region.filter(|region| region.boxes().len() <= MAX_BOXES);
        let Some(region) = region else {
            self.lose(flat, lines, "drops before it leave too many parts of it: none is carried");
            return;
        };
        let (mut said, mut holds, mut lost) = (Vec::new(), Vec::new(), None);
        for one in region.into_boxes().into_iter().filter_map(to_one_host) {
            if self.is_decided(&Region::one(one.clone())) {
                continue;
            }
            if is_expressible(&one, direction) {
                said.push(one.clone());
            } else if self.side.default == Action::Drop {
                match self.everywhere(&one, flats) {
                    Ok((wide, denied)) => {
                        self.deny_excess(denied, lines);
                        said.push(wide);
                    }
                    Err(reason) => {
                        lost = Some(reason);
                        continue;
                    }
                }
            }
            // Else it passes by the default: it is only kept out of denies.
            holds.push(one);
        }
        if let Some(reason) = lost {
            self.lose(flat, lines, reason);
        }
        self.past.push((Action::Allow, Region::of(holds)));
        if !said.is_empty() {
            let lines = lines.to_vec();
            self.side.allow.push(Carried { action: Action::Allow, boxes: said, lines });
        }
    }

    /// An accept on every interface but some, as an allow on every one and what must
    /// then be denied on those.
    fn everywhere(
        &self,
        one: &Boxed,
        flats: &[(Flat<'p>, Vec<&'p Line>)],
    ) -> Result<(Boxed, Region), &'static str> {
        let direction = self.side.direction;
        let wide = widened(one, direction);
        if one.cast != wide.cast {
            return Err(
                "not carried in full: which addresses are broadcast addresses is not known here",
            );
        }
        let excess = Region::one(wide.clone()).subtract(&Region::one(one.clone()));
        let denied = excess.and_then(|excess| dropped(excess, flats, self.side.default));
        let is_said = |denied: &Region| {
            denied.boxes().len() <= FEW
                && denied.boxes().iter().all(|one| is_expressible(one, direction))
        };
        let reason = "not carried in full: no list of interface names says `every one but`";
        denied.filter(is_said).map(|denied| (wide, denied)).ok_or(reason)
    }

    fn deny_excess(&mut self, denied: Region, lines: &[&'p Line]) {
        let boxes = denied.into_boxes();
        if !boxes.is_empty() {
            let lines = lines.to_vec();
            self.side.deny.push(Carried { action: Action::Drop, boxes, lines });
        }
    }

    fn drop(&mut self, flat: &Flat<'p>, lines: &[&'p Line], later: &[(Flat<'p>, Vec<&'p Line>)]) {
        let direction = self.side.direction;
        let earlier: Vec<&Region> = self
            .past
            .iter()
            .filter(|(action, region)| *action == Action::Allow && region.meets(&flat.region))
            .map(|(_, region)| region)
            .collect();
        let is_said =
            |region: &Region| region.boxes().iter().all(|one| is_expressible(one, direction));
        if earlier.is_empty() && is_said(&flat.region) && flat.region.boxes().len() <= FEW {
            self.deny(flat.region.clone(), flat, lines);
            return;
        }
        let closes = self.side.default == Action::Drop;
        let opens = |(later, _): &(Flat<'_>, _)| {
            later.action == Action::Allow && later.region.meets(&flat.region)
        };
        if closes && !later.iter().any(opens) {
            for line in lines {
                let text = "what it drops, no rule allows: the default drops it";
                self.remarks.note(text, Some(&line.place));
            }
            return;
        }
        let mut left = Some(flat.region.clone());
        for taken in earlier {
            left = left.and_then(|left| left.subtract(taken));
        }
        let left = left.filter(|left| left.boxes().len() <= MAX_BOXES && is_said(left));
        match left {
            Some(left) if is_readable(&left) || !closes => self.deny(left, flat, lines),
            _ if closes => {
                self.blocked = std::mem::take(&mut self.blocked).union(flat.region.clone());
                for line in lines {
                    let text = "what it drops is taken out of the allows behind it";
                    self.remarks.note(text, Some(&line.place));
                }
                self.past.push((Action::Drop, flat.region.clone()));
            }
            _ => self.widen(flat, lines),
        }
    }

    fn deny(&mut self, region: Region, flat: &Flat<'p>, lines: &[&'p Line]) {
        let boxes = region.boxes().to_vec();
        self.past.push((Action::Drop, flat.region.clone().union(region)));
        if boxes.is_empty() {
            return;
        }
        let carried = Carried { action: Action::Drop, boxes, lines: lines.to_vec() };
        self.side.deny.push(carried);
    }

    /// A drop that cannot be said exactly, where what no rule denies passes: more
    /// is denied, and allows that stood before it suffer.
    fn widen(&mut self, flat: &Flat<'p>, lines: &[&'p Line]) {
        let direction = self.side.direction;
        let wide: Vec<Boxed> =
            flat.region.boxes().iter().map(|one| widened(one, direction)).collect();
        let wide = Region::of(wide);
        self.lose(
            flat,
            lines,
            "not carried exactly: all of what it can match is denied, even what lines before it accept",
        );
        let suffers = |rule: &&Carried<'p>| Region::of(rule.boxes.clone()).meets(&wide);
        let lost: Vec<&'p Line> =
            self.side.allow.iter().filter(suffers).flat_map(|rule| rule.lines.clone()).collect();
        self.lose_lines(
            &lost,
            "not carried in full: a deny that cannot be said exactly takes part of it",
        );
        self.deny(wide, flat, lines);
        let denies = self.side.deny.iter().flat_map(|rule| rule.boxes.clone()).collect();
        let denies = Region::of(denies);
        for rule in &mut self.side.allow {
            rule.boxes.retain(|one| !covered(one, &denies));
        }
        self.side.allow.retain(|rule| !rule.boxes.is_empty());
    }

    fn lose(&mut self, flat: &Flat<'p>, lines: &[&'p Line], reason: &str) {
        if let Some(base) = flat.policy {
            self.remarks.lost(&base.place, "the policy of the chain", reason);
        }
        self.lose_lines(lines, reason);
    }

    fn lose_lines(&mut self, lines: &[&'p Line], reason: &str) {
        for line in lines {
            self.remarks.lost(&line.place, &line.text, reason);
        }
    }
}

/// What may be dropped of some packets, line by line.
fn dropped(mut left: Region, flats: &[(Flat<'_>, Vec<&Line>)], default: Action) -> Option<Region> {
    let mut dropped = Region::empty();
    for (flat, _) in flats {
        if !flat.region.meets(&left) {
            continue;
        }
        if flat.action == Action::Drop {
            dropped = dropped.union(left.intersect(&flat.region)?);
        }
        left = left.subtract(&flat.region)?;
    }
    Some(if default == Action::Drop { dropped.union(left) } else { dropped })
}

/// Whether denies take all of a box.
fn covered(one: &Boxed, denies: &Region) -> bool {
    let met = denies.boxes().iter().filter(|deny| deny.meets(one)).cloned().collect();
    Region::of(met).covers(&Region::one(one.clone()))
}

/// TCP is never sent to a broadcast address, whichever those are.
fn to_one_host(one: Boxed) -> Option<Boxed> {
    if !one.services.is_subset(&protocol(proto::TCP)) {
        return Some(one);
    }
    (one.cast != Cast::BROADCAST).then_some(Boxed { cast: Cast::ANY, ..one })
}

/// Interfaces of this host that a box asks for.
pub(super) fn interfaces(one: &Boxed, direction: Direction) -> &super::space::Interfaces {
    match direction {
        Direction::Ingress => &one.from,
        Direction::Egress => &one.to,
    }
}

/// Whether one rule of ours says exactly this.
fn is_expressible(one: &Boxed, direction: Direction) -> bool {
    globs(interfaces(one, direction)).is_some()
        && (one.cast == Cast::ANY || one.destination.is_subset(&multicast()))
}

fn widened(one: &Boxed, direction: Direction) -> Boxed {
    let mut wide = one.clone();
    if !is_expressible(one, direction) {
        wide.cast = Cast::ANY;
        match direction {
            Direction::Ingress => wide.from = super::space::wires(),
            Direction::Egress => wide.to = super::space::wires(),
        }
    }
    wide
}

fn is_readable(region: &Region) -> bool {
    region.boxes().len() <= FEW
        && region.boxes().iter().all(|one| entries(&one.services) <= READABLE)
}

/// Entries that a service definition needs.
fn entries(services: &ServiceSet) -> u32 {
    if *services == all_services() {
        return 1;
    }
    let single = ServiceIndex::ICMP..ServiceIndex::SCTP;
    let of = |&(first, last): &(u32, u32)| {
        let alone = last.min(single.end - 1).checked_sub(first.max(single.start));
        alone.map_or(1, |more| more + 1)
    };
    services.ranges().iter().map(of).sum()
}
